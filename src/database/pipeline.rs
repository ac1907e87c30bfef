//! Pipelining: a statement is sent before the answer to the previous one has arrived.
//!
//! The server runs the statements one after the other, each with a snapshot of its own, and each only if none before it in
//! the transaction has failed.

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

/// Sends statements in this order, and waits for all answers, or for the first failure.
///
/// The futures are polled in order, and each sends its statement when it is first polled; `unconstrained`, because the
/// runtime's budget could otherwise suspend one while those after it go on. A statement that must first be prepared is
/// overtaken by later ones that are not prepared statements: BEGIN may be sent before such a one, but COMMIT not after it.
macro_rules! in_one_go {
    ($($statement:expr),+ $(,)?) => {
        tokio::task::unconstrained(async { tokio::try_join!(biased; $($statement),+) }).await
    };
}

pub(crate) use in_one_go;

/// Sends a statement that has no parameters and no rows.
pub(crate) async fn execute(mut connection: &AsyncPgConnection, sql: &str) -> QueryResult<()> {
    connection.batch_execute(sql).await
}
