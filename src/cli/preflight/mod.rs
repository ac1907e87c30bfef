//! `billing preflight`: looks through the database of a replaced system, and says what an import will do.

mod tables;

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{
    execution::{carry_out, exit_code},
    progress::Steps,
    source::SourceFlags,
};
use crate::{
    accounting::Timestamp,
    history::{
        Preflight, PreflightEvent, PreflightStep,
        rules::{Irregularity, Kind, Survey, TypeFigures, Verdict},
    },
};
use tables::Tables;

/// An import will be complete, and a person must look.
const EXIT_INEXACT: u8 = 2;
/// An import will leave accounts out.
const EXIT_INCOMPLETE: u8 = 3;

pub(super) const AFTER_HELP: &str = "\
It reads the whole journal five times, in one long transaction that holds VACUUM back: use a standby if there is one. It
needs SELECT on ledger_entries and balances. Large sorts spill to the server's disk.

Exit status:
  0   an import will be exact
  2   an import will be complete, but not exact, or a person has to decide about something, such as a repeated payment;
      each irregularity is listed
  3   an import will leave some accounts out until their rows are changed at the source
  1   the source could not be read to its end
  64  wrong usage

docs/MIGRATION.md explains every irregularity, and what an import does about it.

Examples:
  billing preflight --source postgres://reader@old/coordinator
  billing preflight --source postgres://reader@old/coordinator --json | jq 'select(.irregularity.kind == \"BALANCE\")'";

#[derive(Args)]
pub(super) struct PreflightFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// Write JSON Lines: {"type": ...} for each type, {"irregularity": ...} for each irregularity as it is found, then
    /// {"summary": ...}.
    #[arg(long)]
    json: bool,
}

/// Runs the command, and returns its exit status.
pub(super) fn preflight(flags: &PreflightFlags) -> ExitCode {
    let looked = carry_out(look_through(flags));
    match looked.context("cannot look through the source") {
        Ok(Verdict::Inexact) => ExitCode::from(EXIT_INEXACT),
        Ok(Verdict::Incomplete) => ExitCode::from(EXIT_INCOMPLETE),
        looked @ (Ok(Verdict::Exact) | Err(_)) => exit_code(looked.map(drop)),
    }
}

async fn look_through(flags: &PreflightFlags) -> anyhow::Result<Verdict> {
    let started = Instant::now();
    let preflight = Preflight::open(&flags.source.url()?).await?;
    let steps = Steps::on_terminal();
    let mut report = if flags.json { Report::JsonLines } else { Report::Tables(Tables::default()) };
    let mut written = Ok(());
    let survey = preflight
        .run(&mut |event| match event {
            PreflightEvent::Step(step) => steps.begin(in_words(step)),
            PreflightEvent::Type(of_type) if written.is_ok() => written = report.of_type(of_type),
            PreflightEvent::Found(irregularity) if written.is_ok() => {
                written = report.irregularity(irregularity);
            }
            PreflightEvent::Type(_) | PreflightEvent::Found(_) => {}
        })
        .await?;
    steps.finish();
    written.and_then(|()| report.end(&survey, started.elapsed())).context("cannot write the report")?;
    Ok(survey.verdict())
}

fn in_words(step: PreflightStep) -> &'static str {
    match step {
        PreflightStep::Types => "counting rows by type",
        PreflightStep::Accounts => "adding up every account",
        PreflightStep::GreatAccounts => "adding up accounts that may leave int64, row by row",
        PreflightStep::Deposits => "comparing Stripe deposits",
        PreflightStep::References => "counting repeated references",
    }
}

/// Where it all goes.
enum Report {
    /// Tables, at the end.
    Tables(Tables),
    /// JSON Lines, at once.
    JsonLines,
}

impl Report {
    fn of_type(&mut self, of_type: TypeFigures) -> io::Result<()> {
        match self {
            Self::Tables(tables) => tables.of_type(of_type),
            Self::JsonLines => write_line(&json!({ "type": type_figures(&of_type) }))?,
        }
        Ok(())
    }

    fn irregularity(&mut self, irregularity: Irregularity) -> io::Result<()> {
        match self {
            Self::Tables(tables) => tables.irregularity(irregularity),
            Self::JsonLines => write_line(&json!({ "irregularity": irregularity }))?,
        }
        Ok(())
    }

    fn end(self, survey: &Survey, elapsed: Duration) -> io::Result<()> {
        match self {
            Self::Tables(tables) => {
                let mut out = BufWriter::new(io::stdout().lock());
                tables.write(&mut out, survey, elapsed)?;
                out.flush()
            }
            Self::JsonLines => write_line(&json!({ "summary": summary(survey, elapsed) })),
        }
    }
}

fn write_line(line: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

fn type_figures(of_type: &TypeFigures) -> Value {
    let TypeFigures { entry_type, rows, amount } = of_type;
    json!({
        "entry_type": entry_type,
        "becomes": of_type.becomes(),
        "rows": rows,
        "amount_micro_usd": amount.to_string(),
    })
}

fn summary(survey: &Survey, elapsed: Duration) -> Value {
    let found: serde_json::Map<String, Value> =
        Kind::ALL.iter().map(|kind| (kind.name().to_owned(), survey.count(*kind).into())).collect();
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "import": survey.verdict(),
        "rows": survey.rows,
        "accounts": survey.accounts,
        // Texts: the sum of all accounts may be more than 64 bits hold.
        "balance_micro_usd": survey.balance.to_string(),
        "first_time": time(survey.first_time),
        "last_time": time(survey.last_time),
        "largest_id": survey.largest_id.map(|id| id.to_string()),
        "irregularities": found,
        "adjustment_micro_usd": survey.adjustment.to_string(),
        "repeated_payments": survey.repeated_payments,
        "over_credited_micro_usd": survey.over_credited.to_string(),
        "left_out_accounts": survey.left_out_accounts,
        "left_out_rows": survey.left_out_rows,
        "references": survey.references,
        "has_account_index": survey.has_account_index,
        "book_disk_bytes": survey.disk_bytes(),
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}
