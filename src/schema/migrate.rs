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

use super::requirements::{DatabaseUse, RequirementError, check_database};
use crate::database::{
    DatabaseUrl,
    connect::{Purpose, connect},
    pool::in_time,
};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

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
}

/// Runs the pending migrations under a lock, and returns their names. Safe to run concurrently from several places: the
/// others wait, and find nothing to do. Needs a multi-threaded runtime.
///
/// # Errors
/// When the database cannot be reached or cannot hold the book, the lock is not free in time, or a migration fails.
pub async fn migrate(database_url: &DatabaseUrl) -> Result<Vec<String>, MigrationError> {
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
    let mut harness = AsyncMigrationHarness::new(connection);
    let done = harness.run_pending_migrations(MIGRATIONS).map_err(MigrationError::Migration)?;
    Ok(done.into_iter().map(|version| version.to_string()).collect())
}

/// The names of the pending migrations. Reads only, so the right to read is enough; Diesel's own function would create the
/// table of migrations if it does not exist.
///
/// # Errors
/// When the database cannot be reached, or the table of migrations cannot be read.
pub async fn pending_migrations(database_url: &DatabaseUrl) -> Result<Vec<String>, MigrationError> {
    let mut connection = connect(database_url, Purpose::Look).await?;
    let ran = in_time(versions_that_ran(&mut connection)).await;
    let ran = ran.map_err(|error| MigrationError::Migration(error.into()))?;
    let ran = ran.map_err(|error| MigrationError::Migration(error.into()))?;
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(MigrationError::Migration)?;
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
