//! Accounts that cannot be imported until they are changed at the source.

use super::{
    command::{import, import_with},
    old_coordinator::OldCoordinator,
    side_by_side::check_import,
};
use crate::support::TestBook;

/// Some accounts were left out.
const EXIT_LEFT_OUT: i32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_cannot_be_named_are_left_out_and_listed() {
    let old = OldCoordinator::with_history(2_000).await;
    let unnameable = old.plant_unnameable().await;
    let book = TestBook::create().await;
    let summary = import_with(&old, &book, EXIT_LEFT_OUT).await;
    assert_eq!(summary["left_out_accounts"], unnameable, "{summary}");
    check_import(&old, &book).await;
    assert_eq!(book.number("SELECT count(*) FROM accounts WHERE account_id LIKE 'no-%'").await, 0);

    let summary = import_with(&old, &book, EXIT_LEFT_OUT).await;
    assert_eq!(summary["rows"], 0, "{summary}");
    old.mend_unnameable().await;
    let summary = import(&old, &book).await;
    assert_eq!(summary["left_out_accounts"], 0, "{summary}");
    check_import(&old, &book).await;
    let mended = "SELECT count(*) FROM accounts WHERE account_id LIKE 'no-%' OR account_id LIKE 'mended-%'";
    assert_eq!(book.number(mended).await, unnameable);
}
