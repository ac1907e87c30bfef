//! Connects to the first suitable server of a URL. Every step has a timeout.

use std::{
    error::Error,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::{ConnectionError, result::ConnectionResult};
use diesel_async::AsyncPgConnection;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    net::lookup_host,
    sync::{Semaphore, SemaphorePermit, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_postgres::{
    Client, Config, SimpleQueryMessage,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::MakeTlsConnect,
};

use super::{
    socket::{self, Socket},
    sqlstate::{FirstError, Overheard, OverheardTls},
    url::{CONNECT_TIMEOUT_DEFAULT, DatabaseUrl, server_name},
};

/// How long a program that ends waits for its sessions to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) type Attempt<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To write: not to a standby.
    Write,
    /// To read: as the URL says.
    Read,
    /// To inspect a database: any server.
    Look,
}

/// A session of the driver.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) first_error: FirstError,
    /// The task that talks to the server. The session ends with it.
    pub(crate) driver: JoinSet<()>,
}

impl Link {
    /// The client alone. When it is dropped, the session ends once everything is answered.
    fn into_client(mut self) -> Client {
        self.driver.detach_all();
        self.client
    }
}

/// Each driver holds a receiver while it runs.
static OPEN: LazyLock<watch::Sender<()>> = LazyLock::new(watch::Sender::default);

/// Waits, for a limited time, until the drivers of dropped sessions have closed their connections. If the runtime ended
/// first, it would cut them.
pub async fn sessions_closed() {
    let _ = timeout(CLOSE_PATIENCE, OPEN.closed()).await;
}

/// Connects to the first suitable server, in the order of the URL.
pub(crate) async fn connect(url: &DatabaseUrl, purpose: Purpose) -> ConnectionResult<AsyncPgConnection> {
    Ok(connect_overheard(url, purpose).await?.0)
}

/// The same, with the code of the first error on the connection.
pub(crate) async fn connect_overheard(
    url: &DatabaseUrl,
    purpose: Purpose,
) -> ConnectionResult<(AsyncPgConnection, FirstError)> {
    let begin = async |link: Link| {
        let first_error = link.first_error.clone();
        Ok((AsyncPgConnection::try_from(link.into_client()).await?, first_error))
    };
    Connector::new(url).connect(purpose, begin).await
}

/// The same without Diesel, for what Diesel cannot do: COPY, and streams of rows. The session ends with the client.
pub(crate) async fn connect_without_diesel(url: &DatabaseUrl, purpose: Purpose) -> ConnectionResult<Client> {
    Connector::new(url).connect(purpose, async |link: Link| Ok(link.into_client())).await
}

/// Connects repeatedly, with at most one attempt at a time to each server. An abandoned attempt may leave a process behind on a
/// server that hangs; many attempts would leave many.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    url: DatabaseUrl,
    /// One per server.
    doors: Arc<[Door]>,
}

/// Admits one connection attempt at a time to a server.
#[derive(Debug)]
struct Door {
    turn: Semaphore,
    /// Whether the last attempt got no answer.
    was_silent: AtomicBool,
}

impl Connector {
    pub(crate) fn new(url: &DatabaseUrl) -> Self {
        let doors = url.servers.iter().map(|_| Door { turn: Semaphore::new(1), was_silent: false.into() });
        Self { url: url.clone(), doors: doors.collect() }
    }

    pub(crate) fn is_distributed(&self) -> bool {
        self.url.is_distributed
    }

    /// Connects to the first suitable server, in the order of the URL. `begin` is part of the attempt.
    pub(crate) async fn connect<T>(
        &self,
        purpose: Purpose,
        begin: impl AsyncFn(Link) -> Attempt<T>,
    ) -> ConnectionResult<T> {
        let mut servers: Vec<_> = self.url.servers.iter().cloned().zip(&*self.doors).collect();
        if self.url.in_any_order {
            fastrand::shuffle(&mut servers);
        }
        let mut failures = Vec::new();
        for (mut server, door) in servers {
            match purpose {
                Purpose::Write => server.target_session_attrs(TargetSessionAttrs::ReadWrite),
                Purpose::Read => &mut server,
                Purpose::Look => server.target_session_attrs(TargetSessionAttrs::Any),
            };
            match connect_to_server(&server, door, &self.url, &begin).await {
                Ok(connection) => return Ok(connection),
                Err(why) => failures.push(format!("{}: {why}", server_name(&server))),
            }
        }
        Err(ConnectionError::BadConnection(failures.join("; ")))
    }
}

impl Door {
    /// Waits for a turn, unless the server did not answer the last attempt.
    async fn turn(&self, patience: Duration) -> Option<SemaphorePermit<'_>> {
        if self.was_silent.load(Ordering::Relaxed) {
            return self.turn.try_acquire().ok();
        }
        timeout(patience, self.turn.acquire()).await.ok()?.ok()
    }

    /// Runs a part of an attempt, with a timeout.
    async fn in_time<T>(
        &self,
        patience: Duration,
        attempt: impl Future<Output = Attempt<T>>,
    ) -> Result<T, String> {
        let done = timeout(patience, attempt).await;
        self.was_silent.store(done.is_err(), Ordering::Relaxed);
        done.map_err(|_| format!("no answer within {patience:?}"))?
            .map_err(|error| whole_text(error.as_ref()))
    }
}

/// Connects to the first address of a server that answers in time.
async fn connect_to_server<T>(
    server: &Config,
    door: &Door,
    url: &DatabaseUrl,
    begin: &impl AsyncFn(Link) -> Attempt<T>,
) -> Result<T, String> {
    let patience = server.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT);
    let Some(_turn) = door.turn(patience).await else {
        return Err("no answer to the attempt before".to_owned());
    };
    let mut failure = "its name has no address".to_owned();
    for address in door.in_time(patience, addresses(server)).await? {
        let attempt = async { begin(link(&address, url).await?).await };
        match door.in_time(patience, attempt).await {
            Ok(connection) => return Ok(connection),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

/// Connects to the one address of a server. Boxed, since the compiler cannot prove the future `Send` otherwise.
fn link<'a>(server: &'a Config, url: &'a DatabaseUrl) -> BoxFuture<'a, Attempt<Link>> {
    let name = match server.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        Some(Host::Unix(_)) | None => "",
    };
    let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut url.tls.clone(), name);
    async move {
        let first_error = FirstError::default();
        let socket = socket::open(server).await?;
        let socket = Overheard::new(socket, &first_error, server.get_ssl_mode() != SslMode::Disable);
        let tls = OverheardTls { tls: tls?, first_error: first_error.clone() };
        let (client, connection) = server.connect_raw(socket, tls).boxed().await?;
        let mut driver = JoinSet::new();
        let open = OPEN.subscribe();
        driver.spawn(async move {
            let _open = open;
            let _ = connection.await; // how it ends is told to whoever uses the client
        });
        check_target(&client, server.get_target_session_attrs()).await?;
        if let Some(search_path) = &url.search_path {
            client.batch_execute(&format!("SET search_path = {search_path}")).await?;
        }
        Ok(Link { client, first_error, driver })
    }
    .boxed()
}

/// Rejects a read-only server where a writable one is wanted, and the reverse.
async fn check_target(client: &Client, target: TargetSessionAttrs) -> Attempt<()> {
    if target == TargetSessionAttrs::Any {
        return Ok(());
    }
    let answer = client.simple_query("SHOW transaction_read_only").await?;
    let is_on = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"));
    match (target, answer.iter().any(is_on)) {
        (TargetSessionAttrs::ReadWrite, true) => Err("database does not allow writes".into()),
        (TargetSessionAttrs::ReadOnly, false) => Err("database is not read only".into()),
        _ => Ok(()),
    }
}

/// The server's configuration, once for each of its addresses.
async fn addresses(server: &Config) -> Attempt<Vec<Config>> {
    let ([Host::Tcp(name)], []) = (server.get_hosts(), server.get_hostaddrs()) else {
        return Ok(vec![server.clone()]);
    };
    let found = lookup_host((name.as_str(), 0)).await?;
    Ok(found.map(|address| server.clone().hostaddr(address.ip()).clone()).collect())
}

/// An error and all of its causes.
fn whole_text(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
