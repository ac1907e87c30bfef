//! Pools of database sessions: their number, their settings, who works in them, and when they are discarded.

use std::{
    error::Error as StdError,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
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
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_postgres::error::SqlState;
use tracing::Instrument as _;

use super::{
    backend::Backend,
    connect::{Attempt, Connector, Link, Purpose},
    error::{DatabaseError, NoAnswer},
    sqlstate::FirstError,
};
use crate::telemetry::PoolSample;

/// The most callers that wait for a session. Further ones are refused immediately.
pub(crate) const WAITING_MAX: usize = 4_096;
/// How long a caller waits for a session.
pub(crate) const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time limit of a transaction or a read: longer than the statement timeout of a server that still answers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is still working for a late session.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The settings of every session.
///
/// * READ COMMITTED, whatever the server's default: a statement after a lock must see what was committed in between.
/// * A commit is on disk before it is answered, here and on the synchronous standbys. A stronger setting (`remote_apply`) is
///   kept; a weaker one is overridden. It is always set explicitly: a session obeys later changes of the server's
///   configuration in everything that it has not set itself.
/// * The schema of the book stays the one that it was found in.
/// * Nothing waits without a bound: for a lock, for a statement, inside a transaction, for a client that is gone.
/// * Every statement is an index lookup by the elements of an array. Plans are made once, before there are statistics, so the
///   other plans are disabled. Beside these settings stands `plan_cache_mode`: Citus cannot plan distributed tables once for all.
const SESSION_SETTINGS: &str = "\
    SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false); \
    SELECT set_config('search_path', current_setting('search_path'), false); \
    SET lock_timeout = '2s'; \
    SET statement_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SET client_connection_check_interval = '1s'; \
    SET enable_seqscan = off; \
    SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; \
    SET enable_mergejoin = off; \
    SET jit = off;";

/// A session, and whether work is in progress in it. It is not reused while there is any: after an error or a panic its
/// statement may still run, and its transaction may still be open. It is closed then, and the server rolls back. Nor is it
/// reused after its epoch.
pub(crate) struct Session {
    connection: AsyncPgConnection,
    backend: Backend,
    first_error: FirstError,
    /// Ends with the session: immediately if work is in progress, else after it has closed the connection properly.
    driver: JoinSet<()>,
    has_work_under_way: bool,
    epoch: u64,
}

impl Session {
    /// Runs a body that sends BEGIN and, unless it fails, COMMIT. Rolls back if it fails.
    pub(crate) async fn transaction<T, E>(
        &mut self,
        body: impl AsyncFnOnce(&AsyncPgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.has_work_under_way = true;
        self.first_error.forget();
        let result = body(&self.connection).await;
        let has_ended = result.is_ok() || self.connection.batch_execute("ROLLBACK").await.is_ok();
        self.has_work_under_way = !has_ended;
        result
    }

    /// The code of the first error since the transaction began.
    pub(crate) fn error_code(&self) -> Option<SqlState> {
        self.first_error.code()
    }

    /// Runs one statement, and returns its rows.
    pub(crate) async fn query<Q, T>(&mut self, query: Q) -> Result<Vec<T>, DatabaseError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Send + 'static,
        T: Send,
    {
        self.has_work_under_way = true;
        self.first_error.forget();
        let rows = query.load(&mut self.connection).await;
        self.has_work_under_way = false;
        rows.map_err(|error| DatabaseError { error, code: self.error_code() })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.has_work_under_way {
            self.driver.detach_all();
        }
    }
}

/// A session in use. When dropped, it goes back to its pool or is closed.
pub(crate) type PooledSession = PooledConnection<'static, Sessions>;

/// Waits for an answer of the database, with a timeout: a server that hangs, or a network that drops packets, would not be
/// noticed otherwise. After a timeout the outcome is unknown.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, NoAnswer> {
    timeout(PATIENCE, work).await.map_err(|_| no_answer(PATIENCE))
}

fn no_answer(patience: Duration) -> NoAnswer {
    NoAnswer::Unavailable(format!("no answer within {patience:?}").into())
}

/// Counts how often all sessions were discarded. Pools that share it discard theirs together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    fn now(&self) -> u64 {
        AtomicU64::load(&self.0, Ordering::Relaxed)
    }

    /// Discards all current sessions of the pools that share this, because their server turned out to be read-only. After a
    /// failover that closed no connection, new sessions find the primary.
    pub(crate) fn renew(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens sessions for a pool, and detects those that cannot be reused.
#[derive(Debug)]
pub(crate) struct Sessions {
    connector: Connector,
    purpose: Purpose,
    prepare: Prepare,
    epoch: Epoch,
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = ConnectionError;

    async fn connect(&self) -> ConnectionResult<Session> {
        let epoch = self.epoch.now();
        let prepare = self.prepare;
        let is_distributed = self.connector.is_distributed();
        let begin = move |link| set_up(link, is_distributed, prepare);
        let mut session = self.connector.connect(self.purpose, begin).await?;
        session.epoch = epoch;
        Ok(session)
    }

    /// Detects a closed connection without a round trip.
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

/// Prepares the statements of a new session.
pub(crate) type Prepare = for<'c> fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<()>>;

/// Sets up a session.
async fn set_up(link: Link, is_distributed: bool, prepare: Prepare) -> Attempt<Session> {
    let Link { client, first_error, driver } = link;
    let mut connection = AsyncPgConnection::try_from(client).await?;
    let plan_cache_mode = if is_distributed { "auto" } else { "force_generic_plan" };
    let settings = format!("{SESSION_SETTINGS} SET plan_cache_mode = '{plan_cache_mode}'");
    connection.batch_execute(&settings).await?;
    let backend = Backend::of(&mut connection).await?;
    prepare(&mut connection).await?;
    Ok(Session { connection, backend, first_error, driver, has_work_under_way: false, epoch: 0 })
}

/// A pool of sessions. Work runs in a task of its own: it is finished even if the caller disconnects, and the session is reused.
/// A session without an answer keeps its place, so that there are never more than `size_max` backends: a backend that hangs, or
/// waits for its standby, survives when its connection is closed.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pool: Pool<Sessions>,
    size_max: u32,
    waiting: Arc<Semaphore>,
    /// The number of callers that have waited too long for others to share a session with.
    gone: Arc<AtomicU64>,
    /// The number of late sessions: their callers have got an error.
    late: Arc<AtomicU32>,
    looking: Arc<Semaphore>,
}

impl Connections {
    /// A pool of up to `size_max` sessions, which are opened on demand.
    pub(crate) fn new(
        connector: &Connector,
        purpose: Purpose,
        prepare: Prepare,
        size_max: u32,
        epoch: &Epoch,
    ) -> Self {
        let pool = Pool::builder()
            .max_size(size_max)
            .connection_timeout(CHECKOUT_TIMEOUT)
            .idle_timeout(None)
            .error_sink(Box::new(Log))
            .build_unchecked(Sessions {
                connector: connector.clone(),
                purpose,
                prepare,
                epoch: epoch.clone(),
            });
        Self {
            pool,
            size_max,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            gone: Arc::default(),
            late: Arc::default(),
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// The state of the pool, for the metrics.
    pub(crate) fn sample(&self, pool: &'static str) -> PoolSample {
        let State { connections, idle_connections: idle, statistics, .. } = self.pool.state();
        let late = AtomicU32::load(&self.late, Ordering::Relaxed);
        PoolSample {
            pool,
            busy: connections.saturating_sub(idle).saturating_sub(late),
            late,
            idle,
            waits: statistics.get_waited,
            timeouts: statistics.get_timed_out + AtomicU64::load(&self.gone, Ordering::Relaxed),
            waited: statistics.get_wait_time,
        }
    }

    /// Runs one statement, and returns its rows, as [`Self::carry_out`] does.
    pub(crate) async fn query<Q, T>(&self, query: Q) -> Result<Result<Vec<T>, DatabaseError>, NoAnswer>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Send + 'static,
        T: Send + 'static,
    {
        self.carry_out(PATIENCE, |mut session| async move { session.query(query).await }).await
    }

    /// The same in the task of the caller, which nobody cancels.
    pub(crate) async fn query_here<Q, T>(&self, query: Q) -> Result<Result<Vec<T>, DatabaseError>, NoAnswer>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Send + 'static,
        T: Send + 'static,
    {
        let mut session = self.get().await?;
        let backend = session.backend;
        self.finish(async move { session.query(query).await }, backend, PATIENCE).await
    }

    /// Runs work in a session, and returns its result. If that takes longer than `patience`, the caller gets an error, and the
    /// work continues.
    pub(crate) async fn carry_out<T, F>(
        &self,
        patience: Duration,
        work: impl FnOnce(PooledSession) -> F,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let session = self.get().await?;
        let (pool, backend, work) = (self.clone(), session.backend, work(session));
        let (reply, answer) = oneshot::channel();
        let finish = async move {
            let _ = reply.send(pool.finish(work, backend, patience).await); // the caller may have disconnected
        };
        tokio::spawn(finish.in_current_span());
        answer.await.unwrap_or_else(|_| resume_unwind(Box::new("the task of a session panicked")))
    }

    /// Waits for work. Late work goes on in a task of its own, and keeps its session.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        backend: Backend,
        patience: Duration,
    ) -> Result<T, NoAnswer> {
        let mut work = Box::pin(work);
        if let Ok(done) = timeout(patience, &mut work).await {
            return Ok(done);
        }
        let (pool, late) = (self.clone(), Late::count(&self.late));
        let wait_on = async move {
            let _late = late;
            tokio::select! {
                _ = work => {}
                () = pool.is_given_up(backend) => {}
            }
        };
        tokio::spawn(wait_on.in_current_span());
        Err(no_answer(patience))
    }

    /// Returns when the server is no longer working for a backend: the answer was lost, or another server has taken over.
    async fn is_given_up(&self, backend: Backend) {
        while self.is_at_work(backend).await != Some(false) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether the server is working for a backend; `None` if that cannot be determined now.
    async fn is_at_work(&self, backend: Backend) -> Option<bool> {
        let _one_at_a_time = self.looking.acquire().await.ok()?;
        let mut look = self.pool.dedicated_connection().await.ok()?;
        in_time(backend.is_at_work(&mut look.connection)).await.ok()?.ok()
    }

    /// Takes a session from the pool.
    async fn get(&self) -> Result<PooledSession, NoAnswer> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NoAnswer::Overloaded)?;
        if self.are_all_late() {
            return Err(NoAnswer::Unavailable("no session has answered".into()));
        }
        self.pool.get_owned().await.map_err(|error| match error {
            RunError::TimedOut => self.too_late(),
            RunError::User(_) => NoAnswer::Unavailable(error.into()),
        })
    }

    /// Counts a caller that has waited too long for others to share a session with, and tells it why.
    pub(crate) fn give_up(&self) -> NoAnswer {
        self.gone.fetch_add(1, Ordering::Relaxed);
        self.too_late()
    }

    /// Why there was no session in time. A pool with all of its connections is not cut off from the database: they are in use.
    fn too_late(&self) -> NoAnswer {
        if self.pool.state().connections >= self.size_max && !self.are_all_late() {
            return NoAnswer::Overloaded;
        }
        NoAnswer::Unavailable(format!("no session within {CHECKOUT_TIMEOUT:?}").into())
    }

    fn are_all_late(&self) -> bool {
        AtomicU32::load(&self.late, Ordering::Relaxed) >= self.size_max
    }
}

/// Counts a session as late until this is dropped.
struct Late(Arc<AtomicU32>);

impl Late {
    fn count(late: &Arc<AtomicU32>) -> Self {
        late.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(late))
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Logs why a pool cannot connect, which bb8 does not report.
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
