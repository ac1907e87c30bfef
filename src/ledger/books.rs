//! The books of a ledger, each with its sessions.

use std::sync::Arc;

use diesel_async::{AsyncPgConnection, methods::LoadQuery};
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::{LedgerError, by_key::ByKey, prepare::prepare_writes, read::retried, work::Part};
use crate::{
    accounting::AccountId,
    database::{
        DatabaseUrl,
        connect::{Connector, Purpose},
        pool::{Connections, Epoch, Prepare},
    },
    schema::Books,
    telemetry::{PoolSample, spans},
};

/// The sessions of one book.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) writers: Connections,
    readers: Connections,
    pub(super) by_key: ByKey,
    /// Held while a commit proves that it can be written: one at a time.
    pub(super) proof: Arc<Semaphore>,
}

impl Book {
    fn new(url: &DatabaseUrl, writers: u32, readers: u32, epoch: &Epoch) -> Self {
        let connector = Connector::new(url);
        let unprepared: Prepare = |_| async { Ok(()) }.boxed();
        let read_pool = Connections::new(&connector, Purpose::Read, unprepared, readers, epoch);
        Self {
            writers: Connections::new(&connector, Purpose::Write, prepare_writes, writers, epoch),
            by_key: ByKey::new(&read_pool, readers),
            readers: read_pool,
            proof: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) async fn read_one<Q, T>(&self, query: Q) -> Result<Option<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        Ok(self.read(query).await?.pop())
    }

    /// Runs a read by itself.
    pub(super) async fn read<Q, T>(&self, query: Q) -> Result<Vec<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        retried(|| self.readers.query(query.clone())).instrument(spans::read()).await
    }
}

/// All books.
#[derive(Debug)]
pub(super) struct Shelf {
    books: Vec<Book>,
    /// How the accounts are spread over them.
    pub(super) spread: Books,
    /// For transactions over several books, and for what stands beside these: one more than there are callers who post, so that a
    /// read does not wait for them. They turn from one book to another, and that has the server plan every statement again: the
    /// sessions of a book are kept from it. None is opened before it is needed.
    across: Connections,
    epoch: Epoch,
}

impl Shelf {
    /// Shares sessions out to the books, at least one of each kind to each; one of the `writers` of each proves that commits are
    /// possible.
    pub(super) fn new(spread: Books, writers: u32, readers: u32) -> Self {
        let epoch = Epoch::default();
        let count = u32::try_from(spread.count()).unwrap_or(u32::MAX); // at most 64
        let (posting, reading) = (writers.saturating_sub(1).max(1), readers.div_ceil(count));
        let writing = if writers == 1 { 1 } else { posting.div_ceil(count) + 1 };
        let books = spread.urls().iter().map(|url| Book::new(url, writing, reading, &epoch)).collect();
        let any = Connector::new(spread.any());
        let across = Connections::new(&any, Purpose::Write, prepare_writes, writers, &epoch);
        Self { books, spread, across, epoch }
    }

    /// The book that an account is in.
    pub(super) fn of(&self, account_id: &AccountId) -> &Book {
        self.numbered(self.spread.number_of(account_id.as_str()))
    }

    /// The book with a number.
    pub(super) fn numbered(&self, number: usize) -> &Book {
        &self.books[number]
    }

    /// Every book, in the order of their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Book> {
        self.books.iter()
    }

    /// The sessions for a transaction in one book, or over several.
    pub(super) fn sessions_for(&self, parts: &[Part]) -> &Connections {
        match parts {
            [part] => &self.numbered(part.book).writers,
            _ => &self.across,
        }
    }

    /// Runs a read of what stands beside several books, and returns its first row.
    pub(super) async fn read_beside<Q, T>(&self, query: Q) -> Result<Option<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let rows = retried(|| self.across.query(query.clone())).instrument(spans::read()).await?;
        Ok(rows.into_iter().next())
    }

    /// Discards all sessions: see [`Epoch::renew`].
    pub(super) fn renew(&self) {
        self.epoch.renew();
    }

    /// The state of the pools, each kind as one.
    pub(super) fn pools(&self) -> Vec<PoolSample> {
        let writers = self.all().map(|book| book.writers.sample("write"));
        let readers = self.all().map(|book| book.readers.sample("read"));
        let mut pools: Vec<_> = [writers.reduce(PoolSample::and), readers.reduce(PoolSample::and)]
            .into_iter()
            .flatten()
            .collect();
        if self.books.len() > 1 {
            pools.push(self.across.sample("across"));
        }
        pools
    }
}
