//! Sessions of the database: how many, with which settings, and which of them are not used again.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8::{ErrorSink, ManageConnection, Pool, PooledConnection, RunError, State};
use diesel::{
    ConnectionError,
    result::{ConnectionResult, QueryResult},
};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, methods::LoadQuery,
    pooled_connection::PoolableConnection,
};

use tokio::{sync::Semaphore, time::timeout};

use super::{
    LedgerError,
    connect::{Purpose, connect},
    database_url::DatabaseUrl,
    statements::WriteEntries,
};
use crate::telemetry::PoolSample;

/// How many callers wait for a connection at most: further ones are refused at once.
const WAITING_MAX: usize = 4_096;
/// How long a caller waits for a connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a transaction or a read may take, longer than a server that still answers lets one of its statements take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every session is set to.
///
/// * READ COMMITTED, whatever the server's default: a statement after a lock must see what was committed meanwhile.
/// * A commit is on disk before it is answered, here and on the synchronous standbys. What asks for more than that is kept
///   (`remote_apply`); what asks for less is not. It is set in any case, even to what it is: a session obeys a change of the
///   server's configuration in all that it has not set itself.
/// * The schema of the book stays the one that it was found in.
/// * Nothing waits without a bound: for a lock, for a statement, inside a transaction, for a client that is gone.
/// * Every statement is an index look-up by the rows of an array. The plan is made once, before there are statistics,
///   so the planner is kept from others.
/// * English messages, where the role may ask for them: see [`super::error`].
const SESSION_SETTINGS: &str = "\
    SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false); \
    SELECT set_config('search_path', current_setting('search_path'), false); \
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
        WHERE has_parameter_privilege('lc_messages', 'SET');";

/// A connection, and whether work is under way in it. It is not handed on while any is: whatever ended its use, an error,
/// a panic, a caller that dropped it or an answer that did not come in time, its statement may still run, and its
/// transaction may still be open. The connection is closed then, and the server rolls back. Nor is it handed on after its
/// epoch.
pub(super) struct Session {
    connection: AsyncPgConnection,
    has_work_under_way: bool,
    epoch: u64,
}

impl Session {
    /// Carries out a body that sends BEGIN and, unless it fails, COMMIT. Rolls back if it fails.
    pub(super) async fn transaction<T, E: From<LedgerError>>(
        &mut self,
        body: impl AsyncFnOnce(&AsyncPgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.has_work_under_way = true;
        let work = async {
            let result = body(&self.connection).await;
            let has_ended = result.is_ok() || self.connection.batch_execute("ROLLBACK").await.is_ok();
            (result, has_ended)
        };
        let (result, has_ended) = in_time(work).await?;
        self.has_work_under_way = !has_ended;
        result
    }

    /// Carries out one statement, and returns its rows.
    pub(super) async fn query<Q, T>(&mut self, query: Q) -> Result<QueryResult<Vec<T>>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Send + 'static,
        T: Send,
    {
        self.has_work_under_way = true;
        let rows = in_time(query.load(&mut self.connection)).await?;
        self.has_work_under_way = false;
        Ok(rows)
    }
}

/// Waits for an answer of the database, but not for ever: a server that hangs, or a network that swallows what is sent,
/// is not noticed otherwise. Whether the work is done is not known then.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, LedgerError> {
    let done = timeout(PATIENCE, work).await;
    done.map_err(|_| LedgerError::Unavailable(format!("no answer within {PATIENCE:?}").into()))
}

/// How often all sessions were given up. Pools that share it give them up together.
#[derive(Debug, Clone, Default)]
pub(super) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    fn now(&self) -> u64 {
        AtomicU64::load(&self.0, Ordering::Relaxed)
    }
}

/// Makes sessions for a pool, and tells which are of no use any more.
#[derive(Debug)]
pub(super) struct Sessions {
    database_url: DatabaseUrl,
    purpose: Purpose,
    epoch: Epoch,
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = ConnectionError;

    async fn connect(&self) -> ConnectionResult<Session> {
        let epoch = self.epoch.now();
        let mut connection = connect(&self.database_url, self.purpose).await?;
        let set_up = timeout(PATIENCE, set_up(&mut connection, self.purpose)).await;
        let set_up = set_up.map_err(|late| ConnectionError::BadConnection(late.to_string()))?;
        set_up.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Session { connection, has_work_under_way: false, epoch })
    }

    /// Sees a closed connection without a round trip.
    async fn is_valid(&self, session: &mut Session) -> ConnectionResult<()> {
        if self.has_broken(session) {
            return Err(ConnectionError::BadConnection("the connection was closed".into()));
        }
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.has_work_under_way
            || session.epoch != self.epoch.now()
            || PoolableConnection::is_broken(&mut session.connection)
    }
}

/// Sets a session up. Where it is to write, it writes no entries, which prepares the statement that writes some: a COMMIT
/// can then be sent right behind it.
async fn set_up(connection: &mut AsyncPgConnection, purpose: Purpose) -> QueryResult<()> {
    connection.batch_execute(SESSION_SETTINGS).await?;
    match purpose {
        Purpose::Write => WriteEntries::default().get_result::<i64>(connection).await.map(drop),
        Purpose::Read | Purpose::Look => Ok(()),
    }
}

/// A pool of sessions.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pool: Pool<Sessions>,
    epoch: Epoch,
    size_max: u32,
    waiting: Arc<Semaphore>,
}

impl Connections {
    /// A pool of up to `size_max` sessions. Connects when first asked for one.
    pub(super) fn new(database_url: &DatabaseUrl, purpose: Purpose, size_max: u32, epoch: &Epoch) -> Self {
        let pool = Pool::builder()
            .max_size(size_max)
            .connection_timeout(CHECKOUT_TIMEOUT)
            .idle_timeout(None)
            .error_sink(Box::new(Log))
            .build_unchecked(Sessions { database_url: database_url.clone(), purpose, epoch: epoch.clone() });
        Self { pool, epoch: epoch.clone(), size_max, waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// Uses no session again that there is now, here or in a pool with the same epoch: their server was found to take no writes.
    /// After a failover that ended no session, new ones find the server that does.
    pub(super) fn renew(&self) {
        self.epoch.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands, under this name.
    pub(super) fn sample(&self, pool: &'static str) -> PoolSample {
        let State { connections, idle_connections: idle, statistics, .. } = self.pool.state();
        PoolSample {
            pool,
            busy: connections.saturating_sub(idle),
            idle,
            waits: statistics.get_waited,
            timeouts: statistics.get_timed_out,
            waited: statistics.get_wait_time,
        }
    }

    /// A session, for as long as it is held.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, Sessions>, LedgerError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| LedgerError::Overloaded)?;
        self.pool.get().await.map_err(|error| match error {
            // A pool that has all of its connections is not cut off: they are in use.
            RunError::TimedOut if self.pool.state().connections >= self.size_max => LedgerError::Overloaded,
            RunError::TimedOut | RunError::User(_) => LedgerError::Unavailable(error.into()),
        })
    }
}

/// Logs why a pool cannot connect, which the pool itself keeps quiet about.
#[derive(Debug)]
struct Log;

impl ErrorSink<ConnectionError> for Log {
    fn sink(&self, error: ConnectionError) {
        let error: &dyn StdError = &error;
        tracing::warn!(error, "cannot connect to the database");
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<ConnectionError>> {
        Box::new(Log)
    }
}
