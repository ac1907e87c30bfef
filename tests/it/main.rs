//! The tests that need more than a function: real PostgreSQL, real gRPC, real processes.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]

mod support;

mod access;
mod accounting_properties;
mod architecture;
mod audit;
mod audit_properties;
mod backends;
mod bounds;
mod chaos;
mod clocks;
mod concurrency;
mod crash;
mod database_tls;
mod deadlines;
mod durability;
mod export;
mod export_output;
mod failover;
mod five_faults;
mod flood;
mod full_disk;
mod fuzz;
mod go_client;
mod health_port;
mod histories;
mod history_import;
mod hostile;
mod idempotency;
mod image;
mod import_properties;
mod large_book;
mod ledger_properties;
mod log;
mod lost_commits;
mod lost_connections;
mod manifests;
mod memory_journal;
mod metrics;
mod migration;
mod model;
mod operations;
mod operator;
mod operators_night;
mod outputs;
mod overload;
mod preflight;
mod private_postgres;
mod python_client;
mod random_books;
mod reads;
mod refunds;
mod requirements;
mod reservations;
mod retrying_client;
mod rolling_restart;
mod round_trips;
mod schema;
mod service_role;
mod stalls;
mod traces;

mod translation;
mod vanished_callers;
