//! What callers write into metadata is theirs: none of it can pass for an imported row.

use std::collections::BTreeMap;

use super::{command::import, old_coordinator::OldCoordinator, side_by_side::check_import};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_a_caller_is_no_imported_row() {
    let old = OldCoordinator::with_history(1_000).await;
    let row = |id: i64, account: &str, time: &str| {
        format!(
            "INSERT INTO ledger_entries (id, account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
             VALUES ({id}, '{account}', 'deposit', 10, 10, '', '{time}');
             INSERT INTO balances AS b VALUES ('{account}', 10, 0, now())
             ON CONFLICT (account_id) DO UPDATE SET balance_micro_usd = b.balance_micro_usd + 10;"
        )
    };
    // Each of the notes, and the row that it would hide.
    let notes = [
        ("number", "9000000"),
        ("leading-zero", "09000002"),
        ("word", "x"),
        ("empty", ""),
        ("huge", "9223372036854775808"),
    ];
    for (id, (account, _)) in (9_000_101..).zip(notes) {
        old.run(&row(id, account, "2025-06-02")).await;
    }
    let book = TestBook::create().await;
    import(&old, &book).await;
    check_import(&old, &book).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    for (account, note) in notes {
        let mut request = deposit(account, "order-1", 5);
        request.metadata = BTreeMap::from([
            ("imported_id".into(), note.into()),
            ("imported_adjustment".into(), "balance".into()),
        ]);
        client.credit(request).await.answered();
    }
    for (n, (account, _)) in (0..).zip(notes) {
        old.run(&row(9_000_000 + 2 * n, account, "2025-06-01")).await; // committed late
    }
    let summary = import(&old, &book).await;
    assert_eq!(summary["rows"], notes.len(), "{summary}");
    check_import(&old, &book).await;
}
