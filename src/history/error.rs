//! What can go wrong between the replaced system's database and the book.

use crate::{
    ledger::LedgerError,
    schema::{MigrationError, RequirementError},
};

/// Why history could not be read or taken over. What was written is whole, and another run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The replaced system's database cannot be read as it is.
    #[error("cannot read the source")]
    UnfitSource(#[source] RequirementError),
    /// The database of the book cannot hold it.
    #[error("cannot write the book")]
    UnfitBook(#[source] RequirementError),
    /// The replaced system's database failed.
    #[error("cannot read the source")]
    Source(#[source] LedgerError),
    /// It has no journal or no balances as the replaced system had.
    #[error("the source is not a database of the replaced system: it has no {0}")]
    NotASource(String),
    /// The database of the book failed.
    #[error("cannot write the book")]
    Book(#[source] LedgerError),
    /// The schema of the book cannot be read.
    #[error("cannot read the schema of the book")]
    Schema(#[from] MigrationError),
    /// The schema of the book is an old one.
    #[error("the schema of the book is not up to date: run `billing migrate` first (pending: {0})")]
    MigrationsPending(String),
    /// Somebody else imports into this book.
    #[error("another import into this book is under way")]
    AnotherImport,
}
