//! Writes down which leases have run out.
//!
//! Nothing depends on it: from the moment its lease runs out a reservation holds nothing, in every read and for every
//! operation. The sweeper sees to it that the journal says so soon, also for accounts where nothing else happens.
//! Several replicas may sweep at once: the key of an expiry is made from the reservation, so it is written once.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    accounting::Command,
    committer::Committer,
    ledger::{Ledger, LedgerError},
    telemetry::Metrics,
};

/// How many accounts one sweep goes through at most.
const ACCOUNTS_MAX: i64 = 1_000;

/// How often open reservations are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// Sweeps every so often, for ever.
pub async fn sweep(ledger: Ledger, committer: Committer, metrics: Metrics, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        match sweep_once(&ledger, &committer).await {
            Ok(written) => metrics.swept(Some(written)),
            Err(error) => {
                tracing::debug!(%error, "cannot look for leases that have run out");
                metrics.swept(None);
            }
        }
    }
}

/// Writes down one expiry for each account that has any: with it goes whatever else has run out there. Returns how many could
/// be written; the others are found again by the next sweep.
async fn sweep_once(ledger: &Ledger, committer: &Committer) -> Result<u64, LedgerError> {
    let mut expiries = JoinSet::new();
    for (account_id, reservation_id) in ledger.lapsed_list(ACCOUNTS_MAX).await? {
        let committer = committer.clone();
        expiries.spawn(async move { committer.submit(Command::expire(account_id, reservation_id)).await });
    }
    let mut written = 0;
    for answer in expiries.join_all().await {
        match answer {
            Ok(_) => written += 1,
            Err(error) => tracing::debug!(%error, "an expiry was not written"),
        }
    }
    Ok(written)
}

/// Counts the open reservations every so often, for ever: those that stay open for longer than any lease are a sign that
/// something is wrong.
pub async fn count(ledger: Ledger, metrics: Metrics) {
    loop {
        match ledger.open_reservations().await {
            Ok((count, oldest)) => metrics.set_open_reservations(count, oldest),
            Err(error) => tracing::debug!(%error, "cannot count the open reservations"),
        }
        tokio::time::sleep(COUNT_INTERVAL).await;
    }
}
