//! What can go wrong with a database, before anybody asks what it means for the book.

use std::error::Error as StdError;

use diesel::result::Error as DieselError;
use tokio_postgres::error::SqlState;

/// What the database or the pool said. For the log only.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why there is no answer. What was asked for may or may not have happened, if a statement was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The database cannot be reached, or does not answer.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// Too many callers wait for a session, or one has waited for too long. Nothing was sent.
    #[error("too many callers wait for a session")]
    Overloaded,
}

/// An error of a statement, and its SQLSTATE if it was overheard.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct DatabaseError {
    pub(crate) error: DieselError,
    pub(crate) code: Option<SqlState>,
}

impl From<DieselError> for DatabaseError {
    fn from(error: DieselError) -> Self {
        Self { error, code: None }
    }
}
