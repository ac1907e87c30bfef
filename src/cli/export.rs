//! `billing export`: writes the journal as it stands at one moment, to standard output or to a file.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::ProgressBar;
use tokio::signal::unix::SignalKind;

use super::{
    destination::Destination,
    execution::carry_out,
    flags::{AccountFlags, DatabaseFlags},
    progress::{count_entries, expect_entries},
    signals,
};
use crate::{
    accounting::Timestamp,
    config::ConfigError,
    export::Format,
    schema::{DatabaseUse, check_database},
    snapshot::{Selection, Snapshot},
};

pub(super) const AFTER_HELP: &str = "\
Formats:
  csv        a table with a header; amounts in micro-USD; an apostrophe in front of text that could be a formula
  jsonl      one object for each entry, with the same names; amounts and sequences are strings, as in ProtoJSON
  hledger    balanced transactions in USD, with a balance assertion on each customer's posting
  beancount  balanced transactions in USD, with a balance assertion for each account

docs/EXPORT.md has the columns, the chart of accounts, and how each format writes account ids.

Exit status:
  0   done, or the reader of the output closed it
  1   the book could not be read to its end; an existing file is unchanged
  64  wrong usage

Examples:
  billing export --format csv --output journal.csv
  billing export --format csv --account ann --from 2026-11-01 --until 2026-12-01
  billing export --format hledger | hledger -f - check --strict
  billing export --format hledger | hledger -f - incomestatement --monthly
  billing export --format jsonl | jq 'select(.entry_type == \"ADMIN_CREDIT\")'";

#[derive(Args)]
pub(super) struct ExportFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Output format: csv, jsonl, hledger or beancount.
    #[arg(long)]
    format: Format,
    #[command(flatten)]
    accounts: AccountFlags,
    /// Only entries that took effect at or after this time: 2026-11-24T07:28:25Z, or a date, which begins at midnight UTC.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    from: Option<Timestamp>,
    /// Only entries that took effect before this time. It must not be earlier than --from.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
    /// File, device or pipe to write to, or - for standard output. A file is replaced only when the export is complete, and keeps
    /// its mode and owner. [default: -]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn export(flags: &ExportFlags) -> anyhow::Result<()> {
    if flags.from.zip(flags.until).is_some_and(|(from, until)| from > until) {
        return Err(ConfigError::of("--from must not be later than --until").into());
    }
    let path = flags.output.as_deref().unwrap_or(Path::new("-"));
    export_to_path(flags, path).context("cannot export")
}

fn export_to_path(flags: &ExportFlags, path: &Path) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write {}", path.display());
    let destination = Destination::open(path).with_context(cannot_write)?;
    match destination {
        // A reader who leaves has had enough.
        Destination::Stream(out) => match carry_out(export_to(flags, out, ProgressBar::hidden())) {
            Err(error) if is_broken_pipe(&error) => Ok(()),
            exported => exported,
        },
        Destination::File(target) => carry_out(unless_interrupted(async {
            let replacement = target.begin().with_context(cannot_write)?;
            export_to(flags, replacement.file(), count_entries()).await?;
            replacement.complete().with_context(cannot_write)
        })),
    }
}

/// Lets a file that is not complete be removed before the program ends: signals are caught before there is one.
async fn unless_interrupted(exported: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) =
        (signals::catch(SignalKind::terminate())?, signals::catch(SignalKind::interrupt())?);
    tokio::select! {
        exported = exported => exported,
        _ = terminate.recv() => bail!("interrupted"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

async fn export_to(flags: &ExportFlags, out: impl Write, mut progress: ProgressBar) -> anyhow::Result<()> {
    let database_url = flags.database.url()?;
    check_database(&database_url, DatabaseUse::Read).await?;
    let mut snapshot = Snapshot::take(&database_url).await?;
    flags.accounts.must_be_known(&mut snapshot).await?;
    let selection =
        Selection { account_ids: flags.accounts.ids.clone(), from: flags.from, until: flags.until };
    if selection == Selection::default() {
        progress = expect_entries(progress, snapshot.entries_estimate().await?);
    }
    let mut document = flags.format.begin(BufWriter::with_capacity(1 << 16, out))?;
    snapshot
        .entries::<anyhow::Error>(&selection, |entry, refunded| {
            progress.inc(1);
            document.entry(&entry, refunded).context("cannot write")
        })
        .await?;
    document.end()?;
    progress.finish_and_clear();
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_broken)
}
