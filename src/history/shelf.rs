//! All books of the ledger, as history is written into them: several at once.

use std::collections::HashMap;

use futures_util::{
    Stream,
    future::{join_all, try_join_all},
};

use super::{
    HistoryError,
    book::Book,
    chunk::{Chunk, Part},
    progress::{ImportTotals, Pending, Tell},
    rules::Imported,
};
use crate::{accounting::AccountId, database::DatabaseUrl, schema::Books};

/// The books, and how the accounts are spread over them.
pub(super) struct Shelf {
    spread: Books,
    books: Vec<Book>,
}

impl Shelf {
    /// The books, which nobody else imports into until this is dropped.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, HistoryError> {
        let spread = Books::find(url).await.map_err(|error| HistoryError::Book(error.into()))?;
        let mut books = Vec::with_capacity(spread.count());
        // One after the other: of two imports, the second waits for the first book.
        for (number, url) in spread.urls().iter().enumerate() {
            books.push(Book::open(url, number).await?);
        }
        Ok(Self { spread, books })
    }

    /// How far accounts are; those of which nothing is here are missing.
    pub(super) async fn imported(
        &self,
        account_ids: &[&str],
    ) -> Result<HashMap<String, Imported>, HistoryError> {
        let by_book = self.by_book(account_ids.iter().copied(), |account_id| self.book_of(account_id));
        let reading = self.books.iter().zip(&by_book).map(|(book, account_ids)| book.imported(account_ids));
        Ok(try_join_all(reading).await?.into_iter().flatten().collect())
    }

    /// The numbers of the rows of an account that are here, in their order.
    pub(super) async fn imported_ids(
        &self,
        account_id: &AccountId,
    ) -> Result<impl Stream<Item = Result<i64, HistoryError>> + use<>, HistoryError> {
        self.books[self.book_of(account_id.as_str())].imported_ids(account_id).await
    }

    /// Writes a chunk, a transaction in each book that it has accounts of, and tells of what is committed.
    pub(super) async fn write(
        &mut self,
        accounts: &mut [Pending],
        chunk: Chunk,
        tell: Tell<'_>,
    ) -> Result<(), HistoryError> {
        let all = &*accounts;
        let by_book =
            self.by_book(chunk.parts, |part: &Part| self.book_of(all[part.index].account_id.as_str()));
        let with_some = self.books.iter_mut().zip(by_book).filter(|(_, parts)| !parts.is_empty());
        let written = join_all(with_some.map(|(book, parts)| book.write(all, parts))).await;
        let mut done = Ok(());
        for of_book in written {
            let of_book = of_book.unwrap_or_else(|error| {
                done = Err(error);
                Vec::new()
            });
            for (index, written) in of_book {
                match written {
                    Ok(import) => accounts[index].keep(import, tell),
                    Err(reason) => accounts[index].leave_out(reason, tell),
                }
            }
        }
        done
    }

    /// Has the server count again. One book after the other: payments are counted with each.
    pub(super) async fn analyze(&self) -> Result<(), HistoryError> {
        for book in &self.books {
            book.analyze().await?;
        }
        Ok(())
    }

    /// All that is here.
    pub(super) async fn totals(&self) -> Result<ImportTotals, HistoryError> {
        let totals = try_join_all(self.books.iter().map(Book::totals)).await?;
        Ok(totals.into_iter().fold(ImportTotals::default(), ImportTotals::and))
    }

    /// The number of the book that an account is in.
    fn book_of(&self, account_id: &str) -> usize {
        self.spread.number_of(account_id)
    }

    /// Things of accounts, those of each book.
    fn by_book<T>(&self, things: impl IntoIterator<Item = T>, book_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
        let mut by_book: Vec<Vec<T>> = self.books.iter().map(|_| Vec::new()).collect();
        for thing in things {
            by_book[book_of(&thing)].push(thing);
        }
        by_book
    }
}
