//! The rows of several books, each read by a task of its own, ahead of what is worked on, and merged in their order.

use std::{cmp::Ordering, panic::resume_unwind, vec};

use tokio::{sync::mpsc, task::JoinSet};

use crate::ledger::LedgerError;

/// Rows that follow each other, and whether none follows them.
type Page<T> = (Vec<T>, bool);

/// Where the reader of a book puts its pages. It waits while the one before has not been taken.
pub(super) struct Pages<T>(mpsc::Sender<Result<Page<T>, LedgerError>>);

impl<T> Pages<T> {
    /// Whether more pages are wanted.
    pub(super) async fn put(&self, rows: Vec<T>, is_last: bool) -> bool {
        self.0.send(Ok((rows, is_last))).await.is_ok() && !is_last
    }
}

/// The rows of all books, in the order of `compare`.
pub(super) struct ReadAhead<T> {
    books: Vec<Book<T>>,
    compare: fn(&T, &T) -> Ordering,
    /// They end with this.
    readers: JoinSet<()>,
}

/// The rows of one book.
struct Book<T> {
    pages: mpsc::Receiver<Result<Page<T>, LedgerError>>,
    page: vec::IntoIter<T>,
    is_last_page: bool,
}

impl<T: Send + 'static> ReadAhead<T> {
    pub(super) fn new(compare: fn(&T, &T) -> Ordering) -> Self {
        Self { books: Vec::new(), compare, readers: JoinSet::new() }
    }

    /// Begins to read a book. The reader puts its rows in their order, and ends after the last page, or when no more are wanted.
    pub(super) fn read<F>(&mut self, reader: impl FnOnce(Pages<T>) -> F)
    where
        F: Future<Output = Result<(), LedgerError>> + Send + 'static,
    {
        let (put, pages) = mpsc::channel(1);
        let reading = reader(Pages(put.clone()));
        self.readers.spawn(async move {
            if let Err(error) = reading.await {
                let _ = put.send(Err(error)).await; // nobody may want to know
            }
        });
        self.books.push(Book { pages, page: Vec::new().into_iter(), is_last_page: false });
    }

    /// The next row of all.
    pub(super) async fn next(&mut self) -> Result<Option<T>, LedgerError> {
        for book in &mut self.books {
            book.fill().await?;
        }
        let compare = self.compare;
        let first = self.books.iter_mut().filter(|book| book.head().is_some()).min_by(|a, b| {
            let heads = a.head().zip(b.head());
            heads.map_or(Ordering::Equal, |(a, b)| compare(a, b)) // both have one
        });
        Ok(first.and_then(|book| book.page.next()))
    }
}

impl<T> Book<T> {
    fn head(&self) -> Option<&T> {
        self.page.as_slice().first()
    }

    /// Waits for the next row, if there is one.
    async fn fill(&mut self) -> Result<(), LedgerError> {
        while self.head().is_none() && !self.is_last_page {
            let page = self.pages.recv().await;
            let page = page.unwrap_or_else(|| resume_unwind(Box::new("the reader of a book panicked")));
            let (rows, is_last_page) = page?;
            (self.page, self.is_last_page) = (rows.into_iter(), is_last_page);
        }
        Ok(())
    }
}
