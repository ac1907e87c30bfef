//! The closed loop: tasks which each post, wait for the answer and post again, and the count of what they saw.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rust_decimal::Decimal;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

/// Texts of errors that are told apart; what comes after so many is counted together.
const ERRORS_TOLD_APART: usize = 20;
/// Characters kept of the text of an error.
const ERROR_LENGTH: usize = 160;

/// What is credited with each posting: 100 micro-USD. Both ledgers keep amounts as decimals of a currency.
pub(crate) fn amount() -> Decimal {
    Decimal::new(100, 6)
}

/// One credit: a customer's, against cash, under an identity nothing else was posted with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Posting {
    pub(crate) id: Uuid,
    pub(crate) customer: Uuid,
    pub(crate) cash: Uuid,
}

/// A ledger that can be measured.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// The accounts that are credited.
    fn customers(&self) -> &[Uuid];

    /// The accounts that are debited.
    fn cash(&self) -> &[Uuid];

    /// Posts all of these or none, and returns when that is committed.
    fn post(&self, postings: &[Posting]) -> impl Future<Output = Result<()>> + Send;
}

/// How much to ask, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) in_flight: u32,
    pub(crate) batch: u32,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was measured. Times are microseconds, each posting's that of the call it was in.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) operations: u64,
    seconds: f64,
    rate: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    errors: BTreeMap<String, u64>,
}

impl Load {
    /// Posts with every task until the time is over, and reports what was answered between the warm-up and the
    /// end.
    pub(crate) async fn run(self, peer: impl Peer) -> Result<Report> {
        // The first posting of an account creates its balance. For cash, which every task debits, that would be
        // a race of all of them and says nothing about the ledger at work. It also has the ledger read its
        // template, which sqlx-ledger does over a second connection: with all of them at once there is none left.
        for &cash in peer.cash() {
            let posting = Posting { id: Uuid::now_v7(), customer: any(peer.customers()), cash };
            peer.post(&[posting]).await.context("the first posting of a cash account")?;
        }

        let tally = Arc::new(Mutex::new(Tally::new()?));
        let from = Instant::now() + self.warm_up;
        let until = from + self.measured;

        let mut tasks = JoinSet::new();
        for _ in 0..self.in_flight {
            let (peer, tally) = (peer.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                loop {
                    let postings = self.postings(&peer);
                    let asked = Instant::now();
                    if asked >= until {
                        break;
                    }
                    let outcome = peer.post(&postings).await;
                    let answered = Instant::now();
                    if answered >= from && answered < until {
                        lock(&tally).count(outcome, u64::from(self.batch), answered - asked);
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.context("a task of the load")?;
        }

        Ok(lock(&tally).report(self.measured))
    }

    fn postings(&self, peer: &impl Peer) -> Vec<Posting> {
        (0..self.batch)
            .map(|_| Posting { id: Uuid::now_v7(), customer: any(peer.customers()), cash: any(peer.cash()) })
            .collect()
    }
}

/// What the tasks have counted together.
struct Tally {
    latencies: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self { latencies: Histogram::new_with_bounds(1, 600_000_000, 3)?, errors: BTreeMap::new() })
    }

    fn count(&mut self, outcome: Result<(), impl Display>, postings: u64, took: Duration) {
        match outcome {
            Ok(()) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record_n(micros, postings);
            }
            Err(error) => {
                let mut text: String = error.to_string().chars().take(ERROR_LENGTH).collect();
                if self.errors.len() >= ERRORS_TOLD_APART && !self.errors.contains_key(&text) {
                    "other".clone_into(&mut text);
                }
                *self.errors.entry(text).or_default() += 1;
            }
        }
    }

    fn report(&self, measured: Duration) -> Report {
        let operations = self.latencies.len();
        let seconds = measured.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let rate = operations as f64 / seconds;
        Report {
            operations,
            seconds,
            rate,
            p50_us: self.latencies.value_at_quantile(0.5),
            p90_us: self.latencies.value_at_quantile(0.9),
            p99_us: self.latencies.value_at_quantile(0.99),
            p999_us: self.latencies.value_at_quantile(0.999),
            max_us: self.latencies.max(),
            errors: self.errors.clone(),
        }
    }
}

/// A task that panicked has left the counts whole: it cannot have been in the middle of changing them.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn any(accounts: &[Uuid]) -> Uuid {
    accounts[fastrand::usize(..accounts.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_posting_of_a_call_counts_and_a_failed_call_counts_once() {
        let mut tally = Tally::new().unwrap();
        tally.count(Ok::<_, String>(()), 3, Duration::from_millis(5));
        tally.count(Err("deadlock"), 3, Duration::from_millis(9));
        let report = tally.report(Duration::from_secs(2));
        assert_eq!(report.operations, 3);
        assert!((report.rate - 1.5).abs() < 1e-9);
        assert!((5_000..5_010).contains(&report.max_us), "{}", report.max_us);
        assert_eq!(report.errors, BTreeMap::from([("deadlock".to_owned(), 1)]));
    }

    #[test]
    fn errors_which_all_differ_do_not_fill_the_report() {
        let mut tally = Tally::new().unwrap();
        for n in 0..100 {
            tally.count(Err(n), 1, Duration::ZERO);
        }
        assert_eq!(tally.errors.len(), ERRORS_TOLD_APART + 1);
        assert_eq!(tally.errors["other"], 80);
    }
}
