//! Runs a private, durable PostgreSQL server from the machine's own binaries.
//!
//! `billing serve` uses it when it is given no database. `fsync` and `synchronous_commit` stay on, so the data
//! are as safe as in any other PostgreSQL. The server listens on a Unix socket only.
//!
//! | in the data directory | |
//! |---|---|
//! | `cluster/` | the data; called `cluster.new/` until they are complete |
//! | `socket/` | the server's socket, in a directory that only the server's user (and root) may enter |
//! | `lock` | locked by the service that uses the directory |
//! | `postgres.log` | what the server reports; locked until the last process that writes to it has ended |
//! | `postgres.log.old` | what was reported earlier, put aside when the log had grown large |
//!
//! A directory without a cluster must have nothing else in it, and nobody else may write to it.

mod account;
mod binaries;
mod data_dir;
mod log;

use std::convert::Infallible;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tracing::{info, warn};

use account::Account;
use binaries::find_bin_dir;
use log::LogKeeper;

/// Part of the socket's name; nothing listens on TCP.
const PORT: &str = "5432";
/// How long a start waits for the server of a killed service to stop.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop waits: first for a fast shutdown, then for an immediate one.
const SHUTDOWN_PATIENCE: [(Signal, Duration); 2] =
    [(Signal::INT, Duration::from_secs(30)), (Signal::QUIT, Duration::from_secs(10))];
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why the private PostgreSQL did not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivatePostgresError {
    /// No binaries of this version were found.
    #[error(
        "found no PostgreSQL {0} in $PG_BIN_DIR, or if unset in $PATH and where Debian and Homebrew put it; \
         install it by `apt-get install postgresql` (Debian, Ubuntu) or `brew install postgresql@17` (macOS)"
    )]
    BinariesNotFound(String),
    /// Another service has this data directory.
    #[error("another service is using the data directory {dir}", dir = .0.display())]
    InUse(PathBuf),
    /// The server of a killed service still works on this cluster.
    #[error("an earlier server is still running; stop it with `pg_ctl stop -D {dir}`", dir = .0.display())]
    PredecessorRunning(PathBuf),
    /// There is something in the directory that the service does not put there.
    #[error(
        "{dir} is not a data directory of this service, since it holds {path}; use a new or an empty directory",
        dir = .0.display(),
        path = .1.display()
    )]
    NotOurs(PathBuf, PathBuf),
    /// A part of the data directory, or of the way to it, is somebody else's.
    #[error(
        "{path} belongs to uid {1}, not to uid {2}; use another data directory, or `chown` it if it is yours",
        path = .0.display()
    )]
    Foreign(PathBuf, u32, u32),
    /// Others could change what is in the data directory, or put something in its place.
    #[error(
        "others may write to {path}; `chmod go-w` it, or use another data directory",
        path = .0.display()
    )]
    WritableByOthers(PathBuf),
    /// A link may lead to what is not the service's.
    #[error(
        "{path} is a symbolic link; name the directory itself, and keep everything in it",
        path = .0.display()
    )]
    Linked(PathBuf),
    /// The server has ended while it was in use.
    #[error("the PostgreSQL server has ended with {0}; the log ends with:\n{1}")]
    Died(ExitStatus, String),
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL cannot run as root, and there is no user `postgres` or `nobody` that it could run as"
    )]
    NoAccount,
    /// The way to the data leads through a directory that is closed to the server's user.
    #[error(
        "the server's user (uid {1}) may not enter {dir}; `chmod o+x` it or use another data directory",
        dir = .0.display()
    )]
    NotTraversable(PathBuf, u32),
    /// A program of PostgreSQL ended like this, with this at the end of the log.
    #[error("{program} ended with {1}; the log ends with:\n{2}", program = .0.display())]
    Failed(PathBuf, ExitStatus, String),
    /// The server did not even obey the order to stop immediately.
    #[error("the PostgreSQL server does not stop")]
    NotStopped,
    /// The operating system refused to do something with this file, directory or program.
    #[error("cannot {0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
}

use PrivatePostgresError as Error;
type Result<T, E = Error> = std::result::Result<T, E>;

/// A running server. It stops when this value is dropped and, on Linux, when this process ends in any way.
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
        let database = percent_encode(database.as_bytes());
        let host = percent_encode(self.cluster.socket_dir.as_os_str().as_bytes());
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

    /// Sees that the server has not ended. A crash of one of its sessions is no end: it recovers from that by itself.
    ///
    /// # Errors
    ///
    /// With how it ended, if it has.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.wait(Duration::ZERO)? {
            None => Ok(()),
            Some(status) => Err(Error::Died(status, self.cluster.log_tail())),
        }
    }

    /// Waits for the report in the server's pid file, as `pg_ctl` does; a crash may have left one behind.
    ///
    /// There is no deadline, because recovery after a crash takes the time it takes.
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

    /// How the server ended, if it does so within this time.
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

/// The data of a server, and what every program that works on them is run with.
#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    socket_dir: PathBuf,
    bin_dir: PathBuf,
    account: Option<Account>,
    log_path: PathBuf,
    log: File,
}

impl Cluster {
    /// Prepares to work on the cluster of a data directory, which may not exist yet, once nothing else does.
    fn open(data_dir: &Path) -> Result<Self> {
        let [dir, socket_dir, log_path] =
            ["cluster", "socket", "postgres.log"].map(|name| data_dir.join(name));
        let bin_dir = find_bin_dir(&dir)?;
        let account = Account::for_cluster(&dir)?;
        if let Some(account) = &account {
            account.check_may_enter(data_dir)?;
        }
        let log = lock(&log_path, PREDECESSOR_PATIENCE, Error::PredecessorRunning(dir.clone()))?;
        Ok(Self { dir, socket_dir, bin_dir, account, log_path, log })
    }

    /// Makes the cluster under another name until all of it is on disk, so that half a cluster is never used.
    fn initialise(&self) -> Result<()> {
        info!(cluster = %self.dir.display(), "making the cluster of the private PostgreSQL");
        let unfinished = self.dir.with_extension("new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(refused("remove", &unfinished))?;
        }
        self.create_private_dir(&unfinished)?;
        let mut initdb = self.command("initdb")?;
        initdb
            .args(["-U", "billing", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(&unfinished);
        self.run("initdb", initdb, "")?;
        let mut postgres = self.command("postgres")?;
        postgres.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(&unfinished).arg("postgres");
        self.run("postgres", postgres, "CREATE DATABASE billing\n")?;
        let rename = || {
            fs::rename(&unfinished, &self.dir)?;
            File::open(self.dir.join(".."))?.sync_all()
        };
        rename().map_err(refused("rename", &unfinished))
    }

    fn server_command(&self, settings: &[(&str, &str)]) -> Result<Command> {
        if !self.socket_dir.exists() {
            self.create_private_dir(&self.socket_dir)?;
        }
        let mut command = self.command("postgres")?;
        command
            .args(["-p", PORT, "-c", "listen_addresses=", "-D"])
            .arg(&self.dir)
            .arg("-k")
            .arg(&self.socket_dir);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        #[cfg(target_os = "linux")]
        stop_with_this_process(&mut command);
        Ok(command)
    }

    /// A command that shares only the locked log with this process, and that a Ctrl-C in the terminal misses.
    ///
    /// `Command::uid` drops the supplementary groups of root as well.
    fn command(&self, program: &str) -> Result<Command> {
        let log = self.log.try_clone().map_err(refused("share", &self.log_path))?;
        let mut command = Command::new(self.bin_dir.join(program));
        command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    fn run(&self, program: &str, mut command: Command, input: &str) -> Result<()> {
        let refused = refused("run", &self.bin_dir.join(program));
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(&refused)?;
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let status = child.wait().map_err(&refused)?;
        if !status.success() {
            return Err(self.failure(program, status));
        }
        written.map_err(refused)
    }

    fn failure(&self, program: &str, status: ExitStatus) -> Error {
        Error::Failed(self.bin_dir.join(program), status, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log_path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn pid_file(&self) -> String {
        fs::read_to_string(self.dir.join("postmaster.pid")).unwrap_or_default()
    }

    fn create_private_dir(&self, dir: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(dir).map_err(refused("create", dir))?;
        let Some(Account { uid, gid }) = self.account else { return Ok(()) };
        chown(dir, Some(uid), Some(gid)).map_err(refused("give away", dir))
    }
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

/// Makes the command end by a fast shutdown when this process is gone, even by `kill -9`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "only the child itself can ask for a death signal, between fork and exec")]
fn stop_with_this_process(command: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::INT))?;
        let too_late = getppid() != Some(parent);
        if too_late { Err(rustix::io::Errno::SRCH.into()) } else { Ok(()) }
    };
    // SAFETY: after the fork `ask` only makes two system calls; it does not allocate, lock or panic.
    unsafe { command.pre_exec(ask) };
}

/// Locks a file, which exists from then on, until its last duplicate is closed.
fn lock(path: &Path, patience: Duration, locked: Error) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path).map_err(refused("open", path))?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            Err(TryLockError::WouldBlock) => return Err(locked),
            Err(TryLockError::Error(source)) => return Err(refused("lock", path)(source)),
        }
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    let encode = |&byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

fn refused(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io(action, path.clone(), source)
}
