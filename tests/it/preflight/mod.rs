//! `billing preflight` on real PostgreSQL: nothing in a regular journal, and each irregularity by its name.

mod irregular;
mod report;
mod same_as_import;
pub mod source;
