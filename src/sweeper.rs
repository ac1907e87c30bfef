//! Records expired leases and grants.
//!
//! Nothing depends on it: from its expiry on a reservation holds nothing, and a grant pays for nothing, in every read and for every
//! operation. The sweeper makes the journal say so soon, even in accounts where nothing else happens.
//!
//! Accounts are processed in the order of their expiries, a few per transaction, and share what one transaction may write:
//! an account with many expired leases does not delay the others. Several replicas may sweep concurrently: each checks
//! again under the locks.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    accounting::AccountId,
    ledger::{DueAccount, Ledger, LedgerError, Writer},
    telemetry::Metrics,
};

/// The most accounts in one transaction.
const ACCOUNTS_AT_ONCE: usize = 50;

/// The shortest interval between two counts of open reservations.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// Counting takes at most one part in so many of the time.
const COUNT_SHARE: u32 = 100;

/// Sweeps forever: without a pause while there is anything to record, else at each interval.
pub async fn sweep(ledger: Ledger, metrics: Metrics, interval: Duration) {
    let writers: Vec<_> =
        (0..ledger.book_count()).map(|_| Writer::new(&ledger).measured_by(&metrics)).collect();
    loop {
        match sweep_once(&ledger, &writers).await {
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

/// Sweeps every book, all at once: one that is away delays no other. Returns how many leases it recorded, or why one book could
/// not be swept.
async fn sweep_once(ledger: &Ledger, writers: &[Writer]) -> Result<u64, LedgerError> {
    let books = writers.iter().enumerate().map(|(book, writer)| sweep_book(ledger, book, writer));
    join_all(books).await.into_iter().sum()
}

/// Visits all accounts of a book that may have expired leases, and returns how many leases it recorded. The next sweep finds what
/// could not be written, or was too much.
async fn sweep_book(ledger: &Ledger, book: usize, writer: &Writer) -> Result<u64, LedgerError> {
    let mut written = 0;
    let mut last: Option<DueAccount> = None;
    loop {
        let due = ledger.due_list(book, last.as_ref(), ACCOUNTS_AT_ONCE).await?;
        written += write_lapsed(writer, due.iter().map(|due| due.account_id.clone()).collect()).await?;
        if due.len() < ACCOUNTS_AT_ONCE {
            return Ok(written);
        }
        last = due.into_iter().next_back();
    }
}

/// Records the expired leases of some accounts; if that fails, of each account separately.
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

/// Counts the open reservations periodically, forever: one that is older than any lease is a sign of a fault.
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
