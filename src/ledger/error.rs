//! Errors of the book, classified by what to do about them.

use std::{collections::BTreeSet, error::Error as StdError, iter, sync::Arc};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio_postgres::error::SqlState;

use super::clock::ClocksDiffer;
use crate::{
    accounting::{AccountId, Invalid},
    database::{Cause, NoAnswer, error::DatabaseError},
};

/// Why the book could not be read or written. A refusal for a business reason is an answer, not an error.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be reached, or takes no writes at the moment. Operations in progress may or may not have been
    /// applied.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// Too many reads wait for a connection, or a read has waited too long.
    #[error("too many reads wait for a connection")]
    Overloaded,
    /// Other transactions held the locks for too long, or conflicted repeatedly. Nothing was written.
    #[error("the locks could not be had in time")]
    Contention(#[source] Cause),
    /// The database rejected a statement: a constraint of the book, or a bug in this program. Nothing was written.
    #[error("the database refused a statement")]
    Refused(#[source] Cause),
    /// A row of the book is not one that this program writes.
    #[error("the book holds {0}")]
    Corrupt(String),
}

impl LedgerError {
    /// The same error so many times, for those who shared a statement.
    pub(super) fn repeated(self, count: usize) -> Vec<Self> {
        let of = |kind: fn(Cause) -> Self, cause: Cause| {
            let cause: Arc<dyn StdError + Send + Sync> = cause.into();
            iter::repeat_with(|| kind(Arc::clone(&cause).into())).take(count).collect()
        };
        match self {
            Self::Unavailable(cause) => of(Self::Unavailable, cause),
            Self::Overloaded => iter::repeat_with(|| Self::Overloaded).take(count).collect(),
            Self::Contention(cause) => of(Self::Contention, cause),
            Self::Refused(cause) => of(Self::Refused, cause),
            Self::Corrupt(what) => iter::repeat_with(|| Self::Corrupt(what.clone())).take(count).collect(),
        }
    }
}

/// What to do about an error of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Run the transaction again: a concurrent one won, and its rows can be read now.
    RunAgain,
    /// Reconnect, then run the transaction again: if it was committed, its keys find the answers.
    Reconnect,
    /// Give up, so that others need not wait.
    GiveUp,
    /// Run the commands one by one, to find the one that fails.
    Isolate,
}

/// Constraints that are violated when a concurrent transaction wrote the same key, payment or account first.
const RACED_CONSTRAINTS: [&str; 6] = [
    "accounts_pkey",
    "external_replays_pkey",
    "ledger_entries_idempotency_key_unique",
    "ledger_entries_pkey",
    "payments_pkey",
    "refusals_pkey",
];

/// Classifies an error of the database.
pub(super) fn remedy(error: &DatabaseError) -> Remedy {
    match (&error.code, &error.error) {
        (Some(code), error) => remedy_by_code(code, error),
        // There was no answer, or it came over a connection whose codes are not recorded.
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

/// Whether the server reports that it is read-only.
pub(super) fn says_read_only(error: &DatabaseError) -> bool {
    error.code == Some(SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Whether a concurrent transaction was first. From another node of Citus, the name of the constraint comes in the message alone; and
/// there it is that of a part of the table, with a number behind.
fn lost_a_race(error: &DieselError) -> bool {
    let DieselError::DatabaseError(_, information) = error else { return false };
    let quoted = || information.message().split('"').nth(1);
    let Some(name) = information.constraint_name().or_else(quoted) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let table_s =
        name.rsplit_once('_').filter(|(_, number)| is_number(number)).map_or(name, |(name, _)| name);
    RACED_CONSTRAINTS.contains(&table_s)
}

fn remedy_by_code(code: &SqlState, error: &DieselError) -> Remedy {
    match code.code() {
        "23505" if lost_a_race(error) => Remedy::RunAgain,
        "40001" | "40P01" => Remedy::RunAgain, // serialization failure; deadlock
        "55P03" | "57014" => Remedy::GiveUp,   // lock timeout; statement timeout
        "25006" | "58030" => Remedy::Reconnect, // read-only; I/O error
        // Connection errors; out of disk, memory or connections; the server shuts down or starts.
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

impl From<ClocksDiffer> for LedgerError {
    fn from(differ: ClocksDiffer) -> Self {
        Self::Unavailable(differ.into())
    }
}

/// Without Diesel in between, the error has its SQLSTATE.
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

/// Why a transaction ends without a commit.
pub(super) enum TransactionEnd {
    /// There is nothing to write: every command was answered before, or names something that does not exist.
    NothingToWrite,
    /// Some accounts have no row to lock yet.
    AccountsMissing,
    /// More accounts have to be locked: the payees of a debit whose refund takes back from them.
    AccountsNeeded(BTreeSet<AccountId>),
    /// The database failed.
    Database(DatabaseError),
    /// The book is inconsistent, or the clocks differ.
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
