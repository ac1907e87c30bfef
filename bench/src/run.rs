//! The plan of a run: rounds of interleaved steps, then what is measured once.

mod growth;
mod memory;
mod open_loop;
mod round;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::{
    generator::Load,
    load::{Sample, Work},
    machine::Machine,
    peers::Peers,
    postgres::Postgres,
    results::{Extent, Results},
    service::Program,
    steps::{self, Step, System, unknown, wanted},
};

/// What to measure, and for how long.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    /// One short round, smaller books, fewer calls and no peers: about four minutes, and rough.
    #[arg(long)]
    quick: bool,
    /// How many rounds [default: 3; quick: 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// How long to measure each step [default: 8; quick: 2].
    #[arg(long)]
    seconds: Option<u64>,
    /// Measure this, and what it is compared with: a name of results.json or its first part, such as `many` or
    /// `many-256`; also `open-loop`, `memory`, `growth`. May be given several times.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Leave out the other ledgers of `bench/peers`.
    #[arg(long)]
    no_peers: bool,
    /// Further flags of `billing serve`, such as `--billing-flags "--writers 2"`.
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true, default_value = "")]
    billing_flags: String,
    /// How many books the ledgers have whose accounts are called.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    books: u8,
    /// The binary to measure [default: the release build of this repository].
    #[arg(long, value_name = "PATH")]
    billing: Option<PathBuf>,
    /// Where PostgreSQL keeps its data while measuring [default: the directory for temporary files].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What every measurement needs.
struct Bench {
    postgres: Postgres,
    program: Program,
    extent: Extent,
    steps: Vec<Step>,
    peers: Option<Peers>,
}

/// Measures everything that was asked for.
pub(crate) async fn run(flags: &RunFlags) -> anyhow::Result<Results> {
    if let Some(unknown) = unknown(&flags.only) {
        bail!("there is no case {unknown:?}");
    }
    let extent = flags.extent();
    let program = Program::find(flags.billing.clone(), extent.billing_flags.clone(), flags.books)?;
    let mut results = Results { extent: extent.clone(), ..Results::default() };
    let mut steps = steps::chosen(&extent.only);
    let peers = flags.peers(&steps, &mut results).await;
    if peers.is_none() {
        steps.retain(|step| !matches!(step.system, System::Peer { .. }));
    }
    let postgres = Postgres::start(flags.data_dir.as_deref()).await?;
    results.machine = Machine::describe(&postgres).await?;
    let bench = Bench { postgres, program, extent, steps, peers };
    bench.measure(&mut results).await;
    Ok(results)
}

impl RunFlags {
    /// Whether everything of this very commit is measured, as it is delivered.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_empty() && self.billing_flags.is_empty() && self.billing.is_none() && self.books == 1
    }

    fn extent(&self) -> Extent {
        let (rounds, seconds, warm_up) = if self.quick { (1, 2, 1) } else { (3, 8, 2) };
        Extent {
            quick: self.quick,
            rounds: self.rounds.unwrap_or(rounds).max(1),
            seconds: self.seconds.unwrap_or(seconds).max(1),
            warm_up,
            billing_flags: self.billing_flags.split_whitespace().map(str::to_owned).collect(),
            only: self.only.clone(),
        }
    }

    /// The other ledgers, if they are wanted. That they do not build is noted, and no failure.
    async fn peers(&self, steps: &[Step], results: &mut Results) -> Option<Peers> {
        let wanted = steps.iter().any(|step| matches!(step.system, System::Peer { .. }));
        if self.quick || self.no_peers || !wanted {
            results.notes.push("The other ledgers were left out.".to_owned());
            return None;
        }
        let built = Peers::build().await;
        let note = match built {
            Ok(Some(peers)) => return Some(peers),
            Ok(None) => "There is no bench/peers, so no other ledger was measured.".to_owned(),
            Err(error) => format!("No other ledger was measured: {error:#}."),
        };
        results.notes.push(note);
        None
    }
}

impl Bench {
    /// What cannot be measured does not keep the rest from being measured.
    async fn measure(&self, results: &mut Results) {
        let asked = |name| wanted(&self.extent.only, name);
        let rounds = if self.steps.is_empty() { 0 } else { self.extent.rounds };
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            let done = self.measure_round(results).await;
            results.note_failure("round", done);
        }
        if asked("open-loop") {
            let done = self.measure_open_loop(results).await;
            results.note_failure("open-loop", done);
        }
        if asked("memory") {
            let done = self.measure_memory(results).await;
            results.note_failure("memory", done);
        }
        if asked("growth") {
            let done = self.measure_growth(results).await;
            results.note_failure("growth", done);
        }
    }

    /// Credits over many accounts.
    fn credits(&self, in_flight: usize) -> Load {
        let Extent { seconds, warm_up, .. } = self.extent;
        Load { work: Work::Credit, in_flight, rate: None, accounts: 10_000, seconds, warm_up }
    }
}

impl Results {
    fn note_failure(&mut self, name: &str, done: anyhow::Result<()>) {
        if let Err(error) = done {
            eprintln!("  {name:17} FAILED: {error:#}");
            self.failures.push(format!("{name}: {error:#}"));
        }
    }

    /// Takes what a step found. A step that failed leaves no sample, so that nothing is computed from it.
    fn take(&mut self, name: &str, measured: anyhow::Result<Sample>) -> Option<Sample> {
        let fault = match measured {
            Ok(sample) => match sample.fault() {
                None => {
                    eprintln!("  {name:17} {}", sample.summary());
                    return Some(sample);
                }
                Some(fault) => fault,
            },
            Err(error) => format!("{error:#}"),
        };
        eprintln!("  {name:17} FAILED: {fault}");
        self.failures.push(format!("{name}: {fault}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunFlags,
    }

    fn is_whole(flags: &[&str]) -> bool {
        Cli::parse_from([&["bench"], flags].concat()).run.is_whole()
    }

    #[test]
    fn only_a_run_of_everything_as_it_is_delivered_belongs_to_the_history() {
        assert!(is_whole(&[]));
        assert!(is_whole(&["--quick", "--no-peers", "--rounds", "2"]));
        assert!(!is_whole(&["--only", "many-256"]));
        assert!(!is_whole(&["--billing-flags", "--writers 2"]));
        assert!(!is_whole(&["--books", "4"]));
        assert!(!is_whole(&["--billing", "/elsewhere/billing"]));
    }
}
