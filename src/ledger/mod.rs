//! The ledger and its books. [`Writer::post_some`] is the only transaction of the service that writes; the reads stand in files by
//! subject.

mod account_statement;
mod accounts;
mod books;
mod by_key;
mod clock;
mod entries;
mod error;
pub(crate) mod grant_rows;
mod granted;
mod grants;
mod grouped;
mod lapsing;
mod load;
mod operations;
mod prepare;
mod read;
mod reservations;
pub(crate) mod rows;
mod save;
pub(crate) mod statements;
mod times;
mod unasked;
mod work;
mod write_entries;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use diesel::data_types::PgTimestamp;
use futures_util::future::join_all;
use tokio::time::timeout;

pub use account_statement::{AccountStatement, Total};
pub use accounts::{AccountView, DueAccount};
pub use entries::{EntryPage, EntryQuery, EntrySpan};
pub use error::LedgerError;
pub use grants::GrantPage;
pub use operations::OperationView;
pub use reservations::ReservationPage;
pub use writer::Writer;

use crate::{
    accounting::{AccountId, Command, Limits},
    database::{DatabaseUrl, error::DatabaseError, pool::PooledSession},
    schema::{Books, BooksError, unsafe_problem},
    telemetry::PoolSample,
};
use books::{Book, Shelf};
use clock::Reading;
use granted::Granted;
use statements::{ProveCommit, ReachBook};

/// How long the commit that proves readiness may take: long for a commit, short for a readiness probe.
const PROOF_PATIENCE: Duration = Duration::from_millis(1_500);

/// Which books cannot be written, although others can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The numbers of the books.
    pub away: Vec<usize>,
}

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    books: Arc<Shelf>,
    /// Which accounts have grants.
    granted: Granted,
    limits: Limits,
    allows_unsafe_database: bool,
    /// How far the database's clock is ahead, in seconds, as of the last proof.
    clock_ahead: Arc<AtomicI64>,
}

impl Ledger {
    /// Opens the ledger in a database, over at most `writers` connections for transactions and `readers` for reads, so that
    /// reads never block a transaction. If it has several books, each has its share of both, and at least one of each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(
        database_url: &DatabaseUrl,
        writers: u32,
        readers: u32,
        limits: Limits,
    ) -> Result<Self, LedgerError> {
        let books = Books::find(database_url).await?.on_their_nodes().await;
        Ok(Self {
            books: Arc::new(Shelf::new(books, writers, readers)),
            granted: Granted::default(),
            limits,
            allows_unsafe_database: false,
            clock_ahead: Arc::default(),
        })
    }

    /// Sets whether to serve a database that may lose committed data.
    #[must_use]
    pub fn allow_unsafe_database(self, is_allowed: bool) -> Self {
        Self { allows_unsafe_database: is_allowed, ..self }
    }

    /// The limits of the rules.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many books there are.
    #[must_use]
    pub fn book_count(&self) -> usize {
        self.books.spread.count()
    }

    /// The number of the book that an account is in, from 0 on.
    #[must_use]
    pub fn book_number(&self, account_id: &AccountId) -> usize {
        self.books.spread.number_of(account_id.as_str())
    }

    /// Whether a command names accounts of several books.
    #[must_use]
    pub fn is_across_books(&self, command: &Command) -> bool {
        let own = self.book_number(command.account_id());
        command.account_ids().any(|account_id| self.book_number(account_id) != own)
    }

    /// The state of the connection pools.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolSample> {
        self.books.pools()
    }

    /// The book that an account is in.
    fn book(&self, account_id: &AccountId) -> &Book {
        self.books.of(account_id)
    }

    /// Proves that commits are possible, by one that changes nothing: on every server that has books. A proof that has not been
    /// answered keeps others from starting: a server that waits for its standby would keep a backend for each.
    ///
    /// If some of the books can be written, that is told: what is asked of the others is unavailable.
    ///
    /// # Errors
    /// When no commit is possible in time, in any book.
    pub async fn prove_commit(&self) -> Result<Proof, LedgerError> {
        let servers = if self.books.spread.are_distributed() { self.book_count() } else { 1 };
        let proofs = (0..servers).map(|number| self.prove_commit_in(self.books.numbered(number)));
        let (mut away, mut why) = (Vec::new(), None);
        for (number, proved) in join_all(proofs).await.into_iter().enumerate() {
            if let Err(error) = proved {
                away.push(number);
                why.get_or_insert(error);
            }
        }
        why.filter(|_| away.len() == servers).map_or(Ok(Proof { away }), Err)
    }

    async fn prove_commit_in(&self, book: &Book) -> Result<(), LedgerError> {
        let proof = timeout(PROOF_PATIENCE, self.commit_nothing(book)).await;
        proof.map_err(|_| LedgerError::Unavailable(format!("no commit within {PROOF_PATIENCE:?}").into()))?
    }

    async fn commit_nothing(&self, book: &Book) -> Result<(), LedgerError> {
        let turn = Arc::clone(&book.proof).acquire_owned().await;
        let turn = turn.map_err(|closed| LedgerError::Unavailable(closed.into()))?;
        let is_distributed = self.books.spread.are_distributed();
        let commit = |mut session: PooledSession| async move {
            let _until_answered = turn;
            if is_distributed {
                session.query::<_, i64>(ReachBook).await?; // the session may be one of another node
            }
            let asked = SystemTime::now();
            let told: Vec<(bool, PgTimestamp, String)> = session.query(ProveCommit).await?;
            Ok::<_, DatabaseError>((asked, told))
        };
        let (asked, told) = book.writers.carry_out(PROOF_PATIENCE, commit).await??;
        let [(false, now, unsafe_settings)] = told.as_slice() else {
            self.books.renew();
            return Err(LedgerError::Unavailable("the database takes no writes".into()));
        };
        let reading = Reading::told_now(asked, rows::timestamp(*now));
        self.clock_ahead.store(reading.ahead_seconds(), Ordering::Relaxed);
        reading.must_agree()?;
        if !unsafe_settings.is_empty() && !self.allows_unsafe_database {
            return Err(LedgerError::Unavailable(unsafe_problem(unsafe_settings).into()));
        }
        Ok(())
    }

    /// How many seconds the database's clock was ahead of this machine's at the last proof; negative if it was behind.
    #[must_use]
    pub fn clock_ahead_seconds(&self) -> i64 {
        self.clock_ahead.load(Ordering::Relaxed)
    }
}

impl From<BooksError> for LedgerError {
    fn from(error: BooksError) -> Self {
        match error {
            BooksError::Connect(error) => Self::Unavailable(error.into()),
            BooksError::NoAnswer(none) => none.into(),
            BooksError::Read(error) => DatabaseError::from(error).into(),
            BooksError::Unknown(..) => Self::Corrupt(error.to_string()),
        }
    }
}
