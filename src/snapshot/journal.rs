//! The journal of a book, page by page.

use std::vec;

use diesel::{
    result::QueryResult,
    sql_types::{Nullable, SmallInt},
};
use diesel_async::AsyncPgConnection;

use crate::{
    database::cursor::{self, Bind, fetch},
    ledger::rows::{EntryColumns, EntryRow},
};

/// An entry, and the type of what it refunds.
type JournalRow = (EntryRow, Option<i16>);

/// The entries of a book that have not been read yet.
pub(super) struct Journal {
    cursor: String,
    page: vec::IntoIter<JournalRow>,
    /// The next entry.
    pub(super) head: Option<JournalRow>,
    is_last_page: bool,
}

impl Journal {
    /// Opens the cursor in the book that the session has turned to.
    pub(super) async fn open(
        connection: &AsyncPgConnection,
        book: usize,
        query: &str,
        binds: Vec<Bind>,
    ) -> QueryResult<Self> {
        let cursor = format!("entries_{book}");
        cursor::declare(connection, &cursor, query, binds).await?;
        let mut journal = Self { cursor, page: Vec::new().into_iter(), head: None, is_last_page: false };
        journal.advance(connection).await?;
        Ok(journal)
    }

    /// The place of the next entry.
    pub(super) fn order(&self) -> Option<(&str, i64)> {
        self.head.as_ref().map(|(entry, _)| (entry.account_id.as_str(), entry.sequence))
    }

    /// Takes the next entry, and fetches the one after it.
    pub(super) async fn advance(
        &mut self,
        connection: &AsyncPgConnection,
    ) -> QueryResult<Option<JournalRow>> {
        let mut next = self.page.next();
        if next.is_none() && !self.is_last_page {
            let page =
                fetch::<(EntryColumns, Nullable<SmallInt>), JournalRow>(connection, &self.cursor).await?;
            (self.page, self.is_last_page) = (page.0.into_iter(), page.1);
            next = self.page.next();
        }
        Ok(std::mem::replace(&mut self.head, next))
    }
}
