//! Accounts that cannot be imported until they are changed at the source.

use super::{
    command::{import, import_some, imported},
    old_coordinator::OldCoordinator,
    side_by_side::check_import,
};
use crate::support::TestBook;

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_cannot_be_named_are_left_out_and_listed() {
    let old = OldCoordinator::with_history(2_000).await;
    let unnameable = old.plant_unnameable().await;
    let book = TestBook::create().await;
    let summary = import_some(&old, &book).await;
    assert_eq!(summary["left_out_accounts"], unnameable, "{summary}");
    check_import(&old, &book).await;
    assert_eq!(book.number("SELECT count(*) FROM accounts WHERE account_id LIKE 'no-%'").await, 0);

    let summary = import_some(&old, &book).await;
    assert_eq!(summary["rows"], 0, "{summary}");
    old.mend_unnameable().await;
    let summary = import(&old, &book).await;
    assert_eq!(summary["left_out_accounts"], 0, "{summary}");
    check_import(&old, &book).await;
    let mended = "SELECT count(*) FROM accounts WHERE account_id LIKE 'no-%' OR account_id LIKE 'mended-%'";
    assert_eq!(book.number(mended).await, unnameable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_an_account_left_out_credited_first_is_claimed_by_who_comes_next() {
    let old = OldCoordinator::with_history(100).await;
    old.run(
        "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
         VALUES ('no name', 'stripe_deposit', 5, 5, 'stripe:cs_no_name', '2025-05-01'),
                ('unreadable', 'stripe_deposit', 5, 5, 'stripe:cs_unreadable', '2025-05-01'),
                ('unreadable', NULL, 5, 10, '', '2025-05-01'),
                ('next-1', 'stripe_deposit', 5, 5, 'stripe:cs_no_name', '2025-06-01'),
                ('next-2', 'stripe_deposit', 5, 5, 'stripe:cs_unreadable', '2025-06-01');
         INSERT INTO balances VALUES ('no name', 5, 0, now()), ('unreadable', 10, 0, now()), ('next-1', 5, 0, now()),
                ('next-2', 5, 0, now())",
    )
    .await;
    let book = TestBook::create().await;
    import_some(&old, &book).await;
    for session in ["cs_no_name", "cs_unreadable"] {
        let claims = format!("SELECT count(*) FROM payments WHERE external_id = '{session}'");
        assert_eq!(book.number(&claims).await, 1, "{session} can be credited once more");
    }
    check_import(&old, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_rows_were_changed_or_deleted_after_their_import_is_listed_and_not_taken_further() {
    let (old, book) = imported(1_000).await;
    let [changed, deleted] = ["Case", "case"];
    let before = book.number("SELECT count(*) FROM ledger_entries").await;
    old.run(&format!(
        "UPDATE ledger_entries SET amount_micro_usd = amount_micro_usd + 1 WHERE account_id = '{changed}';
         DELETE FROM ledger_entries WHERE account_id = '{deleted}' AND amount_micro_usd < 0;
         INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd) VALUES ('CASE', 'deposit', 1);
         UPDATE balances SET balance_micro_usd = balance_micro_usd + 1 WHERE account_id = 'CASE'"
    ))
    .await;
    for new in [1, 0] {
        let summary = import_some(&old, &book).await;
        assert_eq!((&summary["left_out_accounts"], &summary["rows"]), (&2.into(), &new.into()), "{summary}");
    }
    assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, before + 1);
    book.check().await;
}
