//! Runs the load generator: this same program, in a process of its own.

use std::{env, time::Duration};

use anyhow::Context as _;

use crate::{
    load::{Sample, Watched, Work},
    postgres::Postgres,
    process::{ServerProcess, command, free_address, output_of},
};

/// How much longer than it measures a load may take: opening accounts, warming up, the last answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// A load for the generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) work: Work,
    pub(crate) in_flight: usize,
    /// A fixed rate of arrivals instead of a fixed number in flight.
    pub(crate) rate: Option<f64>,
    pub(crate) accounts: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
}

impl Load {
    pub(crate) async fn run(self, url: &str, watched: Watched) -> anyhow::Result<Sample> {
        let mut generator = command(env::current_exe()?);
        generator.args(["load", "--url", url, "--work", work_name(self.work)]);
        for (flag, value) in [("--in-flight", self.in_flight), ("--accounts", self.accounts)] {
            generator.args([flag, &value.to_string()]);
        }
        for (flag, value) in [("--seconds", self.seconds), ("--warm-up", self.warm_up)] {
            generator.args([flag, &value.to_string()]);
        }
        if let Some(rate) = self.rate {
            generator.args(["--rate", &rate.to_string()]);
        }
        for (flag, pid) in [("--service-pid", watched.service_pid), ("--postgres-pid", watched.postgres_pid)]
        {
            generator.args(pid.map(|pid| [flag.to_owned(), pid.to_string()]).into_iter().flatten());
        }
        let patience = PATIENCE + Duration::from_secs(self.seconds + self.warm_up);
        let line = output_of(&mut generator, patience).await?;
        serde_json::from_str(&line).with_context(|| format!("the generator printed {line:?}"))
    }
}

/// Opens this many accounts, and gives them money.
pub(crate) async fn fund(url: &str, accounts: usize) -> anyhow::Result<()> {
    open_accounts(url, accounts, &[]).await
}

/// Opens this many accounts of their own, whose money can be withdrawn.
pub(crate) async fn fund_earners(url: &str, accounts: usize) -> anyhow::Result<()> {
    open_accounts(url, accounts, &["--earned"]).await
}

/// Opens this many accounts of their own, whose money is so many grants.
pub(crate) async fn fund_granted(url: &str, accounts: usize, grants: usize) -> anyhow::Result<()> {
    open_accounts(url, accounts, &["--grants", &grants.to_string()]).await
}

async fn open_accounts(url: &str, accounts: usize, flags: &[&str]) -> anyhow::Result<()> {
    let mut generator = command(env::current_exe()?);
    generator.args(["fund", "--url", url, "--accounts", &accounts.to_string()]).args(flags);
    output_of(&mut generator, PATIENCE).await.context("cannot open the accounts")?;
    Ok(())
}

/// Starts the empty server.
pub(crate) async fn serve_empty() -> anyhow::Result<ServerProcess> {
    let address = free_address().await?;
    let mut server = command(env::current_exe()?);
    server.args(["empty", "--listen", &address]);
    ServerProcess::start(server, address).await
}

/// Starts a relay to PostgreSQL that delays all that passes by so much.
pub(crate) async fn serve_relay(postgres: &Postgres, delay: Duration) -> anyhow::Result<ServerProcess> {
    let address = free_address().await?;
    let mut relay = command(env::current_exe()?);
    relay.args(["relay", "--listen", &address, "--delay-us", &delay.as_micros().to_string()]);
    relay.arg("--to").arg(postgres.socket()?);
    ServerProcess::start(relay, address).await
}

fn work_name(work: Work) -> &'static str {
    match work {
        Work::Credit => "credit",
        Work::Stripe => "stripe",
        Work::ReserveCapture => "reserve-capture",
        Work::Replay => "replay",
        Work::Read => "read",
        Work::Refusals => "refusals",
        Work::Zipf => "zipf",
        Work::Charge => "charge",
        Work::Charge1Grant => "charge-1-grant",
        Work::Charge10Grants => "charge-10-grants",
        Work::Withdraw => "withdraw",
        Work::Reverse => "reverse",
        Work::Settle => "settle",
        Work::Apply1 => "apply-1",
        Work::Apply50 => "apply-50",
        Work::Apply100 => "apply-100",
        Work::Apply500 => "apply-500",
        Work::Empty => "empty",
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_generator_knows_every_work_by_its_name() {
        for work in Work::value_variants() {
            assert_eq!(work.to_possible_value().unwrap().get_name(), work_name(*work));
        }
    }
}
