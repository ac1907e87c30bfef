//! What can go wrong between two ledgers.

use crate::{
    ledger::LedgerError,
    schema::{BooksError, MigrationError, RequirementError},
};

/// Why a ledger could not be copied. What was copied is whole, and another run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The old ledger cannot be read, or is not one.
    #[error("cannot read the old ledger")]
    UnfitOld(#[source] RequirementError),
    /// The new ledger cannot be written, or is not one.
    #[error("cannot write the new ledger")]
    UnfitNew(#[source] RequirementError),
    /// The schema cannot be read.
    #[error("cannot read the schema")]
    Schema(#[from] MigrationError),
    /// The schema of the new ledger is an old one.
    #[error(
        "the schema of the new ledger is not up to date: run `billing migrate --books COUNT` first (pending: {0})"
    )]
    MigrationsPending(String),
    /// The books are not known.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The numbers of books are not such as can be copied.
    #[error(
        "a ledger with one book is copied into one with several, but the old one has {old} and the new one {new}"
    )]
    BookCounts {
        /// How many the old one has.
        old: usize,
        /// How many the new one has.
        new: usize,
    },
    /// The new ledger is in use.
    #[error("account {0} has more entries in the new ledger than in the old one: it is in use already")]
    InUse(String),
    /// The old ledger was closed by an earlier run, which is all right, and has changed since, which is not.
    #[error("the copy differs from the old ledger: {0}")]
    Differs(String),
    /// The old ledger failed.
    #[error("cannot read the old ledger")]
    Old(#[source] LedgerError),
    /// The new ledger failed.
    #[error("cannot write the new ledger")]
    New(#[source] LedgerError),
}
