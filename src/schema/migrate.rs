//! Brings the schema up to date, one process at a time.

use diesel::{
    migration::{Migration, MigrationSource},
    pg::Pg,
    prelude::*,
    result::QueryResult,
    sql_types::Bool,
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    books::{Books, BooksError, HASH, described, schema_of},
    citus::{self, CitusError},
    requirements::{DatabaseUse, RequirementError, check_database},
};
use crate::database::{
    DatabaseUrl,
    connect::{Purpose, connect},
    pool::in_time,
};

/// What stands once in a ledger.
const OF_LEDGER: EmbeddedMigrations = embed_migrations!("migrations/shared");
/// What stands in each book.
const OF_BOOK: EmbeddedMigrations = embed_migrations!("migrations/book");

diesel::table! {
    /// Diesel's own record of the migrations that ran.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

/// Why the schema could not be read or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database cannot hold the book.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The database cannot be reached.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// The lock was not free in time: another process has been migrating for minutes.
    #[error("the migration lock could not be had")]
    Lock(#[source] diesel::result::Error),
    /// A migration failed, or the table of migrations cannot be read. It was rolled back.
    #[error("a migration failed")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger has another number of books. It is fixed when the ledger is made.
    #[error(
        "this ledger has {found} of the {wanted} books that it is to have: their number is fixed when a ledger is made; \
         `billing split` copies one into another (docs/SCALE.md)"
    )]
    OtherBooks {
        /// How many it has.
        found: i16,
        /// How many it was to have.
        wanted: usize,
    },
    /// The books cannot be distributed.
    #[error(transparent)]
    Citus(#[from] CitusError),
    /// The books of the ledger are not known.
    #[error(transparent)]
    Books(#[from] BooksError),
}

/// Runs the pending migrations under a lock, and returns their names. Safe to run concurrently from several places: the
/// others wait, and find nothing to do. Run it again if it was killed. Needs a multi-threaded runtime.
///
/// A ledger that is not there yet is made with `books` books, or with one.
///
/// # Errors
/// When the database cannot be reached or cannot hold the ledger, the lock is not free in time, a migration fails, or the ledger
/// has another number of books than is asked for.
pub async fn migrate(
    database_url: &DatabaseUrl,
    books: Option<usize>,
    on_citus: bool,
) -> Result<Vec<String>, MigrationError> {
    check_database(database_url, DatabaseUse::Migrate).await?;
    let mut connection = connect(database_url, Purpose::Write).await?;
    // The lock ends with the session, and the session with the connection. Waiting for this lock may take as long as the
    // migrations of another process; waiting for a table must be short, since the service queues behind it.
    connection
        .batch_execute(
            "SET statement_timeout = '10min'; \
             SELECT pg_advisory_lock(hashtextextended('billing.migrate', 0)); \
             SET lock_timeout = '3s'",
        )
        .await
        .map_err(MigrationError::Lock)?;
    let (mut connection, mut done) = run_pending(connection, OF_LEDGER)?;
    let books = describe(&mut connection, database_url, books).await?;
    for number in 0..books.count() {
        if let Some(search_path) = books.search_path(number) {
            let schema = schema_of(number);
            let enter = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {search_path}");
            connection.batch_execute(&enter).await.map_err(failed)?;
        }
        let of_book;
        (connection, of_book) = run_pending(connection, OF_BOOK)?;
        done.extend(of_book.into_iter().map(|name| books.named(number, name)));
    }
    if on_citus {
        let look_at_what_is_global = format!("SET search_path = {}", books.shared_schema());
        connection.batch_execute(&look_at_what_is_global).await.map_err(failed)?;
        done.extend(citus::distribute(&mut connection, &books.schemas()).await?);
    }
    Ok(done)
}

/// Runs the pending migrations of a kind where the session looks first.
fn run_pending(
    connection: AsyncPgConnection,
    migrations: EmbeddedMigrations,
) -> Result<(AsyncPgConnection, Vec<String>), MigrationError> {
    let mut harness = AsyncMigrationHarness::new(connection);
    let done = harness.run_pending_migrations(migrations).map_err(MigrationError::Migration)?;
    let done = done.into_iter().map(|version| version.to_string()).collect();
    Ok((harness.into_inner(), done))
}

/// Writes how many books the ledger has, unless that is known; it must be as many as are wanted.
async fn describe(
    connection: &mut AsyncPgConnection,
    url: &DatabaseUrl,
    wanted: Option<usize>,
) -> Result<Books, MigrationError> {
    if described(connection).await.map_err(failed)?.is_none() {
        let count = wanted.unwrap_or(1);
        let text = format!("INSERT INTO billing_books (count, hash) VALUES ({count}, '{HASH}')");
        connection.batch_execute(&text).await.map_err(failed)?;
    }
    let described = described(connection).await.map_err(failed)?;
    let described = described.ok_or(MigrationError::Migration("billing_books has no row".into()))?;
    if let Some(wanted) = wanted.filter(|wanted| usize::try_from(described.count) != Ok(*wanted)) {
        return Err(MigrationError::OtherBooks { found: described.count, wanted });
    }
    Ok(Books::of(url, &described)?)
}

fn failed(error: diesel::result::Error) -> MigrationError {
    MigrationError::Migration(error.into())
}

/// The names of the pending migrations. Reads only, so the right to read is enough; Diesel's own function would create the
/// table of migrations if it does not exist.
///
/// # Errors
/// When the database cannot be reached, or a table of migrations cannot be read.
pub async fn pending_migrations(database_url: &DatabaseUrl) -> Result<Vec<String>, MigrationError> {
    let mut connection = connect(database_url, Purpose::Look).await?;
    let books = Books::read(&mut connection, database_url).await?;
    let mut pending = pending_of(&mut connection, &OF_LEDGER).await?;
    for number in 0..books.count() {
        if let Some(search_path) = books.search_path(number) {
            let enter = format!("SET search_path = {search_path}");
            in_time(connection.batch_execute(&enter)).await.map_err(BooksError::from)?.map_err(failed)?;
        }
        let of_book = pending_of(&mut connection, &OF_BOOK).await?;
        pending.extend(of_book.into_iter().map(|name| books.named(number, name)));
    }
    Ok(pending)
}

async fn pending_of(
    connection: &mut AsyncPgConnection,
    migrations: &EmbeddedMigrations,
) -> Result<Vec<String>, MigrationError> {
    let ran = in_time(versions_that_ran(connection)).await;
    let ran = ran.map_err(|error| MigrationError::Migration(error.into()))?.map_err(failed)?;
    let known: Vec<Box<dyn Migration<Pg>>> = migrations.migrations().map_err(MigrationError::Migration)?;
    let pending = known.iter().map(Migration::name);
    let pending = pending.filter(|name| !ran.contains(&name.version().to_string()));
    Ok(pending.map(ToString::to_string).collect())
}

async fn versions_that_ran(connection: &mut AsyncPgConnection) -> QueryResult<Vec<String>> {
    let exists = diesel::dsl::sql::<Bool>("to_regclass('__diesel_schema_migrations') IS NOT NULL");
    if !diesel::select(exists).get_result::<bool>(connection).await? {
        return Ok(Vec::new());
    }
    __diesel_schema_migrations::table.select(__diesel_schema_migrations::version).load(connection).await
}
