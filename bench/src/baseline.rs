//! The baseline: pgbench running what would be done by hand, such as what the replaced system does for one credit, on the
//! same server.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{load::Sample, postgres::Postgres, process::output_of, processor, statistics::quantile};

const DATABASE: &str = "baseline";
const SCHEMA: [&str; 2] = [include_str!("baseline/schema.sql"), include_str!("baseline/undo.sql")];
const PATIENCE: Duration = Duration::from_secs(120);

/// One run of pgbench.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline {
    pub(crate) script: Script,
    pub(crate) clients: usize,
    pub(crate) accounts: usize,
}

/// What pgbench does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// A credit of the replaced system.
    Credit,
    /// A withdrawal by hand.
    Withdraw,
    /// A reversal by hand.
    Reverse,
    /// A job that is held, charged and passed on by hand.
    Settle,
    /// The row of an account in the service's database.
    Read,
}

/// For how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
}

/// A new database, in which every account has a balance already.
pub(crate) async fn recreate_database(postgres: &Postgres) -> anyhow::Result<()> {
    postgres.recreate(DATABASE).await?;
    for schema in SCHEMA {
        postgres.query(DATABASE, schema).await?;
    }
    postgres.query(DATABASE, "VACUUM ANALYZE").await?;
    Ok(())
}

impl Script {
    fn text(self) -> &'static str {
        match self {
            Self::Credit => include_str!("baseline/credit.sql"),
            Self::Withdraw => include_str!("baseline/withdraw.sql"),
            Self::Reverse => include_str!("baseline/reverse.sql"),
            Self::Settle => include_str!("baseline/settle.sql"),
            Self::Read => include_str!("baseline/read.sql"),
        }
    }

    /// The database that it works in.
    pub(crate) fn database(self, of_the_service: &'static str) -> &'static str {
        match self {
            Self::Credit | Self::Withdraw | Self::Reverse | Self::Settle => DATABASE,
            Self::Read => of_the_service,
        }
    }
}

impl Baseline {
    /// Calls for a while, then measures. Latencies are known only of a single client, since the log that they are
    /// read from would cost several clients some speed.
    pub(crate) async fn measure(
        self,
        postgres: &Postgres,
        url: &str,
        timing: Timing,
    ) -> anyhow::Result<Sample> {
        let dir = Scratch::new(postgres)?;
        let script = dir.0.join("script.sql");
        fs::write(&script, self.script.text())?;
        let log = dir.0.join("log");
        let pgbench = |seconds: u64, logged: bool| {
            let mut pgbench = self.command(postgres, seconds);
            pgbench.arg("-f").arg(&script);
            if logged {
                pgbench.arg("-l").arg("--log-prefix").arg(&log);
            }
            pgbench.arg(url);
            pgbench
        };
        output_of(&mut pgbench(timing.warm_up, false), PATIENCE).await?;
        let mut measured = pgbench(timing.seconds, self.clients == 1);
        let (output, busy) = tokio::join!(output_of(&mut measured, PATIENCE), busy_share(postgres, timing));
        let output = output?;
        let mut sample = parse(&output).with_context(|| format!("cannot understand pgbench: {output}"))?;
        sample.postgres_us = Some(busy? * 1e6 / sample.rate);
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

/// How many cores PostgreSQL keeps busy in the second half of the time, when all clients have connected.
async fn busy_share(postgres: &Postgres, timing: Timing) -> anyhow::Result<f64> {
    let (pid, half) = (postgres.pid()?, Duration::from_secs(timing.seconds) / 2);
    sleep(half).await;
    let (begin, before) = (Instant::now(), processor::of_family(pid)?);
    sleep(half.mul_f64(0.8)).await;
    let spent = processor::of_family(pid)?.saturating_sub(before);
    Ok(spent.as_secs_f64() / begin.elapsed().as_secs_f64())
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
