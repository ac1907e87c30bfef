//! The service as it is delivered: the release binary, in a process of its own, on a migrated database.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::{
    postgres::Postgres,
    process::{ServerProcess, command, free_address, output_of},
};

const MIGRATE_PATIENCE: Duration = Duration::from_secs(60);

/// The binary to measure, and how to run it.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    flags: Vec<String>,
    books: u8,
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Service(ServerProcess);

/// Resident memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Program {
    pub(crate) fn find(path: Option<PathBuf>, flags: Vec<String>, books: u8) -> anyhow::Result<Self> {
        let path = path.unwrap_or_else(built);
        ensure!(path.is_file(), "there is no {}: run `cargo build --release` first", path.display());
        Ok(Self { path, flags, books })
    }

    /// The binary without what the environment might tell it, so that its defaults are what is measured.
    fn command(&self) -> Command {
        let mut command = command(&self.path);
        let of_the_service =
            |name: &str| ["BILLING_", "OTEL_", "DATABASE_URL"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_the_service)) {
            command.env_remove(name);
        }
        command.env("BILLING_LOG_LEVEL", "warn");
        command
    }

    pub(crate) async fn migrate(&self, postgres: &Postgres, database: &str) -> anyhow::Result<()> {
        let mut command = self.command();
        command.args(["migrate", "--database-url", &postgres.url(database)]);
        if self.books > 1 {
            command.args(["--books", &self.books.to_string()]);
        }
        output_of(&mut command, MIGRATE_PATIENCE).await?;
        Ok(())
    }

    pub(crate) async fn serve(&self, database_url: &str, flags: &[&str]) -> anyhow::Result<Service> {
        let mut command = self.command();
        let address = free_address().await?;
        command.args(["serve", "--database-url", database_url, "--listen", &address]);
        command.args(["--drain-delay", "0s"]).args(&self.flags).args(flags);
        // Several services run at once, and a fixed port would be taken.
        command.env("BILLING_METRICS_LISTEN", free_address().await?);
        ServerProcess::start(command, address).await.context("cannot serve").map(Service)
    }
}

impl Service {
    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.0.pid().context("the service has ended")
    }

    pub(crate) fn resident(&self) -> anyhow::Result<Resident> {
        let pid = self.pid()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let read = |field| field_of(&status, field).with_context(|| format!("no {field}"));
        Ok(Resident { now: read("VmRSS")?, peak: read("VmHWM")? })
    }

    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        self.0.ensure_running()
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.0.stop().await
    }
}

/// Where cargo puts the release binary of the service.
fn built() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release/billing")
}

/// A field of `/proc/PID/status`, such as `VmRSS:     9876 kB`.
fn field_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        let status = "Name:\tbilling\nVmHWM:\t   12345 kB\nVmRSS:\t    9876 kB\nThreads:\t3\n";
        assert_eq!(field_of(status, "VmRSS"), Some(9876));
        assert_eq!(field_of(status, "VmHWM"), Some(12345));
        assert_eq!(field_of(status, "Vm"), None);
    }
}
