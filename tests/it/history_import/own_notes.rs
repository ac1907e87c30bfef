//! What callers write into metadata is theirs: none of it can pass for an imported row.

use std::collections::BTreeMap;

use super::{command::import_rows, old_coordinator::OldCoordinator};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_a_caller_is_no_imported_row() {
    let old = OldCoordinator::with_history(1_000).await;
    // Each of the notes, and the row that it would hide.
    let notes = [
        ("number", "9000000"),
        ("leading-zero", "09000002"),
        ("word", "x"),
        ("empty", ""),
        ("huge", "9223372036854775808"),
    ];
    for (id, (account, _)) in (9_000_101..).zip(notes) {
        old.deposit(id, account, "2025-06-02").await;
    }
    let book = TestBook::create().await;
    import_rows(&old, &book, 1_000 + 5).await;
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
        old.deposit(9_000_000 + 2 * n, account, "2025-06-01").await; // committed late
    }
    import_rows(&old, &book, 5).await;
}
