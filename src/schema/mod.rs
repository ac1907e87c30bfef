//! The tables of the ledger: created by migrations, spread over books, checked before use, and declared for Diesel.

mod books;
mod citus;
mod inventory;
mod migrate;
mod requirements;
pub(crate) mod tables;

pub use books::{BOOKS_MAX, Books, BooksError, book_of};
pub use citus::CitusError;
pub use inventory::{BookFacts, InventoryError, list_books, move_book, parse_node, progress};
pub use migrate::{MigrationError, migrate, pending_migrations};
pub use requirements::{DatabaseUse, RequirementError, check_database};
pub(crate) use requirements::{unsafe_problem, unsafe_settings};
