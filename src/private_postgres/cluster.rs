//! The cluster of a server: its data, and the PostgreSQL programs that work on it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::Signal;
use tracing::info;

use super::account::Account;
use super::binaries::find_bin_dir;
use super::error::{Error, Result, refused};

/// Part of the socket's name; nothing listens on TCP.
pub(super) const PORT: &str = "5432";
/// How long a start waits for the server of a killed service to stop.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(30);
/// How often a lock is tried.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The data of a server, and what its programs are run with.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) dir: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) bin_dir: PathBuf,
    account: Option<Account>,
    pub(super) log_path: PathBuf,
    pub(super) log: File,
}

impl Cluster {
    /// Opens the cluster of a data directory, which may not exist yet, once nothing else works on it.
    pub(super) fn open(data_dir: &Path) -> Result<Self> {
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

    /// Creates the cluster under a temporary name until all of it is on disk, so that a partial cluster is never used.
    pub(super) fn initialise(&self) -> Result<()> {
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

    pub(super) fn server_command(&self, settings: &[(&str, &str)]) -> Result<Command> {
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

    /// A command that shares only the locked log with this process, and does not receive Ctrl-C from the terminal.
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

    pub(super) fn failure(&self, program: &str, status: ExitStatus) -> Error {
        Error::Failed(self.bin_dir.join(program), status, self.log_tail())
    }

    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(&self.log_path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    pub(super) fn pid_file(&self) -> String {
        fs::read_to_string(self.dir.join("postmaster.pid")).unwrap_or_default()
    }

    fn create_private_dir(&self, dir: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(dir).map_err(refused("create", dir))?;
        let Some(Account { uid, gid }) = self.account else { return Ok(()) };
        chown(dir, Some(uid), Some(gid)).map_err(refused("give away", dir))
    }
}

/// Makes the server shut down (fast) when this process ends, even by `kill -9`.
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

/// Locks a file, creating it if needed, until its last duplicate is closed.
pub(super) fn lock(path: &Path, patience: Duration, locked: Error) -> Result<File> {
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
