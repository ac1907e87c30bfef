//! A prepaid-credit ledger served over gRPC: one operation happens once, and every answer can be had again.
//!
//! Read it from the outside in, or from the inside out; each module imports only what stands to its right:
//!
//! ```text
//! grpc  ──►  committer  ──►  ledger  ──►  accounting
//! edge       group commit     book         rules
//! ```
//!
//! * [`accounting`]: what may happen, as pure functions over plain data. No async, no SQL, no protobuf, no clock.
//! * [`ledger`]: the book in PostgreSQL. The only code that knows Diesel; the only transaction of the service that writes.
//! * [`committer`]: a bounded queue, a batch, one transaction, an answer to each caller.
//! * [`grpc`]: the contract of `proto/billing/v1`. The only code that knows tonic and prost.
//!
//! Beside them, as pure: [`audit`], whether a book adds up; [`export`], the journal for others; and [`import`], the
//! journal of the system that this one replaces.
//!
//! [`app`] wires them, [`config`] says how, [`cli`] is the program, and [`private_postgres`] is the database for those
//! who have none. `docs/ARCHITECTURE.md` has the picture, the invariants and three walkthroughs.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // they panic where nobody reads

pub mod access;
pub mod accounting;
pub mod app;
pub mod audit;
pub mod cli;
pub mod committer;
pub mod config;
pub mod export;
pub mod file_limit;
pub mod grpc;
pub mod import;
mod json;
pub mod ledger;
pub mod private_postgres;
pub mod reload;
pub mod sweeper;
pub mod telemetry;
