//! Fills a migrated database with entries by COPY: consistent books, as if each account had been credited that often.
//!
//! Entries are written in the order in which they would have come, one of each account in turn, so that tables and
//! indexes grow to the shape that years of traffic give them.

use std::{fmt::Write as _, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncWriteExt as _, BufWriter},
    process::ChildStdin,
    time::timeout,
};

use crate::{load::random_name, postgres::Postgres};

const PATIENCE: Duration = Duration::from_secs(1_200);
const FUNDS_MICRO_USD: i64 = 1_000_000_000_000;
const AMOUNT_MICRO_USD: i64 = 100;
const COPY_ENTRIES: &str = "COPY ledger_entries (account_id, sequence, entry_type, amount_micro_usd, \
     held_delta_micro_usd, posted_after, held_after, create_time, idempotency_key, fingerprint, reference) FROM STDIN";
const COPY_ACCOUNTS: &str =
    "COPY accounts (account_id, posted_micro_usd, last_sequence, create_time, update_time) FROM STDIN";
const DEPOSIT: u8 = 2;

/// What to fill a database with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) accounts: i64,
    pub(crate) entries: i64,
}

impl Fill {
    pub(crate) async fn run(self, postgres: &Postgres, database: &str) -> anyhow::Result<()> {
        copy(postgres, database, COPY_ENTRIES, async |stdin| self.write_entries(stdin).await).await?;
        copy(postgres, database, COPY_ACCOUNTS, async |stdin| self.write_accounts(stdin).await).await?;
        postgres.query(database, "VACUUM ANALYZE").await?;
        postgres.query(database, "CHECKPOINT").await?;
        Ok(())
    }

    fn entries_each(self) -> i64 {
        self.entries / self.accounts
    }

    async fn write_entries(self, stdin: &mut BufWriter<ChildStdin>) -> anyhow::Result<()> {
        let mut row = String::new();
        for sequence in 1..=self.entries_each() {
            for account in 0..self.accounts {
                row.clear();
                write_entry(&mut row, account, sequence);
                stdin.write_all(row.as_bytes()).await?;
            }
        }
        Ok(())
    }

    async fn write_accounts(self, stdin: &mut BufWriter<ChildStdin>) -> anyhow::Result<()> {
        let last = self.entries_each();
        for account in 0..self.accounts {
            let (first_time, last_time) = (time_of(1), time_of(last));
            let posted = posted_after(last);
            let row = format!("account-{account}\t{posted}\t{last}\t{first_time}\t{last_time}\n");
            stdin.write_all(row.as_bytes()).await?;
        }
        Ok(())
    }
}

async fn copy(
    postgres: &Postgres,
    database: &str,
    statement: &str,
    write: impl AsyncFnOnce(&mut BufWriter<ChildStdin>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut psql = postgres.psql(database);
    let mut psql = psql.args(["-c", statement]).stdin(Stdio::piped()).spawn().context("cannot run psql")?;
    let stdin = psql.stdin.take().context("psql takes no input")?;
    let mut stdin = BufWriter::with_capacity(1 << 20, stdin);
    let copied = timeout(PATIENCE, async {
        let written = write(&mut stdin).await;
        let flushed = stdin.shutdown().await;
        drop(stdin);
        let status = psql.wait().await?;
        ensure!(status.success(), "COPY failed: psql ended with {status}");
        written.and(flushed.map_err(Into::into))
    });
    copied.await.with_context(|| format!("COPY did not end within {PATIENCE:?}"))?
}

fn write_entry(row: &mut String, account: i64, sequence: i64) {
    let amount = amount_of(sequence);
    let (posted, time, key) = (posted_after(sequence), time_of(sequence), random_name("evt_"));
    let reference = fastrand::u64(1_000_000_000_000..10_000_000_000_000);
    let fields = format_args!(
        "account-{account}\t{sequence}\t{DEPOSIT}\t{amount}\t0\t{posted}\t0\t{time}\t{key}\t{}\tstripe:cs_{reference}\n",
        Fingerprint { amount, reference_hash: fastrand::u64(..) }
    );
    row.write_fmt(fields).expect("a text takes all that is written");
}

/// Like the fingerprint of a deposit with a reference: its method, then amount, entry type and reference.
struct Fingerprint {
    amount: i64,
    reference_hash: u64,
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { amount, reference_hash } = self;
        write!(f, r"\\x0101{amount:016x}02{DEPOSIT:016x}04{reference_hash:016x}")
    }
}

fn amount_of(sequence: i64) -> i64 {
    if sequence == 1 { FUNDS_MICRO_USD } else { AMOUNT_MICRO_USD }
}

fn posted_after(sequence: i64) -> i64 {
    FUNDS_MICRO_USD + AMOUNT_MICRO_USD * (sequence - 1)
}

/// A minute later for each entry, from the first of January 2025: its Julian day, which PostgreSQL understands.
fn time_of(sequence: i64) -> String {
    let (day, minute) = (sequence / 1_440, sequence % 1_440);
    format!("J{} {:02}:{:02}:00+00", 2_460_677 + day, minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up() {
        let sum: i64 = (1..=7).map(amount_of).sum();
        assert_eq!(sum, posted_after(7));
    }

    #[test]
    fn a_row_has_every_field() {
        let mut row = String::new();
        write_entry(&mut row, 3, 1_500);
        let fields: Vec<_> = row.trim_end().split('\t').collect();
        assert_eq!(fields.len(), 11);
        assert_eq!(
            fields[..8],
            ["account-3", "1500", "2", "100", "0", "1000000149900", "0", "J2460678 01:00:00+00"]
        );
        assert_eq!(fields[9].len(), r"\\x".len() + 2 * 28);
        assert!(row.ends_with('\n'));
    }
}
