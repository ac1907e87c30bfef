//! Sessions of the database: how many, with which settings, who works in them, and which of them are not used again.

use std::{
    error::Error as StdError,
    panic::resume_unwind,
    pin::pin,
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
    backend::{Backend, IsAtWork, OwnBackend},
    connect::{Attempt, Connector, Link, Purpose},
    error::{DatabaseError, NoAnswer},
    sqlstate::FirstError,
};
use crate::telemetry::PoolSample;

/// How many callers wait for a connection at most: further ones are refused at once.
const WAITING_MAX: usize = 4_096;
/// How long a caller waits for a connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a transaction or a read may take, longer than a server that still answers lets one of its statements take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is still at work for a session that is late.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

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
    SET jit = off;";

/// A connection, and whether work is under way in it. It is not handed on while any is: after an error or a panic its statement
/// may still run, and its transaction may still be open. The connection is closed then, and the server rolls back. Nor is it
/// handed on after its epoch.
pub(crate) struct Session {
    connection: AsyncPgConnection,
    backend: Backend,
    first_error: FirstError,
    /// Ends with the session, whatever it waits for; but takes leave of the server where nothing is under way.
    driver: JoinSet<()>,
    has_work_under_way: bool,
    epoch: u64,
}

impl Session {
    /// Carries out a body that sends BEGIN and, unless it fails, COMMIT. Rolls back if it fails.
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

    /// Carries out one statement, and returns its rows.
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

/// A session in use. It goes back to its pool when it is dropped, or is closed.
pub(crate) type PooledSession = PooledConnection<'static, Sessions>;

/// Waits for an answer of the database, but not forever: a server that hangs, or a network that swallows what is sent,
/// is not noticed otherwise. Whether the work is done is not known then.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, NoAnswer> {
    timeout(PATIENCE, work).await.map_err(|_| no_answer(PATIENCE))
}

fn no_answer(patience: Duration) -> NoAnswer {
    NoAnswer::Unavailable(format!("no answer within {patience:?}").into())
}

/// How often all sessions were given up. Pools that share it give them up together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    fn now(&self) -> u64 {
        AtomicU64::load(&self.0, Ordering::Relaxed)
    }
}

/// Makes sessions for a pool, and tells which are no longer needed.
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
        let mut session = self.connector.connect(self.purpose, move |link| set_up(link, prepare)).await?;
        session.epoch = epoch;
        Ok(session)
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

/// What a session does before it is lent out: its statements are prepared then.
pub(crate) type Prepare = for<'c> fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<()>>;

/// Sets a session up.
async fn set_up(link: Link, prepare: Prepare) -> Attempt<Session> {
    let Link { client, first_error, driver } = link;
    let mut connection = AsyncPgConnection::try_from(client).await?;
    connection.batch_execute(SESSION_SETTINGS).await?;
    let (pid, start) = OwnBackend.get_result(&mut connection).await?;
    prepare(&mut connection).await?;
    let backend = Backend { pid, start };
    Ok(Session { connection, backend, first_error, driver, has_work_under_way: false, epoch: 0 })
}

/// A pool of sessions. Work is carried out in one by a task of its own: whatever becomes of the caller, it is finished, and the
/// session is used again. A session that has not answered keeps its place, so that there are never more than `size_max`:
/// what is sent to a server that hangs, or that waits for its standby, stays there when its connection is closed.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pool: Pool<Sessions>,
    epoch: Epoch,
    size_max: u32,
    waiting: Arc<Semaphore>,
    /// How many sessions are late: their callers were told that there is no answer.
    late: Arc<AtomicU32>,
    looking: Arc<Semaphore>,
}

impl Connections {
    /// A pool of up to `size_max` sessions. Connects when first asked for one.
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
            epoch: epoch.clone(),
            size_max,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            late: Arc::default(),
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// Uses no session again that there is now, here or in a pool with the same epoch: their server was found to take no writes.
    /// After a failover that ended no session, new ones find the server that does.
    pub(crate) fn renew(&self) {
        self.epoch.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands, under this name.
    pub(crate) fn sample(&self, pool: &'static str) -> PoolSample {
        let State { connections, idle_connections: idle, statistics, .. } = self.pool.state();
        let late = AtomicU32::load(&self.late, Ordering::Relaxed);
        PoolSample {
            pool,
            busy: connections.saturating_sub(idle).saturating_sub(late),
            late,
            idle,
            waits: statistics.get_waited,
            timeouts: statistics.get_timed_out,
            waited: statistics.get_wait_time,
        }
    }

    /// Carries out one statement, and returns its rows, as [`Self::carry_out`].
    pub(crate) async fn query<Q, T>(&self, query: Q) -> Result<Result<Vec<T>, DatabaseError>, NoAnswer>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Send + 'static,
        T: Send + 'static,
    {
        self.carry_out(PATIENCE, |mut session| async move { session.query(query).await }).await
    }

    /// Carries out work in a session, and returns what it does. If that takes longer than `patience`, the work goes on alone.
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
        let (reply, answer) = oneshot::channel();
        let backend = session.backend;
        tokio::spawn(self.clone().finish(work(session), backend, patience, reply).in_current_span());
        answer.await.unwrap_or_else(|_| resume_unwind(Box::new("the task of a session panicked")))
    }

    /// Finishes work, whoever still waits for it.
    async fn finish<T>(
        self,
        work: impl Future<Output = T>,
        backend: Backend,
        patience: Duration,
        reply: oneshot::Sender<Result<T, NoAnswer>>,
    ) {
        let mut work = pin!(work);
        // A caller who has gone needs no answer.
        match timeout(patience, &mut work).await {
            Ok(done) => {
                let _ = reply.send(Ok(done));
                return;
            }
            Err(_) => {
                let _ = reply.send(Err(no_answer(patience)));
            }
        }
        let _late = Late::count(&self.late);
        tokio::select! {
            _ = work => {}
            () = self.is_given_up(backend) => {}
        }
    }

    /// Returns when the server where sessions are had is not at work for a backend any longer: the answer was lost on its way, or
    /// another server has taken over.
    async fn is_given_up(&self, backend: Backend) {
        while self.is_at_work(backend).await != Some(false) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether the server is at work for a backend; nothing if that cannot be found out now.
    async fn is_at_work(&self, backend: Backend) -> Option<bool> {
        let _one_at_a_time = self.looking.acquire().await.ok()?;
        let mut look = self.pool.dedicated_connection().await.ok()?;
        in_time(IsAtWork(backend).get_result(&mut look.connection)).await.ok()?.ok()
    }

    /// A session, for as long as it is held.
    async fn get(&self) -> Result<PooledSession, NoAnswer> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NoAnswer::Overloaded)?;
        if self.are_all_late() {
            return Err(NoAnswer::Unavailable("no session has answered".into()));
        }
        self.pool.get_owned().await.map_err(|error| match error {
            // A pool that has all of its connections is not cut off: they are in use.
            RunError::TimedOut if self.pool.state().connections >= self.size_max && !self.are_all_late() => {
                NoAnswer::Overloaded
            }
            RunError::TimedOut | RunError::User(_) => NoAnswer::Unavailable(error.into()),
        })
    }

    fn are_all_late(&self) -> bool {
        AtomicU32::load(&self.late, Ordering::Relaxed) >= self.size_max
    }
}

/// Counts a session as late, until it is dropped.
struct Late<'a>(&'a AtomicU32);

impl<'a> Late<'a> {
    fn count(late: &'a AtomicU32) -> Self {
        late.fetch_add(1, Ordering::Relaxed);
        Self(late)
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
