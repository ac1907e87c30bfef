//! The tests that need more than a function: real PostgreSQL, real gRPC, real processes.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]

mod support;

mod architecture;
mod bounds;
mod concurrency;
mod crash;
mod deadlines;
mod five_faults;
mod idempotency;
mod lost_connections;
mod operator;
mod private_postgres;
mod reads;
mod refunds;
mod round_trips;
mod schema;
