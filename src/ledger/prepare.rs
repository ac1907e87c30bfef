//! What is prepared in a session before it is used: a statement that is not is sent a round trip later, and so perhaps after one
//! that was meant to follow it.

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    load::LockedRow,
    statements::{ChangeGrants, LockAccounts, LockIdleAccounts, OpenGrants},
    write_entries::prepare_entries,
};

/// Prepares the locks, which whatever is read relies upon, and the writes that a COMMIT is sent right behind; by locking and
/// writing nothing.
pub(super) fn prepare_writes(connection: &mut AsyncPgConnection) -> BoxFuture<'_, QueryResult<()>> {
    async {
        LockAccounts::default().load::<LockedRow>(connection).await?;
        LockIdleAccounts::default().load::<LockedRow>(connection).await?;
        prepare_entries(connection).await?;
        OpenGrants::default().load::<i64>(connection).await?;
        ChangeGrants::default().load::<i64>(connection).await?;
        Ok(())
    }
    .boxed()
}
