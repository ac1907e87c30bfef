//! The commands of the program.

use std::{io::IsTerminal as _, path::Path, process::ExitCode, thread::available_parallelism};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::level_filters::LevelFilter;

use crate::{
    app,
    config::{Config, Database, ServeFlags},
    ledger,
    private_postgres::PrivatePostgres,
};

/// `EX_USAGE` of sysexits.h: the configuration is wrong, and trying again will not help.
const EXIT_USAGE: u8 = 64;

/// A prepaid-credit ledger over gRPC and PostgreSQL.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
    /// What to log: off, error, warn, info, debug or trace.
    #[arg(long, env = "BILLING_LOG_LEVEL", default_value = "info", global = true, value_name = "LEVEL")]
    log_level: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gRPC (the default).
    Serve(Box<ServeFlags>),
    /// Bring the schema of a database up to date. Safe to run from several places at once.
    Migrate(MigrateFlags),
}

#[derive(Debug, Args)]
struct MigrateFlags {
    /// The PostgreSQL database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

/// Runs the program, and returns its exit status: 0, 1 after a failure, 64 for a wrong configuration.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(cli.log_level)
        .init();
    let done = match cli.command {
        Some(Command::Migrate(flags)) => migrate(&flags.database_url),
        Some(Command::Serve(flags)) => return serve(&flags),
        None => return serve(&cli.serve),
    };
    exit_code(done)
}

fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("billing: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &ServeFlags) -> ExitCode {
    match Config::parse(flags) {
        Ok(config) => exit_code(serve_in_database(&config)),
        Err(error) => {
            eprintln!("billing: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn serve_in_database(config: &Config) -> anyhow::Result<()> {
    match &config.database {
        Database::Given(url) => runtime()?.block_on(serve_migrated(config, url)),
        Database::Private(data_dir) => serve_in_private_database(config, data_dir),
    }
}

fn serve_in_private_database(config: &Config, data_dir: &Path) -> anyhow::Result<()> {
    let postgres = PrivatePostgres::start(data_dir, &[]).context("cannot start a private PostgreSQL")?;
    let url = postgres.database_url("billing");
    tracing::warn!(url, "no --database-url: the book is in a private PostgreSQL on this machine");
    let served = runtime()?.block_on(async {
        ledger::migrate(&url).await.context("cannot migrate the private database")?;
        serve_migrated(config, &url).await
    });
    postgres.stop().context("cannot stop the private PostgreSQL")?;
    served
}

async fn serve_migrated(config: &Config, database_url: &str) -> anyhow::Result<()> {
    let pending = ledger::pending_migrations(database_url).await.context("cannot read the schema")?;
    if !pending.is_empty() {
        bail!("the schema is not up to date: run `billing migrate` first (pending: {})", pending.join(", "));
    }
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serving gRPC, without authentication, on loopback only");
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    app::serve(config, database_url, listener, shutdown).await
}

fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot wait for signals")
}

fn migrate(database_url: &str) -> anyhow::Result<()> {
    let done = runtime()?.block_on(ledger::migrate(database_url)).context("cannot migrate")?;
    match done.as_slice() {
        [] => println!("The schema is up to date."),
        done => println!("The schema is up to date now. Ran: {}", done.join(", ")),
    }
    Ok(())
}

/// A runtime that runs tasks in the order in which they were woken, on half of the processors.
///
/// By default it would run the task woken last first, so each answer of a batch would wake its connection at once and
/// leave in a write of its own: one system call for each answer here and one there, where now all answers that are ready
/// leave in one. Half of the processors can do more than the database can; more threads would spend their time waking
/// one another: docs/BENCHMARKS.md has the measurements.
fn runtime() -> anyhow::Result<Runtime> {
    let threads = available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(threads);
    #[cfg(tokio_unstable)] // set in .cargo/config.toml; without it all works, only slower
    builder.disable_lifo_slot();
    builder.enable_all().build().context("cannot start the runtime")
}
