//! What can go wrong with the database, sorted by what to do about it.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio_postgres::error::SqlState;

use super::clock::ClocksDiffer;
use crate::{
    accounting::Invalid,
    database::{Cause, NoAnswer, error::DatabaseError},
};

/// Why the book could not be read or written. A business refusal is not an error: it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be reached, or cannot write just now. What was under way may or may not have happened.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// More reads wait for a connection than may, or one has waited for too long.
    #[error("too many reads wait for a connection")]
    Overloaded,
    /// Another transaction was in the way for too long, or again and again. Nothing has happened.
    #[error("the locks could not be had in time")]
    Contention(#[source] Cause),
    /// The database refused a statement: a constraint of the book, or a mistake of this program. Nothing has happened.
    #[error("the database refused a statement")]
    Refused(#[source] Cause),
    /// A row of the book is not as this program writes it.
    #[error("the book holds {0}")]
    Corrupt(String),
}

/// What an error of the database asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Run the transaction again: another one was quicker, and is there to be read now.
    RunAgain,
    /// Connect again, then run the transaction again: if it was committed, its keys answer.
    Reconnect,
    /// Let others wait no longer.
    GiveUp,
    /// Find out which command it was.
    Isolate,
}

/// The constraints that a concurrent transaction can violate: it wrote the same key, payment or account first.
const RACED_CONSTRAINTS: [&str; 6] = [
    "accounts_pkey",
    "external_credits_pkey",
    "external_replays_pkey",
    "ledger_entries_idempotency_key_unique",
    "ledger_entries_pkey",
    "refusals_pkey",
];

/// Sorts an error of the database by what to do about it.
pub(super) fn remedy(error: &DatabaseError) -> Remedy {
    match (&error.code, &error.error) {
        (Some(code), error) => remedy_by_code(code, constraint(error)),
        // There was no answer, or none that came over a wire that is listened to.
        (None, DieselError::DatabaseError(kind, _)) => remedy_without_code(*kind),
        (
            None,
            DieselError::BrokenTransactionManager
            | DieselError::RollbackErrorOnCommit { .. }
            | DieselError::AlreadyInTransaction
            | DieselError::NotInTransaction
            | DieselError::RollbackTransaction,
        ) => Remedy::Reconnect,
        (
            None,
            DieselError::InvalidCString(_)
            | DieselError::NotFound
            | DieselError::QueryBuilderError(_)
            | DieselError::DeserializationError(_)
            | DieselError::SerializationError(_)
            | _, // the enum is open
        ) => Remedy::Isolate,
    }
}

/// Whether the server says that it takes no writes.
pub(super) fn says_read_only(error: &DatabaseError) -> bool {
    error.code == Some(SqlState::READ_ONLY_SQL_TRANSACTION)
}

fn constraint(error: &DieselError) -> Option<&str> {
    let DieselError::DatabaseError(_, information) = error else { return None };
    information.constraint_name()
}

fn remedy_by_code(code: &SqlState, constraint: Option<&str>) -> Remedy {
    match code.code() {
        "23505" if constraint.is_some_and(|name| RACED_CONSTRAINTS.contains(&name)) => Remedy::RunAgain,
        "40001" | "40P01" => Remedy::RunAgain, // it could not be put in order; a deadlock
        "55P03" | "57014" => Remedy::GiveUp,   // the time for a lock, or for a statement, is over
        "25006" | "58030" => Remedy::Reconnect, // it takes no writes; a disk fails
        // The connection; no room on a disk, in memory or for connections; the server goes or comes.
        code if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => Remedy::Reconnect,
        _ => Remedy::Isolate,
    }
}

fn remedy_without_code(kind: DatabaseErrorKind) -> Remedy {
    match kind {
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => Remedy::Reconnect,
        DatabaseErrorKind::UniqueViolation
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction
        | DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation
        | DatabaseErrorKind::RestrictViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::Unknown
        | _ => Remedy::Isolate, // the enum is open
    }
}

impl From<NoAnswer> for LedgerError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Unavailable(cause) => Self::Unavailable(cause),
            NoAnswer::Overloaded => Self::Overloaded,
        }
    }
}

impl From<DatabaseError> for LedgerError {
    fn from(error: DatabaseError) -> Self {
        match remedy(&error) {
            Remedy::RunAgain | Remedy::GiveUp => Self::Contention(error.into()),
            Remedy::Reconnect => Self::Unavailable(error.into()),
            Remedy::Isolate => Self::Refused(error.into()),
        }
    }
}

/// Where nothing is run again, and the text alone is shown.
impl From<DieselError> for LedgerError {
    fn from(error: DieselError) -> Self {
        DatabaseError::from(error).into()
    }
}

impl From<ClocksDiffer> for LedgerError {
    fn from(differ: ClocksDiffer) -> Self {
        Self::Unavailable(differ.into())
    }
}

/// Where Diesel is not in between, the SQLSTATE tells.
impl From<tokio_postgres::Error> for LedgerError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code().map(SqlState::code) else { return Self::Unavailable(error.into()) };
        match code.get(..2) {
            Some("40" | "55") => Self::Contention(error.into()),
            Some("08" | "53" | "57") => Self::Unavailable(error.into()),
            Some(_) | None => Self::Refused(error.into()),
        }
    }
}

impl From<Invalid> for LedgerError {
    fn from(invalid: Invalid) -> Self {
        Self::Corrupt(format!("a row whose {invalid}"))
    }
}

/// How a transaction ends other than by a commit.
pub(super) enum TransactionEnd {
    /// There is nothing to write: everything was answered before, or named what is not there.
    NothingToWrite,
    /// Some accounts have no row to lock yet.
    AccountsMissing,
    /// The database failed.
    Database(DatabaseError),
    /// The book is not as it should be.
    Ledger(LedgerError),
}

impl From<diesel::result::Error> for TransactionEnd {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<ClocksDiffer> for TransactionEnd {
    fn from(differ: ClocksDiffer) -> Self {
        Self::Ledger(differ.into())
    }
}

impl From<LedgerError> for TransactionEnd {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
