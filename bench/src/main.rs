//! Measures billing side by side with what it replaces, with an empty gRPC call and with other ledgers, on one durable
//! PostgreSQL. `docs/BENCHMARKS.md` says what the numbers mean.

mod baseline;
mod chart;
mod comparison;
mod empty;
mod figures;
mod fill;
mod generator;
mod history;
mod load;
mod machine;
mod output;
mod peers;
mod postgres;
mod process;
mod processor;
mod relay;
mod report;
mod results;
mod run;
mod service;
mod statistics;
mod steps;
mod table;
mod targets;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use tokio::runtime;

use crate::{
    load::{FundFlags, LoadFlags},
    output::OutputFlags,
    relay::RelayFlags,
    run::RunFlags,
};

/// Measures billing side by side with what it replaces.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Call a server and print one line of JSON. A run starts this in a process of its own.
    Load(LoadFlags),
    /// Open accounts with money in them. A run starts this before it measures.
    Fund(FundFlags),
    /// Serve a call that does nothing, and take traces. A run starts this in a process of its own.
    Empty {
        /// The address to listen on.
        #[arg(long)]
        listen: String,
    },
    /// Pass on to PostgreSQL, and back, with a delay. A run starts this in a process of its own.
    Relay(RelayFlags),
    /// Show the kept results of an earlier run again.
    Report(OutputFlags),
}

/// 0 even when a target is not met; 1 when something could not be measured.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => run_all(&cli),
        Some(Command::Load(flags)) => load::run(flags),
        Some(Command::Fund(flags)) => load::fund(flags),
        Some(Command::Empty { listen }) => empty::serve(listen),
        Some(Command::Relay(flags)) => relay::serve(flags),
        Some(Command::Report(flags)) => flags.show_again(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(cli: &Cli) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(async {
        tokio::select! {
            results = run::run(&cli.run) => results,
            // Dropping the run stops its servers and removes their data.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    if cli.run.is_whole() {
        history::append(&results).context("cannot add to the history")?;
    }
    cli.output.keep_and_show(&results).context("cannot keep the results")?;
    if !results.failures.is_empty() {
        bail!("{} measurements failed; see the notes", results.failures.len());
    }
    Ok(())
}
