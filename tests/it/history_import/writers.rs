//! The old system still writes while imports run one after another; when it has stopped, the last one takes the rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::task::JoinSet;

use super::{
    command::import,
    old_coordinator::OldCoordinator,
    side_by_side::{SideBySide, check_import},
};
use crate::support::TestBook;

const WRITERS: usize = 8;
const IMPORTS: usize = 5;

/// A credit as the old system writes it: the balance, then the row with the balance after it, in one transaction. The time of the
/// row is that of the transaction's begin, before it waits for the balance.
fn credit(account: &str, amount: i64, entry_type: &str, reference: &str) -> String {
    format!(
        "WITH balance AS (
             INSERT INTO balances VALUES ('{account}', {amount}, 0, now())
             ON CONFLICT (account_id) DO UPDATE
             SET balance_micro_usd = balances.balance_micro_usd + {amount}, updated_at = now()
             RETURNING balance_micro_usd
         )
         INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference)
         SELECT '{account}', '{entry_type}', {amount}, balance_micro_usd, '{reference}' FROM balance"
    )
}

/// A debit: nothing, if there is not enough.
fn debit(account: &str, amount: i64, entry_type: &str, reference: &str) -> String {
    format!(
        "WITH balance AS (
             UPDATE balances SET balance_micro_usd = balance_micro_usd - {amount}, updated_at = now()
             WHERE account_id = '{account}' AND balance_micro_usd >= {amount}
             RETURNING balance_micro_usd
         )
         INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference)
         SELECT '{account}', '{entry_type}', -{amount}, balance_micro_usd, '{reference}' FROM balance"
    )
}

/// Writes until it is told to stop: mostly into `hot`, now and then into accounts that were not there. Returns how often.
async fn write(mut old: AsyncPgConnection, writer: usize, is_over: Arc<AtomicBool>) -> usize {
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return n;
        }
        let account = match n % 5 {
            0 => format!("new-{writer}-{}", n / 50),
            1 => format!("account-{}", n % 7),
            _ => "hot".to_owned(),
        };
        let statement = match n % 4 {
            0 => credit(&account, 5_000_000, "stripe_deposit", &format!("stripe:cs_live_{writer}_{n}")),
            1 => debit(&account, 3_000, "charge", &format!("reserve:{account}")),
            2 => credit(&account, 1_000, "refund", "reservation_refund"),
            _ => debit(&account, 2_000_000, "withdrawal", &format!("stripe_withdraw:{n}")),
        };
        old.batch_execute("BEGIN").await.unwrap();
        old.batch_execute(&statement).await.unwrap();
        if n % 11 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await; // so that ids are not in the order of commits
        }
        old.batch_execute("COMMIT").await.unwrap();
    }
    unreachable!("it is told to stop")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_beside_a_coordinator_that_still_writes_ends_exact() {
    let old = OldCoordinator::with_history(5_000).await;
    let book = TestBook::create().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(old.connect().await, writer, Arc::clone(&is_over)));
    }
    let mut taken = Vec::new();
    for _ in 0..IMPORTS {
        import(&old, &book).await;
        book.check().await;
        SideBySide::copy(&old, &book).await.remember().await;
        taken.push(book.number("SELECT count(*) FROM ledger_entries").await);
    }
    is_over.store(true, Ordering::Relaxed);
    let written: usize = writers.join_all().await.into_iter().sum();
    import(&old, &book).await;
    println!("{written} transactions during imports, which came to {taken:?} entries");
    assert!(taken[0] < taken[IMPORTS - 1], "nothing was written between imports: {taken:?}");
    let adjusted = "SELECT count(*) FROM ledger_entries WHERE metadata ? 'imported_adjustment'";
    assert_eq!(book.number(adjusted).await, 0, "a balance was read at another moment than its rows");
    check_import(&old, &book).await;
}
