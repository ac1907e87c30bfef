//! A book, as history is written into it, in a session of its own.
//!
//! What is written at once is one transaction: it locks its accounts in the order of their ids, as the service does, so an import may
//! run beside it; and it says in `imported_accounts` how far it got.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _};
use tokio::time::sleep;
use tokio_postgres::{Client, Row, Transaction, error::SqlState};

use super::{
    HistoryError,
    chunk::Part,
    progress::{ImportTotals, Pending},
    rules::{AccountImport, Imported, NoRoom, Position, Standing},
    session::sum,
    time::PgTime,
    write::write,
};
use crate::{
    accounting::{AccountId, Timestamp},
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::{LedgerError, rows},
};

/// What the session is set to: it waits for nobody without a bound, and nobody for it.
const SESSION_SETTINGS: &str = "\
    SET application_name = 'billing import'; \
    SET default_transaction_isolation = 'read committed'; \
    SET lock_timeout = '10s'; \
    SET statement_timeout = '1h'; \
    SET idle_in_transaction_session_timeout = '1min'; \
    SET client_connection_check_interval = '1s'; \
    SET jit = off";

/// Waits as long as for any lock: of an import that was killed, the server may not know yet. It ends with the session.
const LOCK: &str = "SELECT pg_advisory_lock(hashtextextended('billing.import', $1))";

const OPEN_ACCOUNTS: &str = "\
    INSERT INTO accounts (account_id) SELECT unnest($1::text[]) ON CONFLICT (account_id) DO NOTHING";

/// How long to wait for the service to record expired leases, and how often to look.
const EXPIRY_PATIENCE: Duration = Duration::from_secs(5);
const EXPIRY_POLL: Duration = Duration::from_millis(100);

const DUE_ACCOUNTS: &str = "\
    SELECT EXISTS (SELECT FROM accounts WHERE account_id = ANY($1::text[]) AND next_expire_time <= statement_timestamp())";

/// The clock is read outside the locking part, so after each lock was had.
const LOCK_ACCOUNTS: &str = "\
    SELECT locked.*, clock_timestamp() FROM (\
        SELECT account_id::text, posted_micro_usd, held_micro_usd::bigint, last_sequence::bigint, create_time, update_time, \
            next_expire_time, coalesce((facts).withdrawable_micro_usd, 0::bigint)::bigint, \
            coalesce((facts).granted_micro_usd, 0::bigint)::bigint \
        FROM accounts WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR UPDATE\
    ) AS locked";

const TOTALS: &str = "\
    SELECT count(*), coalesce(sum(rows), 0)::bigint, coalesce(sum(amount_micro_usd), 0)::text, \
        count(*) FILTER (WHERE adjustment_micro_usd <> 0), coalesce(sum(adjustment_micro_usd), 0)::text \
    FROM imported_accounts";

/// Why an account is left out whose leases have expired and are not recorded.
const UNRECORDED_EXPIRY: &str =
    "reservations of it have expired, and no service has recorded that: import again while the service runs";

pub(super) struct Book {
    client: Client,
}

/// What was added to an account, or why it cannot be taken further.
pub(super) type Written = Result<AccountImport, String>;

/// How accounts stand under their locks, when the first of their leases expires, and the time.
struct Locked {
    accounts: HashMap<String, (Standing, Option<Timestamp>)>,
    now: Timestamp,
}

impl Book {
    /// The book with a number, which nobody else imports into until this is dropped.
    pub(super) async fn open(url: &DatabaseUrl, number: usize) -> Result<Self, HistoryError> {
        let unavailable = |error: diesel::ConnectionError| LedgerError::Unavailable(error.into());
        let connected = connect_without_diesel(url, Purpose::Write).await.map_err(unavailable);
        let client = connected.map_err(HistoryError::Book)?;
        client.batch_execute(SESSION_SETTINGS).await.map_err(failed)?;
        let number = i64::try_from(number).unwrap_or(i64::MAX); // at most 64
        match client.execute(LOCK, &[&number]).await {
            Ok(_) => Ok(Self { client }),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(HistoryError::AnotherImport)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// How far accounts are; those of which nothing is here are missing.
    pub(super) async fn imported(
        &self,
        account_ids: &[&str],
    ) -> Result<Vec<(String, Imported)>, HistoryError> {
        let text = "SELECT account_id::text, rows::bigint, amount_micro_usd::text, adjustment_micro_usd::text, \
                        withdrawable_micro_usd, last_create_time, last_id \
                    FROM imported_accounts WHERE account_id = ANY($1::text[])";
        let rows = self.client.query(text, &[&account_ids]).await.map_err(failed)?;
        rows.iter().map(|row| imported(row).map_err(HistoryError::Book)).collect()
    }

    /// The numbers of the rows of an account that are here, in their order. Entries with a key are the service's own, whatever
    /// their callers noted.
    pub(super) async fn imported_ids(
        &self,
        account_id: &AccountId,
    ) -> Result<impl Stream<Item = Result<i64, HistoryError>> + use<>, HistoryError> {
        let text = "SELECT (metadata->>'imported_id')::bigint FROM ledger_entries \
                    WHERE account_id = $1::text AND idempotency_key IS NULL AND metadata ? 'imported_id' ORDER BY 1";
        let rows = self.client.query_raw(text, [account_id.as_str()]).await.map_err(failed)?;
        Ok(rows.map(|row| row.and_then(|row| row.try_get(0)).map_err(failed)))
    }

    /// Waits until the service has recorded the leases that have expired in some accounts, but not for long. An entry that is
    /// written before that would hide the expiry from every reader of the past.
    async fn wait_for_expiries(&self, account_ids: &[&str]) -> Result<(), HistoryError> {
        let until = Instant::now() + EXPIRY_PATIENCE;
        loop {
            let row = self.client.query_one(DUE_ACCOUNTS, &[&account_ids]).await.map_err(failed)?;
            if !row.try_get::<_, bool>(0).map_err(failed)? || Instant::now() >= until {
                return Ok(());
            }
            sleep(EXPIRY_POLL).await;
        }
    }

    /// Writes parts of accounts, and says what became of each account, by its index.
    pub(super) async fn write(
        &mut self,
        accounts: &[Pending],
        parts: Vec<Part>,
    ) -> Result<Vec<(usize, Written)>, HistoryError> {
        let parts: Vec<Part> = parts.into_iter().filter(|part| !accounts[part.index].is_left_out).collect();
        let ids: Vec<&str> = parts.iter().map(|part| accounts[part.index].account_id.as_str()).collect();
        self.wait_for_expiries(&ids).await?;
        let transaction = self.client.transaction().await.map_err(failed)?;
        let locked = lock(&transaction, &ids).await.map_err(HistoryError::Book)?;
        let (mut added, mut left_out) = (Vec::new(), Vec::new());
        for part in parts {
            let (index, account) = (part.index, &accounts[part.index]);
            let Some((standing, next_expire_time)) =
                locked.accounts.get(account.account_id.as_str()).copied()
            else {
                continue;
            };
            if next_expire_time.is_some_and(|next| next <= locked.now) {
                left_out.push((index, Err(UNRECORDED_EXPIRY.to_owned())));
                continue;
            }
            match add(standing, account, part, locked.now) {
                Ok(import) => added.push((index, import)),
                Err(no_room) => left_out.push((index, Err(no_room.to_string()))),
            }
        }
        write(&transaction, added.iter_mut().map(|(_, import)| import).collect()).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let added = added.into_iter().map(|(index, import)| (index, Ok(import)));
        Ok(left_out.into_iter().chain(added).collect())
    }

    /// Has the server count again, so that what comes now is planned for what is there now.
    pub(super) async fn analyze(&self) -> Result<(), HistoryError> {
        let text = "ANALYZE accounts, ledger_entries, payments, imported_accounts";
        self.client.batch_execute(text).await.map_err(failed)
    }

    /// All that is here.
    pub(super) async fn totals(&self) -> Result<ImportTotals, HistoryError> {
        let row = self.client.query_one(TOTALS, &[]).await.map_err(failed)?;
        totals(&row).map_err(HistoryError::Book)
    }
}

/// An account with what is added to it.
fn add(
    mut standing: Standing,
    account: &Pending,
    part: Part,
    now: Timestamp,
) -> Result<AccountImport, NoRoom> {
    if standing.last_sequence == 0 {
        let changed = account.source.update_time.filter(|time| *time <= now);
        standing.update_time = changed.unwrap_or(now);
    }
    let mut import = AccountImport::new(account.account_id.clone(), standing, account.imported);
    for row in part.rows {
        import.add(row, now)?;
    }
    if part.is_last && account.is_all(&import.imported) {
        import.settle(account.source.balance)?;
        import.make_withdrawable(account.source.may_leave())?;
    }
    Ok(import)
}

async fn lock(transaction: &Transaction<'_>, account_ids: &[&str]) -> Result<Locked, LedgerError> {
    transaction.execute(OPEN_ACCOUNTS, &[&account_ids]).await?;
    let rows = transaction.query(LOCK_ACCOUNTS, &[&account_ids]).await?;
    let mut locked = Locked { accounts: HashMap::new(), now: Timestamp::from_unix_micros(0) };
    for row in rows {
        let standing = Standing {
            balance: rows::balance(row.try_get(1)?, row.try_get(2)?, row.try_get(7)?, (row.try_get(8)?, 0))?,
            last_sequence: row.try_get(3)?,
            create_time: row.try_get::<_, PgTime>(4)?.0,
            update_time: row.try_get::<_, PgTime>(5)?.0,
        };
        let next_expire_time = row.try_get::<_, Option<PgTime>>(6)?.map(|next| next.0);
        locked.accounts.insert(row.try_get(0)?, (standing, next_expire_time));
        locked.now = locked.now.max(row.try_get::<_, PgTime>(9)?.0);
    }
    Ok(locked)
}

fn imported(row: &Row) -> Result<(String, Imported), LedgerError> {
    let (create_time, id): (Option<PgTime>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
    let imported = Imported {
        rows: row.try_get(1)?,
        amount: sum(row.try_get(2)?)?,
        adjustment: sum(row.try_get(3)?)?,
        last: create_time.zip(id).map(|(create_time, id)| Position { create_time: create_time.0, id }),
        withdrawable: row.try_get(4)?,
    };
    Ok((row.try_get(0)?, imported))
}

fn totals(row: &Row) -> Result<ImportTotals, LedgerError> {
    Ok(ImportTotals {
        accounts: row.try_get(0)?,
        rows: row.try_get(1)?,
        amount: sum(row.try_get(2)?)?,
        adjusted_accounts: row.try_get(3)?,
        adjustment: sum(row.try_get(4)?)?,
    })
}

fn failed(error: tokio_postgres::Error) -> HistoryError {
    HistoryError::Book(error.into())
}
