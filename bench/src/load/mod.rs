//! The load generator: calls the service from a process of its own, checks every answer, and prints one line of JSON.

mod caller;
mod closed;
mod open;
mod prepare;
mod sample;
mod tally;
mod watch;
mod work;

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use tokio::{runtime, time::Instant};
use tonic::transport::{Channel, Endpoint};

pub(crate) use sample::Sample;
pub(crate) use watch::Watched;
pub(crate) use work::{Work, random_name};

use caller::Caller;
use tally::{Basis, Tally, Window};
use watch::Watch;

/// What to call, and how hard.
#[derive(Debug, Args)]
pub(crate) struct LoadFlags {
    /// Where the server is, such as `http://127.0.0.1:50051`.
    #[arg(long)]
    url: String,
    /// What to call.
    #[arg(long, value_enum)]
    work: Work,
    /// How many calls are under way at any time; with --rate, what connections there are for.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Calls that arrive in a second, whether or not earlier ones have been answered.
    #[arg(long)]
    rate: Option<f64>,
    /// Over how many accounts.
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// For how long to measure.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// For how long to call before that.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    #[command(flatten)]
    watched: Watched,
}

/// Which accounts to open.
#[derive(Debug, Args)]
pub(crate) struct FundFlags {
    /// Where the service is.
    #[arg(long)]
    url: String,
    /// How many accounts.
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// Accounts of their own, whose money was earned and can be withdrawn.
    #[arg(long)]
    earned: bool,
    /// Accounts of their own, whose money is so many grants.
    #[arg(long, default_value_t = 0)]
    grants: usize,
}

/// Runs a load and prints its sample as a line of JSON.
pub(crate) fn run(flags: &LoadFlags) -> anyhow::Result<()> {
    let sample = runtime()?.block_on(measure(flags))?;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// Opens accounts and gives each more than a load can spend.
pub(crate) fn fund(flags: &FundFlags) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let channels = connect(&flags.url, prepare::WIDTH).await?;
        match flags.grants {
            0 => prepare::fund(&channels, flags.accounts, flags.earned).await,
            grants => prepare::grant(&channels, flags.accounts, grants).await,
        }
    })
}

/// One thread: the cores are the server's.
fn runtime() -> anyhow::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

async fn measure(flags: &LoadFlags) -> anyhow::Result<Sample> {
    let channels = connect(&flags.url, flags.in_flight).await?;
    let work = Arc::new(prepare::work(&channels, flags.work, flags.accounts).await?);
    let window = Window::after(
        Instant::now() + Duration::from_secs(flags.warm_up),
        Duration::from_secs(flags.seconds),
    );
    let watch = Watch::start(flags.watched, window);
    let basis = if flags.rate.is_some() { Basis::Due } else { Basis::Answered };
    let tallies: Vec<_> = channels.iter().map(|_| Arc::new(Mutex::new(Tally::new(window, basis)))).collect();
    let callers: Vec<_> = channels
        .into_iter()
        .zip(&tallies)
        .map(|(channel, tally)| Caller::new(channel, Arc::clone(&work), Arc::clone(tally)))
        .collect();
    let (begin, busy_before) = (Instant::now(), busy_time());
    let unanswered = match flags.rate {
        Some(rate) => open::run(&callers, rate, window.until()).await?,
        None => closed::run(&callers, flags.in_flight, window.until()).await?,
    };
    let caller_core = busy_time().saturating_sub(busy_before).as_secs_f64() / begin.elapsed().as_secs_f64();
    let mut total = Tally::new(window, basis);
    for tally in &tallies {
        total.add(&tally.lock().unwrap_or_else(PoisonError::into_inner))?;
    }
    total.report();
    let mut sample = Sample { caller_core, ..total.sample(unanswered) };
    watch.end()?.write(&mut sample);
    Ok(sample)
}

/// One connection for 32 calls in flight, up to eight.
async fn connect(url: &str, in_flight: usize) -> anyhow::Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
    let mut channels = Vec::new();
    for _ in 0..(in_flight / 32).clamp(1, 8) {
        channels.push(endpoint.connect().await.with_context(|| format!("cannot connect to {url}"))?);
    }
    Ok(channels)
}

/// How long this thread, which makes all the calls, has run on a core.
fn busy_time() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = statistics.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
