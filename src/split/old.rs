//! The old ledger, as it stands at one moment.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, CopyOutStream, Row};

use super::{
    error::SplitError,
    table::{self, Table},
};
use crate::{
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::LedgerError,
};

/// The settings of the sessions. Nothing waits without a bound; but a table may be read whole. Entries are found by their accounts,
/// whatever the statistics say.
const SESSION_SETTINGS: &str = "\
    SET application_name = 'billing split'; \
    SET lock_timeout = '10s'; \
    SET statement_timeout = '24h'; \
    SET idle_in_transaction_session_timeout = '1h'; \
    SET client_connection_check_interval = '1s'; \
    SET enable_hashjoin = off; \
    SET enable_mergejoin = off; \
    SET jit = off";

/// How long before the moment of the last pass rows may have been made that it did not see: longer than a transaction takes, and than
/// clocks differ.
const MARGIN: &str = "5 minutes";

/// What closes a ledger: whatever an operation does, it writes into one of these.
const CLOSE: &str = "\
    CREATE TRIGGER this_ledger_is_closed BEFORE INSERT ON ledger_entries \
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(); \
    CREATE TRIGGER this_ledger_is_closed BEFORE INSERT ON refusals \
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(); \
    CREATE TRIGGER this_ledger_is_closed BEFORE INSERT ON external_replays \
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()";

/// A moment of the old ledger, which sessions share.
pub(super) struct OldLedger {
    url: DatabaseUrl,
    /// Keeps the moment, and its locks.
    keeper: Client,
    moment: Arc<str>,
}

/// A session that sees the old ledger as it stood then.
pub(super) struct OldSession {
    client: Client,
}

impl OldLedger {
    /// The ledger as it stands now.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, SplitError> {
        Self::begin(url, Purpose::Look, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// The same, and nobody writes to it until this is dropped. Unless an earlier run has closed it, which comes to the same.
    pub(super) async fn hold_back(url: &DatabaseUrl) -> Result<Self, SplitError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE accounts IN EXCLUSIVE MODE";
        Self::begin(url, Purpose::Write, begin).await
    }

    async fn begin(url: &DatabaseUrl, purpose: Purpose, begin: &str) -> Result<Self, SplitError> {
        let keeper = session(url, purpose).await?;
        keeper.batch_execute(begin).await.map_err(failed)?;
        let row = keeper.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed)?;
        let moment: String = row.try_get(0).map_err(failed)?;
        Ok(Self { url: url.clone(), keeper, moment: moment.into() })
    }

    /// From when on the next pass has to look for rows that tell when they were written.
    pub(super) async fn time(&self) -> Result<String, SplitError> {
        let text = format!("SELECT (clock_timestamp() - interval '{MARGIN}')::text");
        let row = self.keeper.query_one(&text, &[]).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }

    /// A session that sees it as it stands.
    pub(super) async fn session(&self) -> Result<OldSession, SplitError> {
        let client = session(&self.url, Purpose::Look).await?;
        let moment = &self.moment;
        let begin =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{moment}'");
        client.batch_execute(&begin).await.map_err(failed)?;
        Ok(OldSession { client })
    }

    /// Closes it for good: nothing is written to it any more.
    pub(super) async fn close(self) -> Result<(), SplitError> {
        let text = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'this_ledger_is_closed')";
        let row = self.keeper.query_one(text, &[]).await.map_err(failed)?;
        if !row.try_get::<_, bool>(0).map_err(failed)? {
            self.keeper.batch_execute(CLOSE).await.map_err(failed)?;
        }
        self.keeper.batch_execute("COMMIT").await.map_err(failed)
    }
}

impl OldSession {
    /// Opens a cursor.
    pub(super) async fn declare(&self, cursor: &str, query: &str) -> Result<(), SplitError> {
        let text = format!("DECLARE {cursor} NO SCROLL CURSOR FOR {query}");
        self.client.batch_execute(&text).await.map_err(failed)
    }

    /// The next rows of a cursor.
    pub(super) async fn fetch(&self, cursor: &str, count: usize) -> Result<Vec<Row>, SplitError> {
        self.client.query(&format!("FETCH {count} FROM {cursor}"), &[]).await.map_err(failed)
    }

    /// The rows of a query, as they are.
    pub(super) async fn copy(&self, query: &str) -> Result<CopyOutStream, SplitError> {
        self.client.copy_out(&format!("COPY ({query}) TO STDOUT")).await.map_err(failed)
    }

    pub(super) async fn figures(&self, table: Table) -> Result<(i64, i128), SplitError> {
        table::figures(&self.client, table).await.map_err(failed)
    }
}

async fn session(url: &DatabaseUrl, purpose: Purpose) -> Result<Client, SplitError> {
    let connected = connect_without_diesel(url, purpose).await;
    let client = connected.map_err(|error| SplitError::Old(LedgerError::Unavailable(error.into())))?;
    client.batch_execute(SESSION_SETTINGS).await.map_err(failed)?;
    Ok(client)
}

/// The chunks of a copy.
pub(super) async fn next(
    rows: &mut std::pin::Pin<&mut CopyOutStream>,
) -> Result<Option<bytes::Bytes>, SplitError> {
    rows.try_next().await.map_err(failed)
}

fn failed(error: tokio_postgres::Error) -> SplitError {
    SplitError::Old(error.into())
}
