//! Runs a private, durable PostgreSQL server from the binaries that are installed on this machine.
//!
//! `billing serve` uses it when no database is given. `fsync` and `synchronous_commit` stay on, so the data are as safe as
//! in any other PostgreSQL. The server listens on a Unix socket only.
//!
//! | path in the data directory | contents |
//! |---|---|
//! | `cluster/` | the data; `cluster.new/` until they are complete |
//! | `socket/` | the server's socket; only the server's user (and root) may enter |
//! | `lock` | locked by the service that uses the directory |
//! | `postgres.log` | the server's log; locked until the last process that writes to it has ended |
//! | `postgres.log.old` | the previous log, rotated when it had grown large |
//!
//! A directory without a cluster must be empty, and no other user may write to it.

mod account;
mod binaries;
mod cluster;
mod data_dir;
mod error;
mod log;

use std::convert::Infallible;
use std::env;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tracing::{info, warn};

use cluster::{Cluster, PORT, lock};
pub use error::PrivatePostgresError;
use error::{Error, Result, refused};
use log::LogKeeper;

/// The characters that a part of a URL need not encode.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');
/// How long a stop waits: first for a fast shutdown, then for an immediate one.
const SHUTDOWN_PATIENCE: [(Signal, Duration); 2] =
    [(Signal::INT, Duration::from_secs(30)), (Signal::QUIT, Duration::from_secs(10))];
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running server. It stops when this value is dropped and, on Linux, when this process ends in any way whatsoever.
#[derive(Debug)]
pub struct PrivatePostgres {
    cluster: Cluster,
    server: Child,
    _spawner: Sender<Infallible>,
    _log_keeper: LogKeeper,
    _lock: File,
}

impl PrivatePostgres {
    /// Starts the server of a data directory and returns once it accepts connections.
    ///
    /// A new data directory gets a cluster with an empty database `billing`. `settings` are parameters of the
    /// server. Started by root, the server runs as the owner of the cluster: `postgres`, or else `nobody`.
    ///
    /// # Errors
    ///
    /// See [`PrivatePostgresError`].
    pub fn start(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let started = Instant::now();
        let data_dir = data_dir::claim(data_dir)?;
        let lock = lock(&data_dir.join("lock"), Duration::ZERO, Error::InUse(data_dir.clone()))?;
        let cluster = Cluster::open(&data_dir)?;
        if !cluster.dir.exists() {
            cluster.initialise()?;
        }
        let command = cluster.server_command(settings)?;
        let left_behind = cluster.pid_file();
        let log_keeper = LogKeeper::start(&cluster.log, &cluster.log_path)?;
        let (server, spawner) =
            spawn_from_lasting_thread(command).map_err(refused("run the server of", &cluster.dir))?;
        let mut postgres = Self { cluster, server, _spawner: spawner, _log_keeper: log_keeper, _lock: lock };
        postgres.wait_until_ready(&left_behind)?;
        let elapsed = started.elapsed();
        info!(data_dir = %data_dir.display(), ?elapsed, "the private PostgreSQL accepts connections");
        Ok(postgres)
    }

    /// A URL for connections to a database, understood by libpq and tokio-postgres.
    #[must_use]
    pub fn database_url(&self, database: &str) -> String {
        let database = percent_encode(database.as_bytes(), KEPT);
        let host = percent_encode(self.cluster.socket_dir.as_os_str().as_bytes(), KEPT);
        format!("postgres://billing@/{database}?host={host}&port={PORT}")
    }

    /// The directory of the server's program and of those that come with it, such as `psql`.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.cluster.bin_dir
    }

    /// Stops the server.
    ///
    /// # Errors
    ///
    /// See [`PrivatePostgresError`].
    pub fn stop(mut self) -> Result<()> {
        self.shut_down()
    }

    /// Fails if the server has ended. The crash of a backend is not an end: the server recovers from it.
    ///
    /// # Errors
    ///
    /// With the exit status, if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.wait(Duration::ZERO)? {
            None => Ok(()),
            Some(status) => Err(Error::Died(status, self.cluster.log_tail())),
        }
    }

    /// Waits for the report in the server's pid file, as `pg_ctl` does; a crash may have left one behind.
    ///
    /// There is no timeout, because crash recovery may take any time.
    fn wait_until_ready(&mut self, left_behind: &str) -> Result<()> {
        let reported = |pid_file: &str| {
            pid_file != left_behind && pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
        };
        while !reported(&self.cluster.pid_file()) {
            if let Some(status) = self.wait(POLL_INTERVAL)? {
                return Err(self.cluster.failure("postgres", status));
            }
        }
        Ok(())
    }

    fn shut_down(&mut self) -> Result<()> {
        for (signal, patience) in SHUTDOWN_PATIENCE {
            if self.wait(Duration::ZERO)?.is_some() {
                return Ok(());
            }
            let signalled = kill_process(Pid::from_child(&self.server), signal);
            signalled.map_err(io::Error::from).map_err(refused("signal the server of", &self.cluster.dir))?;
            if self.wait(patience)?.is_some() {
                return Ok(());
            }
        }
        Err(Error::NotStopped)
    }

    /// The exit status of the server, if it ends within this time.
    fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            let ended =
                self.server.try_wait().map_err(refused("wait for the server of", &self.cluster.dir))?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            warn!(%error, "the private PostgreSQL was not stopped");
        }
    }
}

/// `/var/lib/billing` for root, for everyone else a place below the XDG state directory.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/var/lib/billing");
    }
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    state.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".local/state")).join("billing")
}

/// Linux sends the death signal when the spawning *thread* ends; this one lasts until the sender is dropped.
fn spawn_from_lasting_thread(mut command: Command) -> io::Result<(Child, Sender<Infallible>)> {
    let (report, result) = mpsc::channel();
    let (spawner, dropped) = mpsc::channel();
    thread::Builder::new().name("postgres-spawner".to_owned()).spawn(move || {
        let _ = report.send(command.spawn());
        let _ = dropped.recv();
    })?;
    let server = result.recv().map_err(io::Error::other)??;
    Ok((server, spawner))
}
