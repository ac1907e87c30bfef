//! The one PostgreSQL server that everything is measured on, durable, with its data in a new directory.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use billing::private_postgres::PrivatePostgres;
use tokio::process::Command;

use crate::process::{command, output_of};

const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("max_connections", "200"),
];
const QUERY_PATIENCE: Duration = Duration::from_secs(600);

/// A running server. When it is dropped it stops, and its data are removed.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: PrivatePostgres, // stops before its data go
    dir: DataDir,
}

#[derive(Debug)]
struct DataDir(PathBuf);

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Where the server stood before something was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    wal_bytes: u64,
    transactions: u64,
}

/// What was written while something was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) wal_bytes: u64,
    /// Only those that wrote.
    pub(crate) transactions: u64,
}

impl Postgres {
    /// Starts a server in a new directory below `parent`, and refuses to go on if it is not durable.
    pub(crate) async fn start(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(env::temp_dir, Path::to_owned);
        let dir = DataDir(parent.join(format!("billing-bench-{}", process::id())));
        let server = PrivatePostgres::start(&dir.0, &SETTINGS).context("cannot start PostgreSQL")?;
        let postgres = Self { server, dir };
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value = postgres.query("postgres", &format!("SHOW {setting}")).await?;
            ensure!(value == "on", "{setting} is {value}: nothing measured so would mean anything");
        }
        Ok(postgres)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.dir.0
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.server.database_url(database)
    }

    /// The first process, which has started all others.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let path = self.dir.0.join("cluster/postmaster.pid");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.lines().next().and_then(|line| line.trim().parse().ok()).context("no process in postmaster.pid")
    }

    /// The socket that it listens on.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        let sockets = fs::read_dir(self.dir.0.join("socket"))?.flatten().map(|entry| entry.path());
        let is_socket = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "lock");
        sockets.into_iter().find(is_socket).context("PostgreSQL has no socket")
    }

    /// One of PostgreSQL's own programs.
    pub(crate) fn program(&self, name: &str) -> Command {
        command(self.server.bin_dir().join(name))
    }

    /// `psql` on a database, which stops at the first error.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database)]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }

    pub(crate) async fn query(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = self.psql(database);
        output_of(psql.args(["-c", sql]), QUERY_PATIENCE).await.with_context(|| sql.to_owned())
    }

    /// An empty database, whatever was there before.
    pub(crate) async fn recreate(&self, database: &str) -> anyhow::Result<()> {
        self.query("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
        self.query("postgres", &format!("CREATE DATABASE {database}")).await?;
        Ok(())
    }

    pub(crate) async fn version_and_settings(&self) -> anyhow::Result<(String, String)> {
        let version = self.query("postgres", "SHOW server_version").await?;
        let names = SETTINGS.iter().map(|(name, _)| *name);
        let mut settings = Vec::new();
        for name in ["fsync", "synchronous_commit", "full_page_writes"].into_iter().chain(names) {
            settings.push(format!("{name}={}", self.query("postgres", &format!("SHOW {name}")).await?));
        }
        Ok((version, settings.join(" ")))
    }

    pub(crate) async fn mark(&self) -> anyhow::Result<Mark> {
        // Every transaction that writes takes the next number, so the numbers count them exactly and at once.
        let sql = "SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())";
        let row = self.query("postgres", sql).await?;
        let (wal_bytes, transactions) = row.split_once('|').context("two columns were expected")?;
        Ok(Mark { wal_bytes: wal_bytes.parse()?, transactions: transactions.parse()? })
    }

    pub(crate) async fn written_since(&self, mark: Mark) -> anyhow::Result<Written> {
        let now = self.mark().await?;
        Ok(Written {
            wal_bytes: now.wal_bytes - mark.wal_bytes,
            transactions: now.transactions - mark.transactions,
        })
    }
}
