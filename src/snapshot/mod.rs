//! A snapshot of the whole ledger, read page by page, whatever its size. Facts come book by book; entries in the order of their
//! accounts, whatever books these are in.
//!
//! One session and one transaction: REPEATABLE READ, so that every row is of the same snapshot, and READ ONLY, so that a
//! standby can serve it. It takes only ACCESS SHARE locks, which no operation waits for.

mod facts;
mod journal;
mod other_books;
mod sources;

use diesel::{
    result::Error as DieselError,
    sql_types::{BigInt, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{
    accounting::{AccountId, Entry, EntryType, Timestamp},
    audit::Fact,
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_overheard},
        cursor::{Bind, Sql},
        error::DatabaseError,
        sqlstate::FirstError,
    },
    ledger::{LedgerError, rows, statements::entry_columns},
    schema::Books,
};
use facts::Facts;
use journal::Journal;

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

/// A snapshot of the ledger.
pub struct Snapshot {
    books: Books,
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
        let books = Books::find(database_url).await?;
        let connected = connect_overheard(books.any(), Purpose::Look).await;
        let (connection, first_error) = connected.map_err(unavailable)?;
        let mut snapshot = Self { books, connection, first_error };
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
        let mut estimate = 0;
        for book in 0..self.books.count() {
            self.turn_to(book).await?;
            let of_book = Sql::<BigInt>::new(text, Vec::new()).get_result::<i64>(&mut self.connection).await;
            let of_book = of_book.map_err(|error| self.failed(error))?;
            estimate += u64::try_from(of_book).unwrap_or_default(); // -1: it has not counted yet
        }
        Ok(estimate)
    }

    /// Those of some accounts that the book does not know: they have no row and no entry.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn unknown_accounts(&mut self, account_ids: &[AccountId]) -> Result<Vec<String>, LedgerError> {
        let text = "SELECT id FROM unnest({}) AS id \
                    WHERE NOT EXISTS (SELECT FROM accounts WHERE account_id = id) \
                      AND NOT EXISTS (SELECT FROM ledger_entries WHERE account_id = id)";
        let mut unknown = Vec::new();
        for book in 0..self.books.count() {
            self.turn_to(book).await?;
            let binds = vec![Bind::Texts(self.of_book(account_ids, book))];
            let of_book = Sql::<Text>::new(text, binds).load::<String>(&mut self.connection).await;
            unknown.extend(of_book.map_err(|error| self.failed(error))?);
        }
        Ok(unknown)
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
        for book in 0..self.books.count() {
            let of_book = self.of_book(account_ids, book);
            if of_book.is_empty() && !account_ids.is_empty() {
                continue;
            }
            self.turn_to(book).await?;
            let place = (&self.books, book);
            let opened = Facts::open(&mut self.connection, place, &of_book).await;
            let mut facts = opened.map_err(|error| failed(&self.first_error, error))?;
            while let Some(fact) = facts
                .next(&mut self.connection, place)
                .await
                .map_err(|error| failed(&self.first_error, error))?
            {
                read(fact)?;
            }
            let closed = self.connection.batch_execute("CLOSE ALL").await;
            closed.map_err(|error| self.failed(error))?;
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
        let mut journals = Vec::new();
        for book in 0..self.books.count() {
            let account_ids = self.of_book(&selection.account_ids, book);
            if account_ids.is_empty() && !selection.account_ids.is_empty() {
                continue;
            }
            self.turn_to(book).await?;
            let (query, binds) = selection.query(account_ids);
            let opened = Journal::open(&self.connection, book, &query, binds).await;
            journals.push(opened.map_err(|error| self.failed(error))?);
        }
        while let Some(journal) = journals
            .iter_mut()
            .filter(|journal| journal.head.is_some())
            .min_by(|a, b| a.order().cmp(&b.order()))
        {
            let next = journal.advance(&self.connection).await;
            if let Some((row, refunded)) = next.map_err(|error| failed(&self.first_error, error))? {
                read(Entry::try_from(row)?, refunded.and_then(EntryType::from_number))?;
            }
        }
        Ok(())
    }

    async fn turn_to(&mut self, book: usize) -> Result<(), LedgerError> {
        let turned = self.books.turn_to(&mut self.connection, book).await;
        turned.map_err(|error| self.failed(error))
    }

    /// Those of some accounts that are in a book.
    fn of_book(&self, account_ids: &[AccountId], book: usize) -> Vec<String> {
        let ids = account_ids.iter().map(ToString::to_string);
        ids.filter(|id| self.books.number_of(id) == book).collect()
    }

    /// An error, classified by its SQLSTATE.
    fn failed(&self, error: DieselError) -> LedgerError {
        failed(&self.first_error, error)
    }
}

fn failed(first_error: &FirstError, error: DieselError) -> LedgerError {
    DatabaseError { error, code: first_error.code() }.into()
}

impl Selection {
    /// The query for what of it is in a book, with those of its accounts that are there.
    fn query(&self, account_ids: Vec<String>) -> (String, Vec<Bind>) {
        let (mut conditions, mut binds) = (vec!["true"], Vec::new());
        if !account_ids.is_empty() {
            conditions.push("e.account_id = ANY({})");
            binds.push(Bind::Texts(account_ids));
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
