//! Writes down which leases have run out.
//!
//! Nothing depends on it: from the moment its lease runs out a reservation holds nothing, in every read and for every
//! operation. The sweeper sees to it that the journal says so soon, also for accounts where nothing else happens.
//! Several replicas may sweep at once: the key of an expiry is made from the reservation, so it is written once.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{accounting::Command, committer::Committer, ledger::Ledger};

/// How many accounts one sweep goes through at most.
const ACCOUNTS_MAX: i64 = 1_000;

/// Sweeps every so often, for ever.
pub async fn sweep(ledger: Ledger, committer: Committer, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        match ledger.lapsed_list(ACCOUNTS_MAX).await {
            Ok(lapsed) => {
                // One for each account: with it goes whatever else has run out there.
                let mut expiries = JoinSet::new();
                for (account_id, reservation_id) in lapsed {
                    let committer = committer.clone();
                    expiries.spawn(async move {
                        committer.submit(Command::expire(account_id, reservation_id)).await
                    });
                }
                // What could not be written now is found again by the next sweep.
                for error in expiries.join_all().await.into_iter().filter_map(Result::err) {
                    tracing::debug!(%error, "an expiry was not written");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot look for leases that have run out"),
        }
    }
}
