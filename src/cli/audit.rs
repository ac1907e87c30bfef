//! `billing audit`: reads the whole book at one moment, and reports what does not add up.

use std::{
    io::{self, BufWriter, StdoutLock, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{
    execution::{carry_out, exit_code},
    flags::{AccountFlags, DatabaseFlags},
    progress::{count_entries, expect_entries, rate},
    table,
};
use crate::{
    accounting::Usd,
    audit::{Auditor, Difference, Fact, Row, Totals},
    schema::{DatabaseUse, check_database},
    snapshot::Snapshot,
};

/// Differences were found.
const EXIT_DIFFERENCES: u8 = 2;
/// How many differences are listed for people.
const LISTED_MAX: usize = 100;

pub(super) const AFTER_HELP: &str = "\
Exit status:
  0   everything adds up
  1   the book could not be read to its end
  2   differences were found
  64  wrong usage

docs/AUDIT.md explains every check. deploy/postgres/auditor-role.sql makes a role with just the rights that this command needs.

Examples:
  billing audit                                  the database of DATABASE_URL
  billing audit --account ann --account bob      two accounts only
  billing audit --json | jq 'select(.difference)'
  0 4 * * *  billing audit >/var/log/billing-audit.log 2>&1 || mail -s 'billing audit' oncall@example.com </var/log/billing-audit.log";

#[derive(Args)]
pub(super) struct AuditFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Write JSON Lines: {"difference": ...} for each difference as it is found, then {"summary": ...}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    accounts: AccountFlags,
}

pub(super) fn audit(flags: &AuditFlags) -> ExitCode {
    let audited = carry_out(audit_book(flags));
    match audited.context("cannot audit") {
        Ok(totals) if totals.differences > 0 => ExitCode::from(EXIT_DIFFERENCES),
        audited => exit_code(audited.map(drop)),
    }
}

async fn audit_book(flags: &AuditFlags) -> anyhow::Result<Totals> {
    let started = Instant::now();
    let database_url = flags.database.url()?;
    check_database(&database_url, DatabaseUse::Read).await?;
    let mut snapshot = Snapshot::take(&database_url).await?;
    flags.accounts.must_be_known(&mut snapshot).await?;
    let mut progress = count_entries();
    if flags.accounts.ids.is_empty() {
        progress = expect_entries(progress, snapshot.entries_estimate().await?);
    }
    let out = BufWriter::new(io::stdout().lock());
    let mut report = Report { is_json: flags.json, listed: Vec::new(), out };
    let mut auditor = Auditor::default();
    let mut found = Vec::new();
    let read = |fact: Fact| {
        if matches!(fact.row, Row::Entry(_)) {
            progress.inc(1);
        }
        auditor.observe(fact, &mut |difference| found.push(difference));
        found.drain(..).try_for_each(|difference| report.difference(difference))
    };
    snapshot.facts::<anyhow::Error>(&flags.accounts.ids, read).await?;
    let totals = auditor.finish(&mut |difference| found.push(difference));
    found.into_iter().try_for_each(|difference| report.difference(difference))?;
    progress.finish_and_clear();
    report.end(&totals, started.elapsed())?;
    Ok(totals)
}

/// Where differences go: JSON Lines at once, or a table at the end.
struct Report {
    is_json: bool,
    listed: Vec<Difference>,
    out: BufWriter<StdoutLock<'static>>,
}

impl Report {
    fn difference(&mut self, difference: Difference) -> anyhow::Result<()> {
        if self.is_json {
            writeln!(self.out, "{}", json!({ "difference": difference }))?;
        } else if self.listed.len() < LISTED_MAX {
            self.listed.push(difference);
        }
        Ok(())
    }

    fn end(self, totals: &Totals, elapsed: Duration) -> io::Result<()> {
        let Self { is_json, listed, mut out } = self;
        if is_json {
            writeln!(out, "{}", json!({ "summary": summary(totals, elapsed) }))?;
        } else {
            let header = ["CHECK", "ACCOUNT", "WHERE", "EXPECTED", "FOUND"];
            table::write(&mut out, header, listed.iter().map(cells))?;
            write_summary(&mut out, listed.len(), totals, elapsed)?;
        }
        out.flush()
    }
}

fn cells(difference: &Difference) -> [String; 5] {
    let Difference { check, account_id, place, expected, found } = difference;
    [check.name().to_owned(), account_id.clone(), place.to_string(), expected.clone(), found.clone()]
}

fn write_summary(out: &mut impl Write, listed: usize, totals: &Totals, elapsed: Duration) -> io::Result<()> {
    let Totals { accounts, entries, reservations, answers, posted, held, differences } = totals;
    table::write_unlisted(out, listed, *differences, ": --json has them all")?;
    match differences {
        0 => writeln!(out, "Everything adds up.")?,
        1 => writeln!(out, "\n1 difference.")?,
        many => writeln!(out, "\n{many} differences.")?,
    }
    writeln!(out, "{accounts} accounts, {entries} entries, {reservations} reservations, {answers} keys")?;
    writeln!(out, "{} USD posted, {} USD held", Usd(*posted), Usd(*held))?;
    writeln!(out, "{elapsed:.1?}, {} entries per second", rate(*entries, elapsed))
}

fn summary(totals: &Totals, elapsed: Duration) -> serde_json::Value {
    let Totals { accounts, entries, reservations, answers, posted, held, differences } = totals;
    json!({
        "differences": differences,
        "accounts": accounts,
        "entries": entries,
        "reservations": reservations,
        "keys": answers,
        // Texts: the sum of all accounts may be more than 64 bits hold.
        "posted_micro_usd": posted.to_string(),
        "held_micro_usd": held.to_string(),
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "entries_per_second": rate(*entries, elapsed),
    })
}
