//! An import after another takes what has come since, also what was hidden in a transaction that had not been committed.

use diesel_async::SimpleAsyncConnection;

use super::{
    command::{import, import_rows},
    old_coordinator::OldCoordinator,
    side_by_side::check_import,
};
use crate::support::TestBook;

/// Rows as the old system writes them, but for the balance.
fn row(account: &str, entry_type: &str, amount: i64, reference: &str, time: &str) -> String {
    format!(
        "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
         VALUES ('{account}', '{entry_type}', {amount}, 0, '{reference}', '{time}');"
    )
}

/// Balances that are what the rows come to.
fn settle(accounts: &str) -> String {
    format!(
        "INSERT INTO balances SELECT account_id, sum(amount_micro_usd), 0, now() FROM ledger_entries
         WHERE account_id IN ({accounts}) GROUP BY account_id
         ON CONFLICT (account_id) DO UPDATE SET balance_micro_usd = excluded.balance_micro_usd;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_takes_only_the_new_rows_also_those_with_a_lower_id_that_committed_later() {
    let old = OldCoordinator::with_history(5_000).await;
    let planted = old.plant().await;
    let book = TestBook::create().await;
    let mut open = old.connect().await;
    open.batch_execute("BEGIN").await.unwrap();
    let hidden = [
        row("hot", "refund", 7, "reservation_refund", "2025-02-01"), // before all rows of the account
        row("hot", "stripe_deposit", 5_000_000, "stripe:cs_late", "2025-06-02"),
        row("late", "deposit", 100, "", "2025-06-02"),
        row("times-mixed", "charge", -1, "job", "2025-06-02"),
        row("stripe-once", "stripe_deposit", 5_000_000, "stripe:cs_test_once", "2025-01-01"), // claimed by another by then
        settle("'late'"),
    ];
    open.batch_execute(&hidden.concat()).await.unwrap();
    let seen = [
        row("hot", "charge", -5, "reserve:hot", "2025-06-03"),
        row("hot", "stripe_deposit", 5_000_000, "stripe:cs_late", "2025-06-03"),
        settle("'hot'"),
    ];
    old.run(&seen.concat()).await;
    import(&old, &book).await;
    check_import(&old, &book).await;
    let first = book.number("SELECT count(*) FROM ledger_entries").await;

    open.batch_execute(&format!("{}COMMIT", settle("'hot', 'times-mixed', 'stripe-once'"))).await.unwrap();
    import_rows(&old, &book, 5).await;
    let claim = "SELECT count(*) FROM payments c JOIN ledger_entries e USING (account_id, sequence)
                 WHERE c.external_id = 'cs_late' AND e.create_time = '2025-06-03'";
    assert_eq!(book.number(claim).await, 1, "who claimed first keeps it");

    let later = [
        row("late", "charge", -1, "job", "2025-06-04"),
        row("late", "deposit", 5, "", "2025-06-04"),
        row("new", "stripe_deposit", 5, "stripe:cs_late", "2025-06-04"),
        row("new", "stripe_deposit", 5, "stripe:cs_new", "2025-06-04"),
        row("times-of-the-future", "deposit", 1, "", "infinity"),
        row("balance-only", "deposit", 9_000_000, "", "2025-06-04"), // what explains the money, with nothing to adjust any more
        row("balance-nothing", "deposit", 1, "", "2025-06-04"),
        row("amount-most", "deposit", 1, "", "2025-06-05"), // leaves what 64 bits can hold
        settle("'late', 'new', 'times-of-the-future', 'balance-only', 'balance-nothing'"),
        "UPDATE balances SET balance_micro_usd = 1 WHERE account_id = 'amount-most';".to_owned(),
        // Without a row.
        "UPDATE balances SET balance_micro_usd = balance_micro_usd - 1 WHERE account_id = 'Case';".to_owned(),
        "UPDATE balances SET withdrawable_micro_usd = 3 WHERE account_id = 'case';".to_owned(),
    ];
    old.run(&later.concat()).await;
    import_rows(&old, &book, 8).await;

    import_rows(&old, &book, 0).await;
    let rows = "SELECT count(*) FROM ledger_entries WHERE metadata ? 'imported_id'";
    assert_eq!(book.number(rows).await, 5_000 + planted.rows + 2 + 5 + 8);
    assert!(first < book.number("SELECT count(*) FROM ledger_entries").await);
}
