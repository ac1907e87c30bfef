//! A book of the new ledger, as it is filled.

use std::{collections::HashMap, fmt::Write as _, pin::pin};

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, Row};

use super::{
    error::SplitError,
    old::{self, OldSession},
    table::{self, ACCOUNTS, ANSWERS, ENTRIES, GRANTS, PAYMENTS, RESERVATIONS, Table},
};
use crate::{
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::LedgerError,
    schema::Books,
};

/// How many accounts are compared at once.
const ACCOUNTS_MAX: usize = 2_000;
/// The most entries in one transaction; an account with more takes several.
const ENTRIES_MAX: i64 = 50_000;

const SESSION_SETTINGS: &str = "\
    SET application_name = 'billing split'; \
    SET lock_timeout = '10s'; \
    SET statement_timeout = '1h'; \
    SET idle_in_transaction_session_timeout = '10min'; \
    SET client_connection_check_interval = '1s'; \
    SET jit = off";

/// How accounts of a page stand in the new book: the whole row, how many entries it tells of, and how many there are.
const STANDINGS: &str = "\
    SELECT a::text, coalesce(a.last_sequence, 0)::bigint, \
        coalesce((SELECT max(e.sequence) FROM ledger_entries e WHERE e.account_id = w.id), 0)::bigint \
    FROM unnest($1::text[]) WITH ORDINALITY AS w(id, number) LEFT JOIN accounts a ON a.account_id = w.id \
    ORDER BY w.number";

/// What a pass has copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many accounts were new or had changed.
    pub accounts: u64,
    /// How many entries.
    pub entries: u64,
    /// How many rows of other tables that nobody changes: refusals, replays, names of payments.
    pub others: u64,
}

impl Copied {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            accounts: self.accounts + other.accounts,
            entries: self.entries + other.entries,
            others: self.others + other.others,
        }
    }
}

pub(super) struct NewBook {
    client: Client,
    /// The condition that an account is in this book.
    condition: String,
    /// The columns of the tables that are copied, by their names.
    columns: HashMap<&'static str, String>,
}

/// An account that is to be brought up to date.
struct Behind {
    account_id: String,
    /// The newest entry that its row in the new book tells of.
    known: i64,
    /// The newest entry in the new book.
    copied: i64,
    /// The newest entry in the old one.
    last: i64,
}

impl NewBook {
    /// A book by its number.
    pub(super) async fn open(books: &Books, number: usize) -> Result<Self, SplitError> {
        let tables = [&[ACCOUNTS, RESERVATIONS, GRANTS], &ANSWERS[..]].concat();
        Self::begin(&books.urls()[number], books.condition(number), &tables).await
    }

    /// What stands beside the books.
    pub(super) async fn open_any(books: &Books) -> Result<Self, SplitError> {
        Self::begin(books.any(), "true".to_owned(), &[PAYMENTS]).await
    }

    /// Rows that change, or may be here already, are staged before they are taken over.
    async fn begin(url: &DatabaseUrl, condition: String, staged: &[Table]) -> Result<Self, SplitError> {
        let connected = connect_without_diesel(url, Purpose::Write).await;
        let client = connected.map_err(|error| SplitError::New(LedgerError::Unavailable(error.into())))?;
        client.batch_execute(SESSION_SETTINGS).await.map_err(failed)?;
        let entries = table::columns(&client, ENTRIES).await.map_err(failed)?;
        let mut columns = HashMap::from([(ENTRIES.name, entries)]);
        for table in staged {
            let (name, of_table) = (table.name, table::columns(&client, *table).await.map_err(failed)?);
            let stage = format!("CREATE TEMP TABLE staged_{name} AS SELECT {of_table} FROM {name} LIMIT 0");
            client.batch_execute(&stage).await.map_err(failed)?;
            columns.insert(name, of_table);
        }
        Ok(Self { client, condition, columns })
    }

    /// Brings every account of the book up to date, with its entries, reservations and grants.
    pub(super) async fn copy_accounts(&self, old: &OldSession) -> Result<Copied, SplitError> {
        let condition = &self.condition;
        let accounts = format!(
            "SELECT account_id::text, a::text, last_sequence::bigint FROM accounts a \
             WHERE last_sequence > 0 AND {condition} ORDER BY account_id"
        );
        old.declare("accounts_to_copy", &accounts).await?;
        let mut copied = Copied::default();
        loop {
            let there = old.fetch("accounts_to_copy", ACCOUNTS_MAX).await?;
            let is_last = there.len() < ACCOUNTS_MAX;
            let mut together = Vec::new();
            for account in self.behind(&there).await? {
                copied.accounts += 1;
                copied.entries += (account.last - account.copied).unsigned_abs();
                together.push(account);
                if entries_of(&together) > ENTRIES_MAX {
                    self.bring_up_to_date(old, std::mem::take(&mut together)).await?;
                }
            }
            self.bring_up_to_date(old, together).await?;
            if is_last {
                return Ok(copied);
            }
        }
    }

    /// Those of a page of accounts that are not here as they are there.
    async fn behind(&self, there: &[Row]) -> Result<Vec<Behind>, SplitError> {
        let ids: Vec<&str> =
            there.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)?;
        let here = self.client.query(STANDINGS, &[&ids]).await.map_err(failed)?;
        let mut behind = Vec::new();
        for ((id, there), here) in ids.iter().zip(there).zip(&here) {
            let (row, last): (String, i64) =
                (there.try_get(1).map_err(failed)?, there.try_get(2).map_err(failed)?);
            let (copy, known, copied): (Option<String>, i64, i64) = (
                here.try_get(0).map_err(failed)?,
                here.try_get(1).map_err(failed)?,
                here.try_get(2).map_err(failed)?,
            );
            if known > last || copied > last {
                return Err(SplitError::InUse((*id).to_owned()));
            }
            if copy != Some(row) {
                behind.push(Behind { account_id: (*id).to_owned(), known, copied, last });
            }
        }
        Ok(behind)
    }

    /// Brings accounts up to date in one transaction. Of an account with very many entries, the first ones come in others before it.
    async fn bring_up_to_date(&self, old: &OldSession, mut accounts: Vec<Behind>) -> Result<(), SplitError> {
        if accounts.is_empty() {
            return Ok(());
        }
        for account in &mut accounts {
            while account.last - account.copied > ENTRIES_MAX {
                let last = account.copied + ENTRIES_MAX;
                let part = Behind { account_id: account.account_id.clone(), last, ..*account };
                self.in_transaction(async || self.copy_entries(old, &[part]).await).await?;
                account.copied = last;
            }
        }
        self.in_transaction(async || {
            self.copy_entries(old, &accounts).await?;
            let wanted = wanted(&accounts);
            for (table, from) in [
                (ACCOUNTS, format!("{wanted} JOIN accounts t ON t.account_id = w.id")),
                (GRANTS, format!("{wanted} JOIN grants t ON t.account_id = w.id")),
                (
                    RESERVATIONS,
                    format!(
                        "(SELECT DISTINCT w.id, e.reservation_id FROM {wanted} \
                          JOIN ledger_entries e ON e.account_id = w.id AND e.sequence > w.known \
                          WHERE e.reservation_id IS NOT NULL) AS w(id, named) \
                         JOIN reservations t ON t.account_id = w.id AND t.reservation_id = w.named"
                    ),
                ),
            ] {
                self.copy_staged(old, &table, &from).await?;
            }
            Ok(())
        })
        .await
    }

    async fn copy_entries(&self, old: &OldSession, accounts: &[Behind]) -> Result<(), SplitError> {
        let columns = &self.columns[ENTRIES.name];
        let wanted = wanted(accounts);
        let query = format!(
            "SELECT {columns} FROM {wanted} JOIN ledger_entries t \
             ON t.account_id = w.id AND t.sequence > w.copied AND t.sequence <= w.last"
        );
        self.pipe(old, &query, &format!("ledger_entries ({columns})")).await?;
        Ok(())
    }

    /// Copies the rows of a table that are missing, or all that are not known to be there.
    pub(super) async fn copy_rows(
        &self,
        old: &OldSession,
        table: &Table,
        since: Option<&str>,
    ) -> Result<u64, SplitError> {
        let mut from = format!("{} t WHERE {}", table.name, self.condition);
        if let Some(since) = since.filter(|_| table.has_time()) {
            let _ = write!(from, " AND create_time >= '{since}'"); // a String takes it all
        }
        let mut copied = 0;
        self.in_transaction(async || {
            copied = self.copy_staged(old, table, &from).await?;
            Ok(())
        })
        .await?;
        Ok(copied)
    }

    /// Stages rows, and takes over those that are not here as they are there.
    async fn copy_staged(&self, old: &OldSession, table: &Table, from: &str) -> Result<u64, SplitError> {
        let (name, columns) = (table.name, &self.columns[table.name]);
        let query = format!("SELECT {} FROM {from}", columns_of("t", columns));
        if self.pipe(old, &query, &format!("staged_{name} ({columns})")).await? == 0 {
            return Ok(0);
        }
        let taken = self.client.execute(&table.take_over(columns), &[]).await.map_err(failed)?;
        self.client.batch_execute(&format!("TRUNCATE staged_{name}")).await.map_err(failed)?;
        Ok(taken)
    }

    /// Sends the rows of a query into a table, as they come.
    async fn pipe(&self, old: &OldSession, query: &str, into: &str) -> Result<u64, SplitError> {
        let mut rows = pin!(old.copy(query).await?);
        let into = format!("COPY {into} FROM STDIN");
        let mut sink = pin!(self.client.copy_in::<_, Bytes>(&into).await.map_err(failed)?);
        while let Some(bytes) = old::next(&mut rows).await? {
            sink.send(bytes).await.map_err(failed)?;
        }
        sink.finish().await.map_err(failed)
    }

    /// Runs a body in a transaction. If it fails, the session is not used any more, and ends.
    async fn in_transaction(
        &self,
        body: impl AsyncFnOnce() -> Result<(), SplitError>,
    ) -> Result<(), SplitError> {
        self.client.batch_execute("BEGIN").await.map_err(failed)?;
        let () = body().await?;
        self.client.batch_execute("COMMIT").await.map_err(failed)
    }
}

fn entries_of(accounts: &[Behind]) -> i64 {
    accounts.iter().map(|account| account.last - account.copied).sum()
}

/// Accounts as rows w of a FROM. Their ids have no character that needs more than this.
fn wanted(accounts: &[Behind]) -> String {
    let row = |Behind { account_id, known, copied, last }: &Behind| {
        format!(
            "('{}'::text, {known}::bigint, {copied}::bigint, {last}::bigint)",
            account_id.replace('\'', "''")
        )
    };
    let rows: Vec<String> = accounts.iter().map(row).collect();
    format!("(VALUES {}) AS w(id, known, copied, last)", rows.join(", "))
}

/// Columns of a relation by its name.
fn columns_of(relation: &str, columns: &str) -> String {
    columns.split(", ").map(|column| format!("{relation}.{column}")).collect::<Vec<_>>().join(", ")
}

fn failed(error: tokio_postgres::Error) -> SplitError {
    SplitError::New(error.into())
}
