//! Faults of PostgreSQL: sessions ended, processes killed or frozen, locks held by others, a standby in place of the server, and
//! one without which no commit is answered.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use billing::private_postgres::PrivatePostgres;
use diesel::{QueryResult, dsl, sql_types::Integer};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{task::spawn_blocking, time::sleep};

use super::{Breakable, Kind, for_a_while};
use crate::support::standby::{copy_server, signal_server};

/// How often a connection is tried: a server that recovers takes none.
const CONNECTS_MAX: usize = 3_000;
const CONNECT_PAUSE: Duration = Duration::from_millis(10);
const SETTINGS: [(&str, &str); 1] = [("max_connections", "60")];
/// It is only waited for, never used.
const STANDBY_SETTINGS: [(&str, &str); 3] =
    [("max_connections", "60"), ("fsync", "off"), ("wal_retrieve_retry_interval", "100ms")];
/// How long the standby is away, in milliseconds, when the service is to give up waiting for it.
const LONG_AWAY: RangeInclusive<u64> = 11_000..=13_000;
const OF_THE_SERVICE: &str =
    "FROM pg_stat_activity WHERE application_name = 'billing' AND datname = 'billing'";

/// A durable PostgreSQL of its own, with a synchronous standby.
pub struct Database {
    dir: PathBuf,
    server: Option<PrivatePostgres>,
    standby: Option<PrivatePostgres>,
}

impl Database {
    pub async fn start(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        let mut database = Self { dir: dir.to_owned(), server: None, standby: None };
        database.start_server().await;
        copy_server(database.server(), &database.server_dir(), &database.standby_dir());
        database.start_standby().await;
        let mut outsider = database.outsider().await;
        outsider.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
        outsider.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // Sessions that begin later take writes whatever the server's own default is then.
        let sql = "ALTER DATABASE billing SET default_transaction_read_only = off";
        database.outsider().await.batch_execute(sql).await.unwrap();
        database
    }

    /// Where the book is.
    pub fn url(&self) -> String {
        self.server().database_url("billing")
    }

    /// Stops the server, and removes its data.
    pub async fn remove(self) {
        spawn_blocking(move || {
            self.server.expect("it runs").stop().unwrap();
            self.standby.expect("it runs").stop().unwrap();
            fs::remove_dir_all(self.dir).unwrap();
        })
        .await
        .unwrap();
    }

    /// Waits until no session of the service is left, and so nothing more can be written.
    pub async fn wait_until_unused(&self) {
        let mut outsider = self.outsider().await;
        while !service_sessions(&mut outsider).await.unwrap().is_empty() {
            sleep(CONNECT_PAUSE).await;
        }
    }

    fn server(&self) -> &PrivatePostgres {
        self.server.as_ref().expect("it runs")
    }

    fn server_dir(&self) -> PathBuf {
        self.dir.join("primary")
    }

    fn standby_dir(&self) -> PathBuf {
        self.dir.join("standby")
    }

    async fn start_server(&mut self) {
        self.server = Some(start(self.server_dir(), &SETTINGS).await);
    }

    async fn start_standby(&mut self) {
        self.standby = Some(start(self.standby_dir(), &STANDBY_SETTINGS).await);
    }

    /// A session that is none of the service's, once the server takes one.
    async fn outsider(&self) -> AsyncPgConnection {
        connect(&self.server().database_url("postgres")).await
    }

    fn postmaster(&self) -> Pid {
        let pid_file = fs::read_to_string(self.server_dir().join("cluster/postmaster.pid")).unwrap();
        pid(pid_file.lines().next().unwrap().parse().unwrap())
    }

    /// A process that works for the service, if one does.
    async fn backend(&self, rng: &mut Rng) -> Option<Pid> {
        let mut outsider = self.outsider().await;
        let sessions = service_sessions(&mut outsider).await.ok()?;
        rng.choice(sessions).map(pid)
    }

    async fn terminate_one(&self, rng: &mut Rng) -> Option<Kind> {
        let session = self.backend(rng).await?.as_raw_pid();
        let sql = format!("SELECT pg_terminate_backend({session})");
        self.outsider().await.batch_execute(&sql).await.ok()?;
        Some(Kind::other("session ended"))
    }

    async fn terminate_all(&self) -> QueryResult<()> {
        let sql = format!("SELECT pg_terminate_backend(pid) {OF_THE_SERVICE}");
        self.outsider().await.batch_execute(&sql).await
    }

    async fn kill_backend(&self, rng: &mut Rng) -> Option<Kind> {
        send(self.backend(rng).await?, Signal::KILL)?;
        // The server notices at some moment that one of its processes is gone: then it ends the others.
        sleep(CONNECT_PAUSE * 5).await;
        drop(self.outsider().await);
        Some(Kind::kill("PostgreSQL backend killed"))
    }

    /// All processes of the server end with the first, and the next server recovers what is on disk.
    async fn kill_server(&mut self) -> Kind {
        send(self.postmaster(), Signal::KILL).expect("it runs");
        let server = self.server.take().expect("it runs");
        spawn_blocking(move || server.stop()).await.unwrap().unwrap();
        self.start_server().await;
        Kind::kill("PostgreSQL server killed")
    }

    async fn hold_a_row(&self, rng: &mut Rng) -> Option<Kind> {
        let millis = for_a_while(rng, 100..=3_000).as_millis();
        let sql = format!(
            "BEGIN; SELECT FROM accounts WHERE account_id = \
                 (SELECT account_id FROM accounts ORDER BY update_time DESC OFFSET {} LIMIT 1) FOR UPDATE; \
             SELECT pg_sleep({millis} / 1000.0); COMMIT",
            rng.u8(..6)
        );
        connect(&self.url()).await.batch_execute(&sql).await.ok()?;
        Some(Kind::other("row locked by others"))
    }

    /// No commit is answered until it is back.
    async fn take_standby_away(&mut self, rng: &mut Rng) -> Kind {
        let away_for = match rng.u8(..4) {
            0 => Duration::from_millis(rng.u64(LONG_AWAY)),
            _ => for_a_while(rng, 100..=3_000),
        };
        if rng.bool() {
            signal_server(&self.standby_dir(), Signal::STOP);
            sleep(away_for).await;
            signal_server(&self.standby_dir(), Signal::CONT);
            return Kind::other("synchronous standby frozen");
        }
        let standby = self.standby.take().expect("it runs");
        spawn_blocking(move || standby.stop()).await.unwrap().unwrap();
        sleep(away_for).await;
        self.start_standby().await;
        Kind::other("synchronous standby stopped")
    }

    /// What a failover looks like to the service: every session ends, and new ones find a server that takes no writes;
    /// then they end again.
    async fn be_a_standby(&self, rng: &mut Rng) -> Kind {
        let standby_for = for_a_while(rng, 100..=1_000);
        for (is_standby, lasting) in [("on", standby_for), ("off", Duration::ZERO)] {
            let sql = format!("ALTER DATABASE billing SET default_transaction_read_only = {is_standby}");
            self.outsider().await.batch_execute(&sql).await.unwrap();
            self.terminate_all().await.unwrap();
            sleep(lasting).await;
        }
        Kind::other("PostgreSQL read-only for a moment")
    }

    /// What a failover looks like that ends no session: those that there are take no more writes, and new ones do.
    async fn be_demoted(&self, rng: &mut Rng) -> Kind {
        let demoted_for = for_a_while(rng, 100..=1_000);
        for (is_demoted, lasting) in [("on", demoted_for), ("off", Duration::ZERO)] {
            let mut outsider = self.outsider().await;
            let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {is_demoted}");
            outsider.batch_execute(&sql).await.unwrap();
            outsider.batch_execute("SELECT pg_reload_conf()").await.unwrap();
            sleep(lasting).await;
        }
        Kind::other("PostgreSQL sessions demoted")
    }
}

impl Breakable for Database {
    const PAUSE_MAX: Duration = Duration::from_secs(2);

    async fn break_and_mend(&mut self, rng: &mut Rng) -> Option<Kind> {
        match rng.u8(..24) {
            0..=2 => self.terminate_one(rng).await,
            3..=4 => self.terminate_all().await.ok().map(|()| Kind::other("all sessions ended")),
            5..=11 => self.kill_backend(rng).await,
            12..=13 => Some(self.kill_server().await),
            14..=15 => freeze(self.backend(rng).await?, for_a_while(rng, 100..=2_000)).await,
            16 => freeze(self.postmaster(), for_a_while(rng, 100..=1_000)).await,
            17..=18 => self.hold_a_row(rng).await,
            19 => Some(self.be_a_standby(rng).await),
            20 => Some(self.be_demoted(rng).await),
            _ => Some(self.take_standby_away(rng).await),
        }
    }
}

async fn start(dir: PathBuf, settings: &'static [(&str, &str)]) -> PrivatePostgres {
    let started = spawn_blocking(move || PrivatePostgres::start(&dir, settings)).await.unwrap();
    started.unwrap_or_else(|error| panic!("PostgreSQL does not start: {error}"))
}

async fn freeze(process: Pid, lasting: Duration) -> Option<Kind> {
    send(process, Signal::STOP)?;
    sleep(lasting).await;
    send(process, Signal::CONT)?;
    Some(Kind::other("PostgreSQL process frozen"))
}

/// Sends a signal, unless the process has just ended.
fn send(process: Pid, signal: Signal) -> Option<()> {
    kill_process(process, signal).ok()
}

async fn connect(url: &str) -> AsyncPgConnection {
    for _ in 0..CONNECTS_MAX {
        if let Ok(connection) = AsyncPgConnection::establish(url).await {
            return connection;
        }
        sleep(CONNECT_PAUSE).await;
    }
    panic!("PostgreSQL takes no connections");
}

/// The processes that work for the service.
async fn service_sessions(outsider: &mut AsyncPgConnection) -> QueryResult<Vec<i32>> {
    dsl::sql::<Integer>(&format!("SELECT pid {OF_THE_SERVICE}")).load(outsider).await
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("the number of a process")
}
