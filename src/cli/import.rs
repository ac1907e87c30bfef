//! `billing import`: takes the history of a replaced system into the book.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{
    execution::{carry_out, exit_code},
    flags::{DatabaseFlags, SourceFlags},
    progress::{count_entries, expect_entries, rate},
    table,
};
use crate::{
    accounting::Usd,
    history::{Import, ImportEvent, ImportTotals, rules::Finding},
};

/// Accounts were left out.
const EXIT_LEFT_OUT: u8 = 2;
/// How many findings are listed for people.
const LISTED_MAX: usize = 100;

pub(super) const AFTER_HELP: &str = "\
Run it as often as you like: each run imports what is missing, and no row twice. A run continues where a killed one stopped.
Run `billing preflight` first; docs/MIGRATION.md describes the whole migration.

Exit status:
  0   the book has everything that the source had when the run began
  1   a database failed: run it again
  2   some accounts were left out; they are listed
  64  wrong usage

Examples:
  billing import --source postgres://reader@old/coordinator       into the database of DATABASE_URL
  billing import --source postgres://reader@old/coordinator --json | jq 'select(.adjustment)'";

#[derive(Args)]
pub(super) struct ImportFlags {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    /// Write JSON Lines: an object for each finding as it is found, then {"summary": ...}.
    #[arg(long)]
    json: bool,
}

pub(super) fn import(flags: &ImportFlags) -> ExitCode {
    let imported = carry_out(import_source(flags));
    match imported.context("cannot import") {
        Ok(counts) if counts.left_out > 0 => ExitCode::from(EXIT_LEFT_OUT),
        imported => exit_code(imported.map(drop)),
    }
}

/// What one run did.
#[derive(Default)]
struct Counts {
    rows: u64,
    adjustments: u64,
    repeated_payments: u64,
    left_out: u64,
}

async fn import_source(flags: &ImportFlags) -> anyhow::Result<Counts> {
    let started = Instant::now();
    let (source_url, book_url) = (flags.source.url()?, flags.database.url()?);
    let mut import = Import::open(&source_url, &book_url).await?;
    let (expected, before) = import.extent().await?;
    let progress = expect_entries(count_entries(), expected);
    let mut report = Report { is_json: flags.json, listed: Vec::new() };
    let mut counts = Counts::default();
    let mut written = Ok(());
    let totals = import
        .run(&mut |event| match event {
            ImportEvent::Rows(rows) => {
                counts.rows += rows;
                progress.set_position(before + counts.rows);
            }
            ImportEvent::Found(finding) => {
                counts.count(&finding);
                if written.is_ok() {
                    written = report.finding(finding);
                }
            }
        })
        .await?;
    progress.finish_and_clear();
    written
        .and_then(|()| report.end(&counts, &totals, started.elapsed()))
        .context("cannot write the report")?;
    Ok(counts)
}

impl Counts {
    fn count(&mut self, finding: &Finding) {
        match finding {
            Finding::Adjustment { .. } => self.adjustments += 1,
            Finding::RepeatedPayment { .. } => self.repeated_payments += 1,
            Finding::LeftOut { .. } => self.left_out += 1,
        }
    }
}

/// Where findings go: JSON Lines at once, or a table at the end.
struct Report {
    is_json: bool,
    listed: Vec<Finding>,
}

impl Report {
    fn finding(&mut self, finding: Finding) -> io::Result<()> {
        if self.is_json {
            return writeln!(io::stdout(), "{}", json!(finding));
        }
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding);
        }
        Ok(())
    }

    fn end(self, counts: &Counts, totals: &ImportTotals, elapsed: Duration) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        if self.is_json {
            writeln!(out, "{}", json!({ "summary": summary(counts, totals, elapsed) }))?;
        } else {
            let header = ["FINDING", "ACCOUNT", "ENTRY", "USD", "WHAT"];
            table::write(&mut out, header, self.listed.iter().map(cells))?;
            write_summary(&mut out, self.listed.len(), counts, totals, elapsed)?;
        }
        out.flush()
    }
}

fn cells(finding: &Finding) -> [String; 5] {
    let usd = |micro_usd: i64| Usd(micro_usd.into()).to_string();
    match finding {
        Finding::Adjustment { account_id, sequence, amount_micro_usd, reason } => [
            "adjustment".to_owned(),
            account_id.clone(),
            sequence.to_string(),
            usd(*amount_micro_usd),
            reason.clone(),
        ],
        Finding::RepeatedPayment { account_id, sequence, external_id, amount_micro_usd } => [
            "repeated payment".to_owned(),
            account_id.clone(),
            sequence.to_string(),
            usd(*amount_micro_usd),
            format!("{external_id} was credited before"),
        ],
        Finding::LeftOut { account_id, rows, reason } => [
            "left out".to_owned(),
            account_id.as_ref().map_or_else(|| "(none)".to_owned(), |id| format!("{id:?}")),
            String::new(),
            String::new(),
            format!("rows: {rows}; {reason}"),
        ],
    }
}

fn write_summary(
    out: &mut impl Write,
    listed: usize,
    counts: &Counts,
    totals: &ImportTotals,
    elapsed: Duration,
) -> io::Result<()> {
    let Counts { rows, adjustments, repeated_payments, left_out } = counts;
    let found = adjustments + repeated_payments + left_out;
    table::write_unlisted(out, listed, found, ": --json has them all")?;
    if found > 0 {
        writeln!(out)?;
    }
    let rate = rate(*rows, elapsed);
    writeln!(out, "Imported {rows} rows in {elapsed:.1?}, {rate} rows per second.")?;
    writeln!(
        out,
        "adjustments: {adjustments}, repeated payments: {repeated_payments}, accounts left out: {left_out}"
    )?;
    let ImportTotals { accounts, rows, amount, adjusted_accounts, adjustment } = totals;
    writeln!(out, "in the book: {rows} rows of {accounts} accounts, {} USD", Usd(*amount))?;
    writeln!(out, "adjusted accounts: {adjusted_accounts}, by {} USD together", Usd(*adjustment))
}

fn summary(counts: &Counts, totals: &ImportTotals, elapsed: Duration) -> serde_json::Value {
    json!({
        "rows": counts.rows,
        "adjustments": counts.adjustments,
        "repeated_payments": counts.repeated_payments,
        "left_out_accounts": counts.left_out,
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "rows_per_second": rate(counts.rows, elapsed),
        "book": {
            "accounts": totals.accounts,
            "rows": totals.rows,
            // Texts: the sum of all accounts may be more than 64 bits hold.
            "amount_micro_usd": totals.amount.to_string(),
            "adjusted_accounts": totals.adjusted_accounts,
            "adjustment_micro_usd": totals.adjustment.to_string(),
        },
    })
}
