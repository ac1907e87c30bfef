//! Writes down which leases have run out.
//!
//! Nothing depends on it: from the moment its lease runs out a reservation holds nothing, in every read and for every
//! operation. The sweeper sees to it that the journal says so soon, also for accounts where nothing else happens.
//!
//! Accounts come in the order in which their leases ran out, a few in each transaction, and share what one transaction may
//! write: however much there is to do in one, the others have their turn. Several replicas may sweep at once: each looks
//! again under the locks.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    accounting::AccountId,
    ledger::{DueAccount, Ledger, LedgerError, Writer},
    telemetry::Metrics,
};

/// How many accounts go into one transaction at most.
const ACCOUNTS_AT_ONCE: usize = 50;

/// How often open reservations are counted at most.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// Counting takes up no more than this part of the time.
const COUNT_SHARE: u32 = 100;

/// Sweeps, for ever: as long as there is something to write down without a pause, and then every so often.
pub async fn sweep(ledger: Ledger, metrics: Metrics, interval: Duration) {
    let writer = Writer::new(&ledger);
    loop {
        match sweep_once(&ledger, &writer).await {
            Ok(written) => {
                metrics.swept(Some(written));
                if written > 0 {
                    continue;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot look for leases that have run out");
                metrics.swept(None);
            }
        }
        sleep(interval).await;
    }
}

/// Goes through all accounts in which leases may have run out, and returns how many leases it wrote down. What could not be
/// written, or was too much, is found again by the next sweep.
async fn sweep_once(ledger: &Ledger, writer: &Writer) -> Result<u64, LedgerError> {
    let mut written = 0;
    let mut last: Option<DueAccount> = None;
    loop {
        let due = ledger.due_list(last.as_ref(), ACCOUNTS_AT_ONCE).await?;
        written += write_lapsed(writer, due.iter().map(|due| due.account_id.clone()).collect()).await?;
        if due.len() < ACCOUNTS_AT_ONCE {
            return Ok(written);
        }
        last = due.into_iter().next_back();
    }
}

/// Writes down what has run out in some accounts; in each by itself where one of them fails.
async fn write_lapsed(writer: &Writer, account_ids: BTreeSet<AccountId>) -> Result<u64, LedgerError> {
    match writer.write_lapsed(account_ids.clone()).await {
        Err(LedgerError::Refused(_) | LedgerError::Contention(_) | LedgerError::Corrupt(_)) => {}
        written => return written,
    }
    let mut written = 0;
    for account_id in account_ids {
        match writer.write_lapsed(BTreeSet::from([account_id])).await {
            Ok(of_account) => written += of_account,
            Err(error) => tracing::debug!(%error, "an expiry was not written"),
        }
    }
    Ok(written)
}

/// Counts the open reservations every so often, for ever: those that stay open for longer than any lease are a sign that
/// something is wrong.
pub async fn count(ledger: Ledger, metrics: Metrics) {
    loop {
        let begin = Instant::now();
        match ledger.open_reservations().await {
            Ok((count, oldest)) => metrics.set_open_reservations(count, oldest),
            Err(error) => tracing::debug!(%error, "cannot count the open reservations"),
        }
        sleep(COUNT_INTERVAL.max(begin.elapsed() * COUNT_SHARE)).await;
    }
}
