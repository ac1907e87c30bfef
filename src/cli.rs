//! The commands of the program.

mod accounts;
mod audit;
mod database;
mod destination;
mod export;
mod import;
mod output;
mod preflight;
mod progress;
mod signals;
mod source;
mod table;

use std::{
    env,
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{
    Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};
use tracing::level_filters::LevelFilter;

use database::DatabaseFlags;
use signals::Signals;

use crate::{
    access::{Roles, Token},
    accounting::CallerName,
    app,
    config::{Config, ConfigError, Database, ServeFlags},
    database::{DatabaseUrl, sessions_closed},
    file_limit, grpc,
    private_postgres::{PrivatePostgres, PrivatePostgresError},
    schema::{self, DatabaseUse},
    telemetry::{LogFormat, Traces, start_log},
};

/// `EX_USAGE` of sysexits.h: the configuration is wrong, and trying again will not help.
const EXIT_USAGE: u8 = 64;

/// How often it is looked at whether the private PostgreSQL is still there.
const SERVER_WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Not the numbers, which the parser of levels would take as well.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A prepaid-credit ledger over gRPC and PostgreSQL.
// Not `Debug`, nor what it is made of: a URL may hold a password.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
    /// What to log.
    #[arg(
        long,
        env = "BILLING_LOG_LEVEL",
        default_value = "info",
        global = true,
        value_name = "LEVEL",
        ignore_case = true,
        value_parser = PossibleValuesParser::new(LOG_LEVELS).try_map(|level| level.parse::<LevelFilter>())
    )]
    log_level: LevelFilter,
    /// How to log: human, json, or auto, which is human on a terminal and JSON elsewhere.
    #[arg(long, env = "BILLING_LOG_FORMAT", default_value = "auto", global = true, value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Serve gRPC (the default).
    Serve(Box<ServeFlags>),
    /// Bring the schema of a database up to date. Safe to run from several places at once.
    Migrate(DatabaseFlags),
    /// Check that the whole book adds up. Reads only, and may run beside the service or on a standby.
    #[command(after_help = audit::AFTER_HELP)]
    Audit(audit::AuditFlags),
    /// Write the journal for spreadsheets, programs and bookkeeping.
    #[command(after_help = export::AFTER_HELP)]
    Export(export::ExportFlags),
    /// Look through a replaced system's database before an import: what is in it, and what an import will do. Reads only.
    #[command(after_help = preflight::AFTER_HELP)]
    Preflight(preflight::PreflightFlags),
    /// Take the history of a replaced system into the book. May run again and again, and beside both systems.
    #[command(after_help = import::AFTER_HELP)]
    Import(import::ImportFlags),
    /// Bearer tokens for callers.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token. Prints the token to standard error, for the caller, and to standard output its line for the credentials
    /// file, which nobody can call with: `billing token new checkout coordinator >> credentials`.
    New(TokenFlags),
}

#[derive(Debug, Args)]
struct TokenFlags {
    /// The caller's name, which is kept with each entry that it asks for: 1 to 64 visible ASCII characters.
    #[arg(value_parser = caller_name)]
    name: CallerName,
    /// What it may do: reader, coordinator or admin, or several of them with commas between.
    #[arg(value_name = "ROLE[,ROLE]")]
    roles: Roles,
}

/// Runs the program, and returns its exit status: 0; 1 after a failure, also to write its report; 2 where an audit or a
/// preflight found something or an import left something out; 3 where a preflight found what cannot be imported; 64 for a
/// wrong configuration.
#[must_use]
pub fn run() -> ExitCode {
    let mut command = without_empty_variables(Cli::command());
    if !io::stdout().is_terminal() {
        command = command.term_width(0); // a program that reads help wants each flag on a line
    }
    let parsed = command.try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(said) => {
            let printed = said.print();
            if said.use_stderr() {
                return ExitCode::from(EXIT_USAGE);
            }
            return exit_code(printed.context("cannot write to standard output"));
        }
    };
    let log = LogSettings { level: cli.log_level, format: cli.log_format };
    let command = cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
    if !matches!(command, Command::Serve(_)) {
        start_log(log.level, log.format, None);
    }
    let done = match command {
        Command::Migrate(flags) => migrate(&flags),
        Command::Audit(flags) => return audit::audit(&flags),
        Command::Export(flags) => export::export(&flags),
        Command::Preflight(flags) => return preflight::preflight(&flags),
        Command::Import(flags) => return import::import(&flags),
        Command::Token(TokenCommand::New(flags)) => new_token(&flags),
        Command::Serve(flags) => serve(&flags, log),
    };
    exit_code(done)
}

/// A command for which an environment variable that is empty is one that is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(None) } else { arg })
        .mut_subcommands(without_empty_variables)
}

fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    output::complain(format_args!("billing: {error:#}"));
    match error.downcast_ref::<ConfigError>() {
        Some(_) => ExitCode::from(EXIT_USAGE),
        None => ExitCode::FAILURE,
    }
}

/// How to log.
#[derive(Clone, Copy)]
struct LogSettings {
    level: LevelFilter,
    format: LogFormat,
}

fn serve(flags: &ServeFlags, log: LogSettings) -> anyhow::Result<()> {
    let mut config = Config::parse(flags)?;
    let traces = config.traces.as_ref().map(Traces::start).transpose().context("cannot send traces")?;
    start_log(log.level, log.format, traces.as_ref());
    let connections_max = &mut config.server.connections.connections_max;
    *connections_max = file_limit::fit_connections(*connections_max);
    let served = serve_in_database(&config);
    if let Some(traces) = traces {
        traces.finish();
    }
    served
}

fn serve_in_database(config: &Config) -> anyhow::Result<()> {
    match &config.database {
        Database::Given(url) => carry_out(serve_migrated(config, url)),
        Database::Private(data_dir) => serve_in_private_database(config, data_dir),
    }
}

fn serve_in_private_database(config: &Config, data_dir: &Path) -> anyhow::Result<()> {
    let mut postgres = PrivatePostgres::start(data_dir, &[]).context("cannot start a private PostgreSQL")?;
    let url = postgres.database_url("billing");
    tracing::warn!(url, "no --database-url: the book is in a private PostgreSQL on this machine");
    let served = carry_out(async {
        let url = url.parse().context("cannot name the private database")?;
        let served = async {
            schema::migrate(&url).await.context("cannot migrate the private database")?;
            serve_migrated(config, &url).await
        };
        // Whatever starts the service again starts the server, too, in the one way that there is.
        tokio::select! {
            served = served => served,
            died = death_of(&mut postgres) => Err(died.into()),
        }
    });
    postgres.stop().context("cannot stop the private PostgreSQL")?;
    served
}

/// Waits until the server has ended without being told to, and says how.
async fn death_of(postgres: &mut PrivatePostgres) -> PrivatePostgresError {
    loop {
        if let Err(died) = postgres.check_alive() {
            return died;
        }
        tokio::time::sleep(SERVER_WATCH_INTERVAL).await;
    }
}

async fn serve_migrated(config: &Config, database_url: &DatabaseUrl) -> anyhow::Result<()> {
    let database_use = DatabaseUse::Serve { allow_unsafe: config.allow_unsafe_database };
    schema::check_database(database_url, database_use).await?;
    let pending = schema::pending_migrations(database_url).await.context("cannot read the schema")?;
    if !pending.is_empty() {
        bail!("the schema is not up to date: run `billing migrate` first (pending: {})", pending.join(", "));
    }
    let signals = Signals::catch()?;
    let listeners = app::Listeners {
        grpc: listen(config.listen)?,
        metrics: config.metrics_listen.map(listen).transpose()?,
    };
    say_who_may_call(config, &listeners)?;
    app::serve(config, database_url, listeners, signals.first()).await
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    grpc::listen(address).with_context(|| format!("cannot listen on {address}"))
}

fn say_who_may_call(config: &Config, listeners: &app::Listeners) -> anyhow::Result<()> {
    if let Some(listener) = &listeners.metrics {
        tracing::info!(url = format!("http://{}/metrics", listener.local_addr()?), "serving metrics");
    }
    let (credentials, tls) = (config.server.credentials.is_some(), config.server.tls.is_some());
    let address = listeners.grpc.local_addr()?;
    tracing::info!(credentials, tls, %address, "serving gRPC");
    if !credentials {
        tracing::warn!("no --credentials: everybody on this machine may do everything");
    } else if !tls && !address.ip().is_loopback() {
        tracing::warn!("no --tls-cert: bearer tokens can be read on the way, unless something else encrypts");
    }
    Ok(())
}

fn new_token(flags: &TokenFlags) -> anyhow::Result<()> {
    if output::is_lost(io::stdout())? != output::is_lost(io::stderr())? {
        bail!(
            "standard output or standard error is closed or /dev/null: half of what belongs together would be lost"
        );
    }
    let token = Token::random().context("the operating system has no random bytes")?;
    // The line first: a token whose line is not in the file is worth nothing, so nobody is shown it.
    output::say(format_args!("{} {} {}", flags.name, flags.roles, token.credential()))?;
    output::reveal(token.reveal())
}

fn caller_name(text: &str) -> Result<CallerName, String> {
    match CallerName::parse("the name", text) {
        Ok(name) if !text.contains('#') => Ok(name),
        Ok(_) => Err("the name must have no #, which begins a comment in the credentials file".into()),
        Err(invalid) => Err(invalid.to_string()),
    }
}

fn migrate(flags: &DatabaseFlags) -> anyhow::Result<()> {
    let database_url = flags.url()?;
    let migrated = async { Ok(schema::migrate(&database_url).await?) };
    let done = carry_out(migrated).context("cannot migrate")?;
    match done.as_slice() {
        [] => output::say("The schema is up to date."),
        done => output::say(format_args!("The schema is up to date now. Ran: {}", done.join(", "))),
    }
    .context("the schema is up to date")
}

/// Carries out a command, and takes leave of the databases that it has used, whether or not it failed.
fn carry_out<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime()?.block_on(async {
        let done = command.await;
        sessions_closed().await;
        done
    })
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
