//! Connections to the database: how many, with which settings, and how a dead one is known.

use std::{error::Error as StdError, time::Duration};

use bb8::{ErrorSink, Pool, PooledConnection};
use diesel::result::{ConnectionResult, Error as DieselError};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolError, PoolableConnection, RecyclingMethod,
    },
};

use super::LedgerError;

pub(super) type Connection<'pool> = PooledConnection<'pool, AsyncDieselConnectionManager<AsyncPgConnection>>;

/// How long a caller waits for a connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// What every session is set to.
///
/// * READ COMMITTED, whatever the server's default: a statement after a lock must see what was committed meanwhile.
/// * A commit is on disk before it is answered; a server set to more than that is left as it is.
/// * Nothing waits without a bound: for a lock, for a statement, inside a transaction, for a client that is gone.
/// * Every statement is an index look-up by the rows of an array. The plan is made once, before there are statistics,
///   so the planner is kept from others.
/// * English messages, where the role may ask for them: see [`super::error`].
const SESSION_SETTINGS: &str = "\
    SET application_name = 'billing'; \
    SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) \
        WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
    SET lock_timeout = '2s'; \
    SET statement_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SET client_connection_check_interval = '1s'; \
    SET plan_cache_mode = 'force_generic_plan'; \
    SET enable_seqscan = off; \
    SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; \
    SET enable_mergejoin = off; \
    SET jit = off; \
    SELECT set_config('lc_messages', 'C', false) \
        FROM pg_roles WHERE rolname = current_user AND rolsuper;";

/// A pool of sessions.
#[derive(Clone, Debug)]
pub(super) struct Connections(Pool<AsyncDieselConnectionManager<AsyncPgConnection>>);

impl Connections {
    /// A pool of up to `connections_max` sessions. Connects when first asked for one.
    pub(super) fn new(database_url: &str, connections_max: u32) -> Self {
        let mut config = ManagerConfig::<AsyncPgConnection>::default();
        config.custom_setup = Box::new(|url| Box::pin(connect(url)));
        // Sees a broken connection without a round trip; the default would ask the server each time.
        config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|connection| {
            let broken = PoolableConnection::is_broken(connection);
            Box::pin(async move { if broken { Err(DieselError::BrokenTransactionManager) } else { Ok(()) } })
        }));
        let pool = Pool::builder()
            .max_size(connections_max)
            .connection_timeout(CHECKOUT_TIMEOUT)
            .idle_timeout(None)
            .error_sink(Box::new(Log))
            .build_unchecked(AsyncDieselConnectionManager::new_with_config(database_url, config));
        Self(pool)
    }

    /// A session, for as long as it is held.
    pub(super) async fn get(&self) -> Result<Connection<'_>, LedgerError> {
        self.0.get().await.map_err(|error| LedgerError::Unavailable(error.into()))
    }
}

/// Connects, and says why not when it cannot: a pool would only say that it took too long.
pub(super) async fn connect(database_url: &str) -> ConnectionResult<AsyncPgConnection> {
    let mut connection = AsyncPgConnection::establish(database_url).await?;
    connection
        .batch_execute(SESSION_SETTINGS)
        .await
        .map_err(diesel::result::ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Logs why a pool cannot connect, which the pool itself keeps quiet about.
#[derive(Debug)]
struct Log;

impl ErrorSink<PoolError> for Log {
    fn sink(&self, error: PoolError) {
        let error: &dyn StdError = &error;
        tracing::warn!(error, "cannot connect to the database");
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<PoolError>> {
        Box::new(Log)
    }
}
