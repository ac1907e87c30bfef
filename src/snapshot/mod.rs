//! A snapshot of the whole ledger, read page by page, whatever its size, in the order of accounts, whatever books these are in.
//!
//! A session for each book, and one transaction each: REPEATABLE READ, all with the same snapshot, so that every row is of one
//! moment (but those of several nodes); and READ ONLY, so that a standby can serve it. They take only ACCESS SHARE locks, which
//! no operation waits for.

mod facts;
mod journal;
mod other_books;
mod read_ahead;
mod selection;
mod session;
mod sources;

use diesel::sql_types::{BigInt, Text};
use futures_util::future::try_join_all;

use crate::{
    accounting::{AccountId, Entry, EntryType},
    audit::Fact,
    database::{
        DatabaseUrl,
        cursor::{Bind, Sql},
    },
    ledger::LedgerError,
    schema::{BOOKS_MAX, Books},
};
use journal::JournalEntry;
use read_ahead::ReadAhead;
pub use selection::Selection;
use session::Session;

/// A snapshot of the ledger.
pub struct Snapshot {
    session: Session,
    /// What the session of each book needs to see the same; `None` if that is not to be had: each node of Citus has a moment of its own.
    moment: Option<String>,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn take(database_url: &DatabaseUrl) -> Result<Self, LedgerError> {
        let books = Books::find(database_url).await?;
        let mut session = Session::begin(books, 0, None).await?;
        let is_distributed = session.books.are_distributed();
        let moment = if is_distributed { None } else { Some(session.moment().await?) };
        Ok(Self { session, moment })
    }

    /// The approximate number of entries, from the server's statistics.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn entries_estimate(&mut self) -> Result<u64, LedgerError> {
        let text = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'ledger_entries'::regclass";
        let mut estimate = 0;
        for book in 0..self.books().count() {
            self.session.turn_to(book).await?;
            let of_book: Vec<i64> = self.session.load(Sql::<BigInt>::new(text, Vec::new())).await?;
            let counted = of_book.into_iter().filter_map(|count| u64::try_from(count).ok()); // -1: not yet
            estimate += counted.sum::<u64>();
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
        for book in self.books_of(account_ids) {
            self.session.turn_to(book).await?;
            let binds = vec![Bind::Texts(self.of_book(account_ids, book))];
            unknown.append(&mut self.session.load(Sql::<Text>::new(text, binds)).await?);
        }
        Ok(unknown)
    }

    /// The facts of all accounts, or of some, in the order of the audit.
    ///
    /// # Errors
    /// When the database or the reader fails.
    pub async fn facts<E: From<LedgerError>>(
        mut self,
        account_ids: &[AccountId],
        mut read: impl FnMut(Fact) -> Result<(), E>,
    ) -> Result<(), E> {
        let books = self.books_of(account_ids);
        // Citus puts all rows of a cursor on the coordinator's disk, and there are a dozen for each book.
        let at_once = if self.books().are_distributed() { 1 } else { usize::from(BOOKS_MAX) };
        for books in books.chunks(at_once) {
            let mut facts = ReadAhead::new(|a: &Fact, b| a.order().cmp(&b.order()));
            for (session, account_ids) in self.begin(books, account_ids).await? {
                facts.read(|pages| facts::read(session, account_ids, pages));
            }
            while let Some(fact) = facts.next().await? {
                read(fact)?;
            }
        }
        Ok(())
    }

    /// The selected entries by account and sequence, each refund with the type of what it refunds, until the reader stops.
    ///
    /// # Errors
    /// When the database or the reader fails, or an entry is not one that this program writes.
    pub async fn entries<E: From<LedgerError>>(
        mut self,
        selection: &Selection,
        mut read: impl FnMut(Entry, Option<EntryType>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entries = ReadAhead::new(|(a, _): &JournalEntry, (b, _)| {
            (&a.account_id, a.sequence).cmp(&(&b.account_id, b.sequence))
        });
        let books = self.books_of(&selection.account_ids);
        for (session, account_ids) in self.begin(&books, &selection.account_ids).await? {
            entries.read(|pages| journal::read(session, selection.query(account_ids), pages));
        }
        while let Some((entry, refunded)) = entries.next().await? {
            read(entry, refunded)?;
        }
        Ok(())
    }

    fn books(&self) -> &Books {
        &self.session.books
    }

    /// The books that some accounts are in; all books if no account is named.
    fn books_of(&self, account_ids: &[AccountId]) -> Vec<usize> {
        let has_some = |book: &usize| account_ids.is_empty() || !self.of_book(account_ids, *book).is_empty();
        (0..self.books().count()).filter(has_some).collect()
    }

    /// Those of some accounts that are in a book.
    fn of_book(&self, account_ids: &[AccountId], book: usize) -> Vec<String> {
        let ids = account_ids.iter().map(ToString::to_string);
        ids.filter(|id| self.books().number_of(id) == book).collect()
    }

    /// A session for each of these books, which sees the same, and those of the accounts that are there.
    async fn begin(
        &mut self,
        books: &[usize],
        account_ids: &[AccountId],
    ) -> Result<Vec<(Session, Vec<String>)>, LedgerError> {
        let moment = self.moment.take();
        let begin = |book: &usize| Session::begin(self.books().clone(), *book, moment.as_deref());
        let sessions = try_join_all(books.iter().map(begin)).await?;
        if moment.is_some() {
            self.session.end().await?; // the others keep the snapshot
        }
        let with_accounts = |session: Session| {
            let of_book = self.of_book(account_ids, session.book);
            (session, of_book)
        };
        Ok(sessions.into_iter().map(with_accounts).collect())
    }
}
