//! The same load on a small and on a large book, in turn; and what an entry takes on disk.

use std::time::Instant;

use anyhow::Context as _;

use super::Bench;
use crate::{
    fill::Fill,
    load::Watched,
    results::{Growth, Results},
    service::Service,
};

const ACCOUNTS: i64 = 10_000;
const SMALL_ENTRIES: i64 = 100_000;
const LARGE_ENTRIES: i64 = 10_000_000;
const QUICK_LARGE_ENTRIES: i64 = 1_000_000;
const TURNS: usize = 3;
const LARGE: &str = "growth_large";

impl Bench {
    pub(super) async fn measure_growth(&self, results: &mut Results) -> anyhow::Result<()> {
        let large_entries = if self.extent.quick { QUICK_LARGE_ENTRIES } else { LARGE_ENTRIES };
        let (small, _) = self.filled_service("growth_small", SMALL_ENTRIES).await?;
        let (large, fill_seconds) = self.filled_service(LARGE, large_entries).await?;
        let mut growth =
            Growth { small_entries: SMALL_ENTRIES, large_entries, fill_seconds, ..Growth::default() };
        for _ in 0..TURNS.max(self.extent.rounds) {
            let load = self.credits(256);
            growth
                .small
                .extend(results.take("growth, small", load.run(&small.url(), Watched::default()).await));
            growth
                .large
                .extend(results.take("growth, large", load.run(&large.url(), Watched::default()).await));
        }
        growth.bytes_per_entry = self.bytes_per_entry().await?;
        results.growth = Some(growth);
        small.stop().await?;
        large.stop().await
    }

    async fn filled_service(&self, database: &str, entries: i64) -> anyhow::Result<(Service, f64)> {
        eprintln!("  filling a book with {entries} entries");
        self.postgres.recreate(database).await?;
        self.program.migrate(&self.postgres, database).await?;
        let begin = Instant::now();
        Fill { accounts: ACCOUNTS, entries }.run(&self.postgres, database).await?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok((self.program.serve(&self.postgres.url(database), &[]).await?, seconds))
    }

    async fn bytes_per_entry(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let sql = "WITH entries AS (SELECT sum(last_sequence) AS count FROM accounts), \
             parts AS (SELECT 0 AS place, 'table' AS name, pg_table_size('ledger_entries') AS bytes \
             UNION ALL SELECT 1, indexrelid::regclass::text, pg_relation_size(indexrelid) \
             FROM pg_index WHERE indrelid = 'ledger_entries'::regclass) \
             SELECT name, (bytes / count)::float8 FROM parts, entries ORDER BY place, name";
        let rows = self.postgres.query(LARGE, sql).await?;
        rows.lines()
            .map(|row| {
                let (name, bytes) = row.split_once('|').context("two columns were expected")?;
                Ok((name.to_owned(), bytes.parse()?))
            })
            .collect()
    }
}
