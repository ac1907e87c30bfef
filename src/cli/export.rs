//! `billing export`: writes the journal as it stands at one moment, to standard output or to a file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;

use super::{accounts::AccountFlags, database::DatabaseFlags, progress::Progress, runtime};
use crate::{
    accounting::Timestamp,
    export::Format,
    ledger::{LedgerError, Selection, Snapshot},
};

/// What the file is called until it is complete.
const PARTIAL_SUFFIX: &str = ".partial";

pub(super) const AFTER_HELP: &str = "\
Formats:
  csv        a table with a header; sums in whole micro-USD. A text that could be a formula has an apostrophe in front
  jsonl      an object for each entry, with the same names
  hledger    balanced transactions in USD, and after each what the customer has
  beancount  the same for Beancount

docs/EXPORT.md has the columns, the chart of accounts, and how account ids are written in each format.

Exit status:
  0   done, or the reader had enough
  1   the book could not be read, or not to its end; a file is then left as it was
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
    /// csv, jsonl, hledger or beancount.
    #[arg(long)]
    format: Format,
    #[command(flatten)]
    accounts: AccountFlags,
    /// Only entries written at this time or later: 2026-11-24T07:28:25Z, or a date, which begins in UTC.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    from: Option<Timestamp>,
    /// Only entries written before this time.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
    /// The file to write, instead of standard output. It is there when it is complete, and not before.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Read(#[from] LedgerError),
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// Runs the command.
pub(super) fn export(flags: &ExportFlags) -> anyhow::Result<()> {
    let runtime = runtime()?;
    match &flags.output {
        None => match runtime.block_on(export_to(flags, io::stdout().lock(), Progress::hidden())) {
            Err(error) if is_broken_pipe(&error) => Ok(()), // the reader has had enough
            done => done,
        },
        Some(path) => runtime.block_on(export_to_file(flags, path)),
    }
    .context("cannot export")
}

/// Writes beside the file, and puts it in its place when it is complete.
async fn export_to_file(flags: &ExportFlags, path: &Path) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL_SUFFIX);
    let partial = PathBuf::from(partial);
    let cannot_write = || format!("cannot write {}", path.display());
    let file = File::create(&partial).with_context(cannot_write)?;
    if let Err(error) = export_to(flags, &file, Progress::on_terminal()).await {
        let _ = fs::remove_file(&partial); // what went wrong first is what counts
        return Err(error);
    }
    file.sync_all().with_context(cannot_write)?;
    fs::rename(&partial, path).with_context(cannot_write)
}

async fn export_to(flags: &ExportFlags, out: impl Write, mut progress: Progress) -> anyhow::Result<()> {
    let mut snapshot = Snapshot::take(&flags.database.url()?).await?;
    flags.accounts.must_be_known(&mut snapshot).await?;
    let selection =
        Selection { account_ids: flags.accounts.ids.clone(), from: flags.from, until: flags.until };
    if selection == Selection::default() {
        progress = progress.expect(snapshot.entries_estimate().await?);
    }
    let mut document = flags.format.begin(BufWriter::with_capacity(1 << 16, out))?;
    snapshot
        .entries::<ExportError>(&selection, |entry| {
            progress.entry();
            Ok(document.entry(&entry)?)
        })
        .await?;
    document.end()?;
    progress.finish();
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_broken)
}
