//! The history of the system that this one replaces, imported: every row once, whatever state it is in, however often the import
//! is killed, and while the old system still writes.
//!
//! The importer is known here by its command line only, and what it must have done is said in SQL beside the old tables
//! (`side_by_side.rs`), so that the same mistake is not made twice. `HISTORY_ROWS` sets how long the history is that is imported
//! whole, killed and measured; `make history` measures it at two million rows.

mod beside_service;
mod catch_up;
mod collation;
mod command;
mod deposits;
mod expired_leases;
mod irregular;
mod killed;
mod left_out;
pub mod old_coordinator;
mod own_notes;
mod rate;
mod refunds;
mod refused;
mod side_by_side;
mod whole;
mod writers;

/// How many rows the long histories have, besides the irregular ones.
fn rows() -> i64 {
    std::env::var("HISTORY_ROWS").map_or(20_000, |text| text.parse().unwrap())
}
