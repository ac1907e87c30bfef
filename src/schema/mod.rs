//! The tables of the book: created by migrations, checked before use, and declared for Diesel.

mod migrate;
mod requirements;
pub(crate) mod tables;

pub use migrate::{MigrationError, migrate, pending_migrations};
pub use requirements::{DatabaseUse, RequirementError, check_database};
pub(crate) use requirements::{unsafe_problem, unsafe_settings};
