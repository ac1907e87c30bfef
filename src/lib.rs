//! A prepaid-credit ledger served over gRPC: every operation is applied exactly once, however often it is retried.
//!
//! Read it from the outside in, or from the inside out; no module imports one to its left:
//!
//! ```text
//! grpc  ──►  committer  ──►  ledger  ──►  accounting
//! edge       group commit     book         rules
//!                               └──►  schema  ──►  database
//!                                     tables       PostgreSQL
//! ```
//!
//! * [`accounting`]: what may happen, as pure functions over plain data. No async, no SQL, no protobuf, no clock.
//! * [`ledger`]: the book: the only transaction of the service that writes, and the reads.
//! * [`schema`]: the tables of the book, made by migrations. [`database`]: how to reach PostgreSQL; knows no account.
//! * [`committer`]: a bounded queue, a batch, one transaction, an answer to each caller.
//! * [`grpc`]: the contract of `proto/billing/v1`. The only code that serves by tonic and prost.
//!
//! Beside them: [`snapshot`], the whole book at one moment, for [`audit`] (does it add up?) and [`export`] (the journal in
//! other formats); and [`history`], the journal of the system that this one replaces.
//!
//! [`console`] is the operator's view of all that, and a client of [`grpc`] like any other.
//!
//! [`app`] wires them, [`config`] holds the settings, [`cli`] is the program, and [`private_postgres`] runs a database for
//! those who have none. `docs/ARCHITECTURE.md` has the picture, the invariants and four walkthroughs.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // they panic where nobody reads

pub mod access;
pub mod accounting;
pub mod app;
pub mod audit;
pub mod cli;
pub mod committer;
pub mod config;
pub mod console;
pub mod database;
pub mod export;
pub mod file_limit;
pub mod grpc;
pub mod heap;
pub mod history;
mod json;
pub mod ledger;
pub mod private_postgres;
pub mod reload;
pub mod schema;
pub mod snapshot;
pub mod split;
pub mod sweeper;
pub mod telemetry;
