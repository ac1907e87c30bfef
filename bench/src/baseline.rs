//! The baseline: pgbench running what the replaced system does for one credit, on the same server.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use tokio::process::Command;

use crate::{load::Sample, postgres::Postgres, process::output_of, statistics::quantile};

const DATABASE: &str = "baseline";
const SCHEMA: &str = include_str!("baseline/schema.sql");
const CREDIT: &str = include_str!("baseline/credit.sql");
const PATIENCE: Duration = Duration::from_secs(120);

/// One run of pgbench.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline {
    pub(crate) clients: usize,
    pub(crate) accounts: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
}

/// A new database, in which every account has a balance already.
pub(crate) async fn recreate_database(postgres: &Postgres) -> anyhow::Result<()> {
    postgres.recreate(DATABASE).await?;
    postgres.query(DATABASE, SCHEMA).await?;
    postgres.query(DATABASE, "VACUUM ANALYZE").await?;
    Ok(())
}

impl Baseline {
    /// Calls for a while, then measures. Latencies are known only of a single client, since the log that they are
    /// read from would cost several clients some speed.
    pub(crate) async fn measure(self, postgres: &Postgres) -> anyhow::Result<Sample> {
        let dir = Scratch::new(postgres)?;
        let script = dir.0.join("credit.sql");
        fs::write(&script, CREDIT)?;
        let log = dir.0.join("log");
        let pgbench = |seconds: u64, logged: bool| {
            let mut pgbench = self.command(postgres, seconds);
            pgbench.arg("-f").arg(&script);
            if logged {
                pgbench.arg("-l").arg("--log-prefix").arg(&log);
            }
            pgbench.arg(postgres.url(DATABASE));
            pgbench
        };
        output_of(&mut pgbench(self.warm_up, false), PATIENCE).await?;
        let output = output_of(&mut pgbench(self.seconds, self.clients == 1), PATIENCE).await?;
        let mut sample = parse(&output).with_context(|| format!("cannot understand pgbench: {output}"))?;
        let latencies = dir.latencies()?;
        let at = |share| quantile(&latencies, share);
        (sample.p50_us, sample.p90_us, sample.p99_us, sample.p999_us) =
            (at(0.5), at(0.9), at(0.99), at(0.999));
        sample.max_us = latencies.last().copied().unwrap_or_default();
        Ok(sample)
    }

    fn command(self, postgres: &Postgres, seconds: u64) -> Command {
        let mut pgbench = postgres.program("pgbench");
        let (clients, threads) = (self.clients.to_string(), self.clients.min(2).to_string());
        pgbench.args(["-M", "prepared", "-n", "-c", &clients, "-j", &threads]);
        pgbench.args(["-T", &seconds.to_string(), "-D", &format!("accounts={}", self.accounts)]);
        pgbench
    }
}

/// A directory for pgbench's script and log.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(postgres: &Postgres) -> anyhow::Result<Self> {
        let dir = postgres.data_dir().join("pgbench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// The latencies of the log, sorted; none if there is no log.
    fn latencies(&self) -> anyhow::Result<Vec<u64>> {
        let mut latencies = Vec::new();
        for file in fs::read_dir(&self.0)? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with("log.") {
                latencies.extend(fs::read_to_string(file.path())?.lines().filter_map(latency));
            }
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // goes with the data directory at the latest
    }
}

fn parse(output: &str) -> Option<Sample> {
    let after = |label| output.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    let number = |label| after(label)?.split([' ', '/']).next()?.parse::<f64>().ok();
    let operations = number("number of transactions actually processed:")?;
    let rate = number("tps =")?;
    let failed = number("number of failed transactions:").unwrap_or_default();
    let mut sample = Sample {
        operations: operations as u64,
        seconds: operations / rate,
        rate,
        calls: operations as u64,
        ..Sample::default()
    };
    if failed > 0.0 {
        sample.errors.insert("failed transactions".to_owned(), failed as u64);
    }
    Some(sample)
}

/// The latency of a line `client number latency script seconds microseconds`.
fn latency(line: &str) -> Option<u64> {
    line.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
pgbench (15.18)
number of transactions actually processed: 16204
number of failed transactions: 0 (0.000%)
latency average = 3.947 ms
initial connection time = 12.345 ms
tps = 2025.500000 (without initial connection time)";

    #[test]
    fn what_pgbench_prints_is_understood() {
        let sample = parse(OUTPUT).unwrap();
        assert_eq!(sample.operations, 16_204);
        assert!((sample.rate - 2025.5).abs() < 1e-9);
        assert!((sample.seconds - 8.0).abs() < 1e-9);
        assert_eq!(sample.fault(), None);
        let failed = parse(&OUTPUT.replace("transactions: 0 (", "transactions: 3 (")).unwrap();
        assert_eq!(failed.fault().unwrap(), "3 x failed transactions");
        assert!(parse("pgbench: error").is_none());
    }

    #[test]
    fn latencies_are_the_third_column() {
        assert_eq!(latency("0 199 2241 0 1175850568 995598"), Some(2241));
        assert_eq!(latency(""), None);
    }
}
