//! The commands of the program.

mod audit;
mod books;
#[cfg(test)]
mod configuration_page;
mod console;
mod destination;
mod execution;
mod export;
mod flags;
mod import;
mod migrate;
mod output;
mod preflight;
mod progress;
mod serve;
mod signals;
mod split;
mod table;
mod token;

use std::{
    env,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    config::{ConsoleFlags, ServeFlags},
    telemetry::start_log,
};
use execution::{EXIT_USAGE, exit_code};
use flags::LogFlags;
use token::TokenCommand;

/// A prepaid-credit ledger over gRPC and PostgreSQL.
// Not `Debug`, nor what it is made of: a URL may hold a password.
#[derive(Parser)]
#[command(version = env!("BILLING_VERSION"), args_conflicts_with_subcommands = true, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
    #[command(flatten)]
    log: LogFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the ledger over gRPC. The default command.
    Serve(Box<ServeFlags>),
    /// Make a ledger, or bring its schema up to date. Several may run at once.
    Migrate(migrate::MigrateFlags),
    /// Check that the whole book adds up. Only reads; runs beside the service or on a standby.
    #[command(after_help = audit::AFTER_HELP)]
    Audit(audit::AuditFlags),
    /// Write the journal as CSV, JSON Lines or double-entry bookkeeping. Only reads.
    #[command(after_help = export::AFTER_HELP)]
    Export(export::ExportFlags),
    /// Report what an import would find in the replaced system's database, and what it would do. Only reads.
    #[command(after_help = preflight::AFTER_HELP)]
    Preflight(preflight::PreflightFlags),
    /// Import the history of a replaced system. Each run imports what is missing; both systems may go on meanwhile.
    #[command(after_help = import::AFTER_HELP)]
    Import(import::ImportFlags),
    /// Copy a ledger with one book into one with several, while the old one serves.
    #[command(after_help = split::AFTER_HELP)]
    Split(split::SplitFlags),
    /// List the books of a ledger, or move one to another node.
    #[command(after_help = books::AFTER_HELP)]
    Books(books::BooksFlags),
    /// Serve the operator's console: pages in a browser. A client of the service, without access to the database.
    #[command(after_help = console::AFTER_HELP)]
    Console(Box<ConsoleFlags>),
    /// Make bearer tokens for callers.
    #[command(subcommand)]
    Token(TokenCommand),
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
    let command = cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
    if !matches!(command, Command::Serve(_)) {
        start_log(cli.log.log_level, cli.log.log_format, None);
    }
    let done = match command {
        Command::Migrate(flags) => migrate::migrate(&flags),
        Command::Audit(flags) => return audit::audit(&flags),
        Command::Export(flags) => export::export(&flags),
        Command::Preflight(flags) => return preflight::preflight(&flags),
        Command::Import(flags) => return import::import(&flags),
        Command::Books(flags) => books::books(&flags),
        Command::Split(flags) => split::split(&flags),
        Command::Console(flags) => console::serve(&flags),
        Command::Token(TokenCommand::New(flags)) => token::new_token(&flags),
        Command::Serve(flags) => serve::serve(&flags, cli.log),
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
