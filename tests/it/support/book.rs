//! A fresh book for each test, checked at its end.

use std::time::Duration;

use billing::{
    accounting::{Limits, MicroUsd, Ttl},
    database::DatabaseUrl,
    ledger::Ledger,
};
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::time::timeout;

use super::{
    books::{migrate, migrate_with},
    check, cluster,
    dir::Dir,
    process::Process,
};

/// The most that an `AdminCredit` may grant in tests.
pub const ADMIN_CREDIT_MAX: i64 = 1_000_000_000;

/// How long a test may take. `.config/nextest.toml` ends one that takes longer, in any way.
const TEST_PATIENCE: Duration = Duration::from_secs(150);

/// A database of its own, migrated, with an empty book.
#[derive(Clone)]
pub struct TestBook {
    /// Where it is.
    pub url: String,
}

/// Runs a test on a fresh book, then checks the book.
pub async fn on_a_book(test: impl AsyncFnOnce(&TestBook)) {
    let book = TestBook::create().await;
    timeout(TEST_PATIENCE, test(&book)).await.expect("the test ends in time");
    book.check().await;
}

impl TestBook {
    /// A fresh, empty, migrated book.
    pub async fn create() -> Self {
        Self { url: cluster::create_database(&unique_name()).await }
    }

    /// A fresh, empty ledger with so many books, however many other tests have.
    pub async fn with_books(books: usize) -> Self {
        let book = Self::create_empty().await;
        migrate_with(&book.url, books).await;
        book
    }

    /// A database without even a schema.
    pub async fn create_empty() -> Self {
        Self { url: cluster::create_empty_database(&unique_name()).await }
    }

    /// A fresh, empty, migrated book in a database that sorts as people do: `a`, `B`, `c`.
    pub async fn create_collated() -> Self {
        let book = Self::create_collated_empty().await;
        migrate(&book.url).await;
        book
    }

    /// A database that sorts so, without even a schema.
    pub async fn create_collated_empty() -> Self {
        Self { url: cluster::create_collated_database(&unique_name()).await }
    }

    /// Where it is, as the service has it.
    pub fn database_url(&self) -> DatabaseUrl {
        self.url.parse().unwrap()
    }

    /// Fails unless everything in the book adds up.
    pub async fn check(&self) {
        check::check_book(&self.url).await;
    }

    /// A connection as an operator would have it.
    pub async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.unwrap()
    }

    /// Runs statements as an operator would.
    pub async fn run_sql(&self, sql: &str) -> diesel::QueryResult<()> {
        self.connect().await.batch_execute(sql).await
    }

    /// Writes the journal of an account as an import would: so many entries of one amount. Their columns are in SQL, of the
    /// number `n` of each.
    pub async fn import(&self, account: &str, entries: i64, micro_usd: i64, columns: &[(&str, &str)]) {
        let (names, values): (Vec<_>, Vec<_>) = columns.iter().copied().unzip();
        let sql = format!(
            "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence)
             VALUES ('{account}', {entries} * {micro_usd}, {entries});
             INSERT INTO ledger_entries (account_id, sequence, amount_micro_usd, held_delta_micro_usd, posted_after,
                                         held_after, {})
             SELECT '{account}', n, {micro_usd}, 0, n * {micro_usd}, 0, {} FROM generate_series(1, {entries}) n",
            names.join(", "),
            values.join(", "),
        );
        self.run_sql(&sql).await.unwrap();
    }

    /// Takes a lock, until the connection is told to roll back or is dropped.
    pub async fn lock(&self, statement: &str) -> AsyncPgConnection {
        let mut blocker = self.connect().await;
        blocker.batch_execute(&format!("BEGIN; {statement}")).await.unwrap();
        blocker
    }

    /// The service on this book, as the program, with a file of credentials that is there as long as its directory.
    pub fn serve_to(&self, credentials: &str, flags: &[&str]) -> (Process, Dir) {
        let dir = Dir::new();
        let credentials = dir.write("credentials", credentials);
        let given = ["--database-url", &self.url, "--credentials", &credentials];
        (Process::serve(&[&given, flags].concat()), dir)
    }

    /// The one number that a query returns.
    pub async fn number(&self, sql: &str) -> i64 {
        number(&mut self.connect().await, sql).await
    }

    /// Ends every session but this one.
    pub async fn terminate_others(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.number(sql).await;
    }

    /// The book, as the service has it.
    pub async fn ledger(&self) -> Ledger {
        Ledger::connect(&self.database_url(), 4, 2, limits()).await.unwrap()
    }
}

/// The limits in tests: as by default.
pub fn limits() -> Limits {
    Limits {
        admin_credit_max: MicroUsd::new(ADMIN_CREDIT_MAX),
        debt_max: MicroUsd::ZERO,
        lease_default: Ttl::from_micros(10 * 60 * 1_000_000).unwrap(),
        lease_max: Ttl::from_micros(24 * 60 * 60 * 1_000_000).unwrap(),
    }
}

/// The one number that a query returns.
pub async fn number(connection: &mut AsyncPgConnection, sql: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = sql_types::BigInt)]
        number: i64,
    }
    let sql = format!("SELECT ({sql})::bigint AS number");
    diesel::sql_query(sql).get_result::<Number>(connection).await.unwrap().number
}

/// Unique in the server, which other processes use as well.
fn unique_name() -> String {
    format!("book_{}_{:x}", std::process::id(), fastrand::u64(..))
}
