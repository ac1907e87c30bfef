//! History is imported into a book that the service already writes to: neither loses anything of the other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::JoinSet;

use super::{command::import, old_coordinator::OldCoordinator, side_by_side::check_import};
use crate::support::*;

const USD: i64 = 1_000_000;
const CLIENTS: usize = 4;

/// Credits and charges accounts that are being imported, and one that is not, until it is told to stop. Returns how often.
async fn call(mut client: Client, number: usize, is_over: Arc<AtomicBool>) -> i64 {
    let accounts = ["hot", "account-1", "types-other", "times-mixed", "not-imported"];
    for (n, account) in accounts.into_iter().cycle().enumerate() {
        if is_over.load(Ordering::Relaxed) {
            return 2 * i64::try_from(n).unwrap();
        }
        let key = |what: &str| format!("{what}-{number}-{n}");
        client.credit(deposit(account, &key("order"), 100)).await.answered();
        client.charge(charge(account, &key("job"), 40)).await.answered();
    }
    unreachable!("it is told to stop")
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_imported_beside_the_service_at_work() {
    let old = OldCoordinator::with_history(5_000).await;
    old.plant().await;
    let book = TestBook::create().await;
    let server = book.serve().await;
    // A payment that the service has credited before its history came.
    let mut client = server.client().await;
    client.credit(stripe_deposit("stripe-twice", "webhook-1", 5 * USD, "cs_test_twice")).await.answered();

    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(call(server.client().await, number, Arc::clone(&is_over)));
    }
    let summary = import(&old, &book).await;
    is_over.store(true, Ordering::Relaxed);
    let calls: i64 = clients.join_all().await.into_iter().sum();
    println!("{calls} calls during the import of {} rows", summary["rows"]);
    assert_eq!(summary["repeated_payments"], 9 + 1, "{summary}");
    let own = "SELECT count(*) FROM ledger_entries WHERE idempotency_key IS NOT NULL";
    assert_eq!(book.number(own).await, calls + 1);
    let mixed = "SELECT count(*) FROM ledger_entries o JOIN ledger_entries h USING (account_id)
                 WHERE o.idempotency_key IS NOT NULL AND h.idempotency_key IS NULL AND o.sequence < h.sequence";
    assert!(book.number(mixed).await > 1, "the service had not begun before the import ended");
    check_import(&old, &book).await;
}
