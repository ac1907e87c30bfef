//! What can go wrong with the database, sorted by what to do about it.

use std::error::Error as StdError;

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use tokio_postgres::error::SqlState;

use super::clock::ClocksDiffer;
use crate::accounting::Invalid;

/// What the database or the pool said. For the log only.
pub type Cause = Box<dyn StdError + Send + Sync>;

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

/// The beginnings of messages that say the server is going, coming, or out of room. Diesel hides the SQLSTATE; the
/// session asks for English messages where it may.
const UNAVAILABLE_MESSAGES: [&str; 5] = [
    "terminating connection",
    "the database system is",
    "could not extend file",
    "could not write",
    "sorry, too many clients",
];

/// Sorts an error of the database by what to do about it.
pub(super) fn remedy(error: &DieselError) -> Remedy {
    match error {
        DieselError::DatabaseError(kind, information) => database_remedy(*kind, information.as_ref()),
        DieselError::BrokenTransactionManager
        | DieselError::RollbackErrorOnCommit { .. }
        | DieselError::AlreadyInTransaction
        | DieselError::NotInTransaction
        | DieselError::RollbackTransaction => Remedy::Reconnect,
        DieselError::InvalidCString(_)
        | DieselError::NotFound
        | DieselError::QueryBuilderError(_)
        | DieselError::DeserializationError(_)
        | DieselError::SerializationError(_)
        | _ => Remedy::Isolate, // the enum is open
    }
}

/// Whether the server says that it takes no writes.
pub(super) fn says_read_only(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _))
}

fn database_remedy(kind: DatabaseErrorKind, information: &dyn DatabaseErrorInformation) -> Remedy {
    let message = information.message();
    match kind {
        DatabaseErrorKind::UniqueViolation => match information.constraint_name() {
            Some(name) if RACED_CONSTRAINTS.contains(&name) => Remedy::RunAgain,
            Some(_) | None => Remedy::Isolate,
        },
        DatabaseErrorKind::SerializationFailure => Remedy::RunAgain,
        DatabaseErrorKind::ReadOnlyTransaction
        | DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand => Remedy::Reconnect,
        DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation
        | DatabaseErrorKind::RestrictViolation
        | DatabaseErrorKind::ExclusionViolation => Remedy::Isolate,
        DatabaseErrorKind::Unknown | _ => unknown_remedy(message), // the enum is open
    }
}

fn unknown_remedy(message: &str) -> Remedy {
    if message == "deadlock detected" {
        Remedy::RunAgain
    } else if message.starts_with("canceling statement due to") {
        Remedy::GiveUp
    } else if UNAVAILABLE_MESSAGES.iter().any(|beginning| message.starts_with(beginning)) {
        Remedy::Reconnect
    } else {
        Remedy::Isolate
    }
}

impl From<DieselError> for LedgerError {
    fn from(error: DieselError) -> Self {
        match remedy(&error) {
            Remedy::RunAgain | Remedy::GiveUp => Self::Contention(error.into()),
            Remedy::Reconnect => Self::Unavailable(error.into()),
            Remedy::Isolate => Self::Refused(error.into()),
        }
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
