//! A session on the database of the replaced system, which is seen as it stands at one moment.
//!
//! One session and one transaction, REPEATABLE READ and READ ONLY: journal and balances are of the same moment, and a
//! standby will do.

use tokio_postgres::{Client, Row, types::FromSql};

use super::HistoryError;
use crate::{
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::LedgerError,
    schema::{DatabaseUse, check_database},
};

/// What the session is set to.
///
/// * What the transaction is, BEGIN says: the defaults of a session are not those of a transaction that sets them.
/// * Rows are read to their end, so they are planned for that.
/// * A sort of a large journal takes long, and so does whoever reads it: statements have hours.
const SESSION_SETTINGS: &str = "\
    SET TimeZone = 'UTC'; \
    SET lock_timeout = '2s'; \
    SET statement_timeout = '24h'; \
    SET idle_in_transaction_session_timeout = '1h'; \
    SET client_connection_check_interval = '1s'; \
    SET cursor_tuple_fraction = 1; \
    SET jit = off; \
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const COLUMNS: [(&str, &str); 11] = [
    ("balances", "account_id"),
    ("balances", "balance_micro_usd"),
    ("balances", "withdrawable_micro_usd"),
    ("balances", "updated_at"),
    ("ledger_entries", "id"),
    ("ledger_entries", "account_id"),
    ("ledger_entries", "entry_type"),
    ("ledger_entries", "amount_micro_usd"),
    ("ledger_entries", "balance_after"),
    ("ledger_entries", "reference"),
    ("ledger_entries", "created_at"),
];

/// Begins to read, under a name by which the server knows the session.
pub(super) async fn open(url: &DatabaseUrl, name: &str) -> Result<Client, HistoryError> {
    check_database(url, DatabaseUse::Source).await.map_err(HistoryError::UnfitSource)?;
    let unavailable = |error: diesel::ConnectionError| LedgerError::Unavailable(error.into());
    let connected = connect_without_diesel(url, Purpose::Look).await.map_err(unavailable);
    let client = connected.map_err(HistoryError::Source)?;
    let settings = format!("SET application_name = '{name}'; {SESSION_SETTINGS}");
    client.batch_execute(&settings).await.map_err(failed)?;
    must_have_columns(&client).await?;
    Ok(client)
}

async fn must_have_columns(client: &Client) -> Result<(), HistoryError> {
    let text = "SELECT w.t || '.' || w.c FROM unnest($1::text[], $2::text[]) AS w(t, c) \
                WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(w.t) \
                                  AND attname = w.c AND NOT attisdropped)";
    let (tables, columns): (Vec<_>, Vec<_>) = COLUMNS.into_iter().unzip();
    let missing = client.query(text, &[&tables, &columns]).await.map_err(failed)?;
    let missing: Vec<String> =
        missing.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)?;
    if missing.is_empty() { Ok(()) } else { Err(HistoryError::NotASource(missing.join(", "))) }
}

/// A sum of 64-bit integers. It comes as text, since PostgreSQL has no integer that is wide enough.
pub(super) fn sum(text: &str) -> Result<i128, LedgerError> {
    text.parse().map_err(|_| LedgerError::Corrupt(format!("a sum of {text}")))
}

/// What the source has failed with.
pub(super) fn failed(error: tokio_postgres::Error) -> HistoryError {
    HistoryError::Source(error.into())
}

/// A column of a row of the source.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, HistoryError> {
    row.try_get(column).map_err(failed)
}

/// A sum in a row of the source.
pub(super) fn read_sum(row: &Row, column: usize) -> Result<i128, HistoryError> {
    sum(get(row, column)?).map_err(HistoryError::Source)
}
