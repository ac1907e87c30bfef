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
    flags::SourceFlags,
    progress::{begin_step, steps},
};
use crate::{
    accounting::Timestamp,
    history::{
        Preflight, PreflightEvent, PreflightStep,
        rules::{Kind, Survey, TypeFigures, Verdict},
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
    let steps = steps();
    let mut tables = (!flags.json).then(Tables::default);
    let mut written = Ok(());
    let mut write_line = |line: Value| {
        if written.is_ok() {
            written = writeln!(io::stdout(), "{line}");
        }
    };
    let survey = preflight
        .run(&mut |event| match (event, &mut tables) {
            (PreflightEvent::Step(step), _) => begin_step(&steps, in_words(step)),
            (PreflightEvent::Type(of_type), Some(tables)) => tables.of_type(of_type),
            (PreflightEvent::Type(of_type), None) => write_line(json!({ "type": type_figures(&of_type) })),
            (PreflightEvent::Found(irregularity), Some(tables)) => tables.irregularity(irregularity),
            (PreflightEvent::Found(irregularity), None) => {
                write_line(json!({ "irregularity": irregularity }));
            }
        })
        .await?;
    steps.finish_and_clear();
    written.and_then(|()| end(tables, &survey, started.elapsed())).context("cannot write the report")?;
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

fn end(tables: Option<Tables>, survey: &Survey, elapsed: Duration) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match tables {
        Some(tables) => tables.write(&mut out, survey, elapsed)?,
        None => writeln!(out, "{}", json!({ "summary": summary(survey, elapsed) }))?,
    }
    out.flush()
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
