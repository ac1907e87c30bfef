//! Statements sent in one go: the next one goes out before the answer to the one before it has come.
//!
//! The server carries them out one after the other, each with a snapshot of its own, and each only if none before it in
//! the transaction has failed.

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

/// Sends statements in this order, and waits for all answers, or for the first failure.
///
/// Each future is polled in turn, and sends its statement when it is first polled; `unconstrained`, because the runtime
/// may otherwise tell one to wait for the next turn while those behind it go on. A statement that must first be prepared
/// lets others behind it go first unless they are prepared statements, too: BEGIN may be sent in front of such a one,
/// COMMIT not behind it.
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
