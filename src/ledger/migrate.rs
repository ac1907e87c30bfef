//! Brings the schema up to date, one process at a time.

use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// Why the schema could not be read or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database cannot be reached.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// The lock could not be had: another process has been migrating for minutes.
    #[error("the migration lock could not be had")]
    Lock(#[source] diesel::result::Error),
    /// A migration failed, or the table of migrations cannot be read. It was rolled back.
    #[error("a migration failed")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs the pending migrations under a lock, and returns their names. Safe to run anywhere, any number of times at
/// once: the others wait, and find nothing to do. Needs a multi-threaded runtime.
///
/// # Errors
/// When the database cannot be reached, the lock cannot be had, or a migration fails.
pub async fn migrate(database_url: &str) -> Result<Vec<String>, MigrationError> {
    let mut connection = AsyncPgConnection::establish(database_url).await?;
    // The session ends with the connection, and the lock with the session. Waiting for this lock may take as long as
    // another's migrations; waiting for a table must not make the service wait behind it.
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

/// The names of the migrations that are still to run. Changes nothing.
///
/// # Errors
/// When the database cannot be reached, or the table of migrations cannot be read.
pub async fn pending_migrations(database_url: &str) -> Result<Vec<String>, MigrationError> {
    let connection = AsyncPgConnection::establish(database_url).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let pending = harness.pending_migrations(MIGRATIONS).map_err(MigrationError::Migration)?;
    Ok(pending.into_iter().map(|migration| migration.name().to_string()).collect())
}
