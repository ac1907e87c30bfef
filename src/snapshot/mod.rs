//! A snapshot of the whole book, read page by page, whatever its size.
//!
//! One session and one transaction: REPEATABLE READ, so that every row is of the same snapshot, and READ ONLY, so that a
//! standby can serve it. It takes only ACCESS SHARE locks, which no operation waits for.

mod facts;
mod sources;

use diesel::{
    result::Error as DieselError,
    sql_types::{BigInt, Nullable, SmallInt, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{
    accounting::{AccountId, Entry, EntryType, Timestamp},
    audit::Fact,
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_overheard},
        cursor::{self, Bind, Sql, fetch},
        error::DatabaseError,
        sqlstate::FirstError,
    },
    ledger::{
        LedgerError,
        rows::{self, EntryColumns, EntryRow},
        statements::entry_columns,
    },
};
use facts::Facts;

/// The settings of the session.
///
/// * Nothing waits without a bound; but the reader may be a person with a pager, and a page may need a sort first.
/// * Cursors are read to their end, so they are planned for that.
/// * Rows come in the order of an index wherever there is one: a sort of everything would need room on the server's disk.
const SESSION_SETTINGS: &str = "\
    SET application_name = 'billing snapshot'; \
    SET default_transaction_isolation = 'repeatable read'; \
    SET default_transaction_read_only = on; \
    SET lock_timeout = '2s'; \
    SET statement_timeout = '10min'; \
    SET idle_in_transaction_session_timeout = '10min'; \
    SET client_connection_check_interval = '1s'; \
    SET cursor_tuple_fraction = 1; \
    SET enable_sort = off; \
    SET jit = off";

/// The cursor of [`Snapshot::entries`].
const ENTRIES: &str = "entries";

/// A snapshot of the book.
pub struct Snapshot {
    connection: AsyncPgConnection,
    first_error: FirstError,
}

/// A selection of entries; all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only entries of these accounts; all accounts if empty.
    pub account_ids: Vec<AccountId>,
    /// Only entries that took effect at or after this time.
    pub from: Option<Timestamp>,
    /// Only entries that took effect before this time.
    pub until: Option<Timestamp>,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn take(database_url: &DatabaseUrl) -> Result<Self, LedgerError> {
        let unavailable = |error: diesel::ConnectionError| LedgerError::Unavailable(error.into());
        let connected = connect_overheard(database_url, Purpose::Look).await;
        let (connection, first_error) = connected.map_err(unavailable)?;
        let mut snapshot = Self { connection, first_error };
        // Two messages: a transaction does not take the defaults that are set in its own message.
        for sql in [SESSION_SETTINGS, "BEGIN"] {
            let done = snapshot.connection.batch_execute(sql).await;
            done.map_err(|error| snapshot.failed(error))?;
        }
        Ok(snapshot)
    }

    /// The approximate number of entries, from the server's statistics.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn entries_estimate(&mut self) -> Result<u64, LedgerError> {
        let text = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'ledger_entries'::regclass";
        let estimate = Sql::<BigInt>::new(text, Vec::new()).get_result::<i64>(&mut self.connection).await;
        let estimate = estimate.map_err(|error| self.failed(error))?;
        Ok(u64::try_from(estimate).unwrap_or_default()) // -1: it has not counted yet
    }

    /// Those of some accounts that the book does not know: they have no row and no entry.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn unknown_accounts(&mut self, account_ids: &[AccountId]) -> Result<Vec<String>, LedgerError> {
        let text = "SELECT id FROM unnest({}) AS id \
                    WHERE NOT EXISTS (SELECT FROM accounts WHERE account_id = id) \
                      AND NOT EXISTS (SELECT FROM ledger_entries WHERE account_id = id)";
        let binds = vec![Bind::Texts(texts(account_ids))];
        let unknown = Sql::<Text>::new(text, binds).load(&mut self.connection).await;
        unknown.map_err(|error| self.failed(error))
    }

    /// The facts of all accounts, or of some, in the order of the audit. Once per snapshot.
    ///
    /// # Errors
    /// When the database or the reader fails.
    pub async fn facts<E: From<LedgerError>>(
        &mut self,
        account_ids: &[AccountId],
        mut read: impl FnMut(Fact) -> Result<(), E>,
    ) -> Result<(), E> {
        let opened = Facts::open(&self.connection, &texts(account_ids)).await;
        let mut facts = opened.map_err(|error| self.failed(error))?;
        while let Some(fact) = facts.next(&self.connection).await.map_err(|error| self.failed(error))? {
            read(fact)?;
        }
        Ok(())
    }

    /// The selected entries by account and sequence, each refund with the type of what it refunds, until the reader stops.
    /// Once per snapshot.
    ///
    /// # Errors
    /// When the database or the reader fails, or an entry is not one that this program writes.
    pub async fn entries<E: From<LedgerError>>(
        &mut self,
        selection: &Selection,
        mut read: impl FnMut(Entry, Option<EntryType>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (query, binds) = selection.query();
        let declared = cursor::declare(&self.connection, ENTRIES, &query, binds).await;
        declared.map_err(|error| self.failed(error))?;
        loop {
            let page = fetch::<(EntryColumns, Nullable<SmallInt>), (EntryRow, Option<i16>)>(
                &self.connection,
                ENTRIES,
            )
            .await;
            let (rows, is_last) = page.map_err(|error| self.failed(error))?;
            for (row, refunded) in rows {
                read(Entry::try_from(row)?, refunded.and_then(EntryType::from_number))?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// An error, classified by its SQLSTATE.
    fn failed(&self, error: DieselError) -> LedgerError {
        DatabaseError { error, code: self.first_error.code() }.into()
    }
}

impl Selection {
    fn query(&self) -> (String, Vec<Bind>) {
        let (mut conditions, mut binds) = (vec!["true"], Vec::new());
        if !self.account_ids.is_empty() {
            conditions.push("e.account_id = ANY({})");
            binds.push(Bind::Texts(texts(&self.account_ids)));
        }
        if let Some(from) = self.from {
            conditions.push("coalesce(e.effective_time, e.create_time) >= {}");
            binds.push(Bind::Time(rows::pg_timestamp(from)));
        }
        if let Some(until) = self.until {
            conditions.push("coalesce(e.effective_time, e.create_time) < {}");
            binds.push(Bind::Time(rows::pg_timestamp(until)));
        }
        let columns = entry_columns!();
        let conditions = conditions.join(" AND ");
        let query = format!(
            "SELECT {columns}, (SELECT o.entry_type::smallint FROM ledger_entries o \
                 WHERE o.account_id = e.account_id AND o.sequence = e.refunded_sequence) \
             FROM ledger_entries e WHERE {conditions} ORDER BY e.account_id, e.sequence"
        );
        (query, binds)
    }
}

fn texts(account_ids: &[AccountId]) -> Vec<String> {
    account_ids.iter().map(ToString::to_string).collect()
}
