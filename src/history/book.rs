//! The ledger, as history is written into it.
//!
//! A chunk is one transaction in each book that it has accounts of: it locks its accounts in the order of their ids, as the service does, so an import may run
//! beside it; and it says in `imported_accounts` how far it got.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _};
use tokio::time::sleep;
use tokio_postgres::{
    Client, Row, Transaction,
    binary_copy::BinaryCopyInWriter,
    error::SqlState,
    types::{Json, ToSql, Type},
};

use super::{
    HistoryError,
    chunk::{Chunk, Part},
    progress::{ImportTotals, Pending, Tell},
    rules::{AccountImport, Claim, Imported, NoRoom, Position, Standing},
    session::sum,
    time::PgTime,
};
use crate::{
    accounting::{AccountId, Actor, ExternalId, Reason, Timestamp},
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::{LedgerError, rows},
    schema::Books,
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
const LOCK: &str = "SELECT pg_advisory_lock(hashtextextended('billing.import', 0))";

/// The columns of an imported entry, and what is sent for each.
const COPY: &str = "\
    COPY ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, posted_after, \
        held_after, create_time, external_ids, reference, metadata, actor, reason, withdrawable_delta_micro_usd, \
        withdrawable_after, granted_after) FROM STDIN (FORMAT binary)";
const COPY_TYPES: [Type; 16] = [
    Type::TEXT,
    Type::INT8,
    Type::INT2,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::JSONB,
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

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

const UPDATE_ACCOUNTS: &str = "\
    UPDATE accounts a SET posted_micro_usd = n.posted, last_sequence = n.last_sequence, \
        create_time = n.create_time, update_time = n.update_time, \
        facts = CASE WHEN n.withdrawable = 0 AND a.facts IS NULL THEN NULL ELSE \
            ROW(coalesce((a.facts).state, 1), (a.facts).debt_limit_micro_usd, n.withdrawable, \
                (a.facts).granted_micro_usd)::facts END \
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[]) \
        AS n(account_id, posted, last_sequence, create_time, update_time, withdrawable) \
    WHERE a.account_id = n.account_id";

const WRITE_IMPORTED: &str = "\
    INSERT INTO imported_accounts (account_id, rows, amount_micro_usd, adjustment_micro_usd, \
        withdrawable_micro_usd, last_create_time, last_id) \
    SELECT account_id, rows, amount::numeric, adjustment::numeric, withdrawable, last_create_time, last_id \
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::bigint[]) \
        AS n(account_id, rows, amount, adjustment, withdrawable, last_create_time, last_id) \
    ON CONFLICT (account_id) DO UPDATE SET rows = excluded.rows, amount_micro_usd = excluded.amount_micro_usd, \
        adjustment_micro_usd = excluded.adjustment_micro_usd, \
        withdrawable_micro_usd = excluded.withdrawable_micro_usd, \
        last_create_time = excluded.last_create_time, last_id = excluded.last_id";

/// In the bytewise order of the payments, as the service does: two transactions never wait for each other.
const CLAIM_PAYMENTS: &str = "\
    INSERT INTO payments (external_id, account_id, sequence) \
    SELECT n.* FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n(external_id, account_id, sequence) \
    ORDER BY n.external_id COLLATE \"C\" \
    ON CONFLICT (external_id) DO NOTHING RETURNING account_id::text, sequence::bigint";

const TOTALS: &str = "\
    SELECT count(*), coalesce(sum(rows), 0)::bigint, coalesce(sum(amount_micro_usd), 0)::text, \
        count(*) FILTER (WHERE adjustment_micro_usd <> 0), coalesce(sum(adjustment_micro_usd), 0)::text \
    FROM imported_accounts";

/// Why an account is left out whose leases have expired and are not recorded.
const UNRECORDED_EXPIRY: &str =
    "reservations of it have expired, and no service has recorded that: import again while the service runs";

pub(super) struct Book {
    books: Books,
    client: Client,
}

/// How accounts stand under their locks, when the first of their leases expires, and the time.
struct Locked {
    accounts: HashMap<String, (Standing, Option<Timestamp>)>,
    now: Timestamp,
}

impl Book {
    /// The book, which nobody else imports into until this is dropped.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, HistoryError> {
        let unavailable = |error: diesel::ConnectionError| LedgerError::Unavailable(error.into());
        let books = Books::find(url).await.map_err(|error| HistoryError::Book(error.into()))?;
        let connected = connect_without_diesel(books.any(), Purpose::Write).await.map_err(unavailable);
        let client = connected.map_err(HistoryError::Book)?;
        client.batch_execute(SESSION_SETTINGS).await.map_err(failed)?;
        match client.execute(LOCK, &[]).await {
            Ok(_) => Ok(Self { books, client }),
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
    ) -> Result<HashMap<String, Imported>, HistoryError> {
        let text = "SELECT account_id::text, rows::bigint, amount_micro_usd::text, adjustment_micro_usd::text, \
                        withdrawable_micro_usd, last_create_time, last_id \
                    FROM imported_accounts WHERE account_id = ANY($1::text[])";
        let mut found = HashMap::new();
        let by_book = by_book(account_ids.iter().copied(), |account_id| self.books.number_of(account_id));
        for (book, account_ids) in by_book {
            self.turn_to(book).await?;
            for row in self.client.query(text, &[&account_ids]).await.map_err(failed)? {
                let (account_id, imported) = imported(&row).map_err(HistoryError::Book)?;
                found.insert(account_id, imported);
            }
        }
        Ok(found)
    }

    /// Has the session look in a book; there is nothing to do if there is only one.
    async fn turn_to(&self, book: usize) -> Result<(), HistoryError> {
        match self.books.search_path(book) {
            Some(search_path) => {
                let turn = format!("SET search_path = {search_path}");
                self.client.batch_execute(&turn).await.map_err(failed)
            }
            None => Ok(()),
        }
    }

    /// The numbers of the rows of an account that are here, in their order. Entries with a key are the service's own, whatever
    /// their callers noted.
    pub(super) async fn imported_ids(
        &self,
        account_id: &AccountId,
    ) -> Result<impl Stream<Item = Result<i64, HistoryError>> + use<>, HistoryError> {
        let text = "SELECT (metadata->>'imported_id')::bigint FROM ledger_entries \
                    WHERE account_id = $1::text AND idempotency_key IS NULL AND metadata ? 'imported_id' ORDER BY 1";
        self.turn_to(self.books.number_of(account_id.as_str())).await?;
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

    /// Writes a chunk, book by book, and tells of what is in one when that is committed.
    pub(super) async fn write(
        &mut self,
        accounts: &mut [Pending],
        chunk: Chunk,
        tell: Tell<'_>,
    ) -> Result<(), HistoryError> {
        let book_of = |part: &Part| self.books.number_of(accounts[part.index].account_id.as_str());
        for (book, parts) in by_book(chunk.parts, book_of) {
            self.turn_to(book).await?;
            self.write_parts(accounts, parts, tell).await?;
        }
        Ok(())
    }

    async fn write_parts(
        &mut self,
        accounts: &mut [Pending],
        parts: Vec<Part>,
        tell: Tell<'_>,
    ) -> Result<(), HistoryError> {
        let ids: Vec<&str> = parts.iter().map(|part| accounts[part.index].account_id.as_str()).collect();
        self.wait_for_expiries(&ids).await?;
        let transaction = self.client.transaction().await.map_err(failed)?;
        let locked = lock(&transaction, &ids).await.map_err(HistoryError::Book)?;
        let mut added = Vec::new();
        for part in parts {
            let (index, account) = (part.index, &mut accounts[part.index]);
            if account.is_left_out {
                continue;
            }
            let account_id = account.account_id.as_str();
            let Some((standing, next_expire_time)) = locked.accounts.get(account_id).copied() else {
                continue;
            };
            if next_expire_time.is_some_and(|next| next <= locked.now) {
                account.leave_out(UNRECORDED_EXPIRY.to_owned(), tell);
                continue;
            }
            match add(standing, account, part, locked.now) {
                Ok(import) => added.push((index, import)),
                Err(no_room) => account.leave_out(no_room.to_string(), tell),
            }
        }
        copy_entries(&transaction, &added).await.map_err(failed)?;
        update_accounts(&transaction, &added).await.map_err(failed)?;
        write_imported(&transaction, &added).await.map_err(failed)?;
        claim_payments(&transaction, &mut added).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        for (index, import) in added {
            accounts[index].keep(import, tell);
        }
        Ok(())
    }

    /// Has the server count again, so that what comes now is planned for what is there now.
    pub(super) async fn analyze(&self) -> Result<(), HistoryError> {
        let text = "ANALYZE accounts, ledger_entries, payments, imported_accounts";
        for book in 0..self.books.count() {
            self.turn_to(book).await?;
            self.client.batch_execute(text).await.map_err(failed)?;
        }
        Ok(())
    }

    /// All that is here.
    pub(super) async fn totals(&self) -> Result<ImportTotals, HistoryError> {
        let mut all = ImportTotals::default();
        for book in 0..self.books.count() {
            self.turn_to(book).await?;
            let row = self.client.query_one(TOTALS, &[]).await.map_err(failed)?;
            all = all.and(totals(&row).map_err(HistoryError::Book)?);
        }
        Ok(all)
    }
}

/// Things of accounts, by the numbers of the books that these are in.
fn by_book<T>(things: impl IntoIterator<Item = T>, book_of: impl Fn(&T) -> usize) -> BTreeMap<usize, Vec<T>> {
    let mut by_book: BTreeMap<usize, Vec<T>> = BTreeMap::new();
    for thing in things {
        by_book.entry(book_of(&thing)).or_default().push(thing);
    }
    by_book
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

/// The accounts of a chunk, each with what was added.
type Added = [(usize, AccountImport)];

async fn copy_entries(transaction: &Transaction<'_>, added: &Added) -> Result<(), tokio_postgres::Error> {
    let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(COPY).await?, &COPY_TYPES));
    for entry in added.iter().flat_map(|(_, import)| &import.entries) {
        let external_ids: Vec<&str> = entry.external_ids.iter().map(ExternalId::as_str).collect();
        let balance = entry.balance_after;
        let values: [&(dyn ToSql + Sync); 16] = [
            &entry.account_id.as_str(),
            &entry.sequence,
            &entry.entry_type.number(),
            &entry.amount.get(),
            &entry.held_delta.get(),
            &balance.posted().get(),
            &balance.held().get(),
            &PgTime(entry.create_time),
            &Some(external_ids).filter(|ids| !ids.is_empty()),
            &entry.note.reference.as_str(),
            &Json(&entry.note.metadata),
            &entry.actor.as_ref().map(Actor::as_str),
            &entry.reason.as_ref().map(Reason::as_str),
            &rows::nonzero(entry.withdrawable_delta),
            &rows::nonzero(balance.withdrawable_posted()),
            &rows::nonzero(balance.granted()),
        ];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn update_accounts(transaction: &Transaction<'_>, added: &Added) -> Result<(), tokio_postgres::Error> {
    let changed = || added.iter().map(|(_, import)| import).filter(|import| !import.entries.is_empty());
    let account_ids: Vec<&str> = changed().map(|import| import.account_id.as_str()).collect();
    let posted: Vec<i64> = changed().map(|import| import.standing.balance.posted().get()).collect();
    let last_sequences: Vec<i64> = changed().map(|import| import.standing.last_sequence).collect();
    let create_times: Vec<PgTime> = changed().map(|import| PgTime(import.standing.create_time)).collect();
    let update_times: Vec<PgTime> = changed().map(|import| PgTime(import.standing.update_time)).collect();
    let withdrawable: Vec<i64> =
        changed().map(|import| import.standing.balance.withdrawable_posted().get()).collect();
    let columns: [&(dyn ToSql + Sync); 6] =
        [&account_ids, &posted, &last_sequences, &create_times, &update_times, &withdrawable];
    transaction.execute(UPDATE_ACCOUNTS, &columns).await?;
    Ok(())
}

async fn write_imported(transaction: &Transaction<'_>, added: &Added) -> Result<(), tokio_postgres::Error> {
    let all = || added.iter().map(|(_, import)| &import.imported);
    let account_ids: Vec<&str> = added.iter().map(|(_, import)| import.account_id.as_str()).collect();
    let rows: Vec<i64> = all().map(|imported| imported.rows).collect();
    let amounts: Vec<String> = all().map(|imported| imported.amount.to_string()).collect();
    let adjustments: Vec<String> = all().map(|imported| imported.adjustment.to_string()).collect();
    let withdrawable: Vec<i64> = all().map(|imported| imported.withdrawable).collect();
    let last_create_times: Vec<Option<PgTime>> =
        all().map(|imported| imported.last.map(|last| PgTime(last.create_time))).collect();
    let last_ids: Vec<Option<i64>> = all().map(|imported| imported.last.map(|last| last.id)).collect();
    transaction
        .execute(
            WRITE_IMPORTED,
            &[&account_ids, &rows, &amounts, &adjustments, &withdrawable, &last_create_times, &last_ids],
        )
        .await?;
    Ok(())
}

/// Claims the payments that were credited first here. Those that the service has credited in the meantime were not.
async fn claim_payments(
    transaction: &Transaction<'_>,
    added: &mut Added,
) -> Result<(), tokio_postgres::Error> {
    let (mut external_ids, mut account_ids, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    for (_, import) in added.iter() {
        for claim in &import.claims {
            external_ids.push(claim.external_id.as_str());
            account_ids.push(import.account_id.as_str());
            sequences.push(claim.sequence);
        }
    }
    if external_ids.is_empty() {
        return Ok(());
    }
    let parameters: [&(dyn ToSql + Sync); 3] = [&external_ids, &account_ids, &sequences];
    let claimed = transaction.query(CLAIM_PAYMENTS, &parameters).await?;
    let claimed = claimed.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let claimed: HashSet<(String, i64)> = claimed.collect::<Result<_, _>>()?;
    for (_, import) in added {
        for Claim { external_id, sequence, amount } in mem::take(&mut import.claims) {
            if !claimed.contains(&(import.account_id.to_string(), sequence)) {
                import.found_repeated_payment(&external_id, sequence, amount);
            }
        }
    }
    Ok(())
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
