//! What is refused before anything is written: a source that is none, and a second import at the same time.

use super::{
    command::{begin_import, finish, import_refused, summary, try_import},
    old_coordinator::OldCoordinator,
    rows,
    side_by_side::check_import,
};
use crate::support::{
    TestBook,
    waiting::{ended, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_none_is_refused() {
    let book = TestBook::create().await;
    let nothing = TestBook::create_empty().await;
    let said = import_refused(&nothing.url, &book).await;
    assert!(said.contains("balances") && said.contains("ledger_entries"), "{said}");
    let other_book = TestBook::create().await;
    for url in [&other_book.url, &book.url] {
        let said = import_refused(url, &book).await;
        assert!(said.contains("balances"), "{said}");
    }
    for (table, column) in [
        ("balances", "account_id"),
        ("balances", "balance_micro_usd"),
        ("balances", "withdrawable_micro_usd"),
        ("ledger_entries", "id"),
        ("ledger_entries", "account_id"),
        ("ledger_entries", "entry_type"),
        ("ledger_entries", "amount_micro_usd"),
        ("ledger_entries", "balance_after"),
        ("ledger_entries", "reference"),
        ("ledger_entries", "created_at"),
    ] {
        let old = OldCoordinator::with_history(10).await;
        old.run(&format!("ALTER TABLE {table} RENAME {column} TO other")).await;
        let said = import_refused(old.url(), &book).await;
        assert!(said.contains(table) && said.contains(column), "{table}.{column}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_book_is_refused() {
    let old = OldCoordinator::with_history(10).await;
    let nothing = TestBook::create_empty().await;
    let (_, said) = ended(try_import(old.url(), &nothing.url).await, 1);
    assert!(said.contains("billing migrate"), "{said}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(nothing.number(tables).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_at_once_are_one() {
    let old = OldCoordinator::with_history(rows()).await;
    old.plant().await;
    let book = TestBook::create().await;
    let mut first = begin_import(old.url(), &book.url);
    until("an account is imported", async || {
        assert!(first.try_wait().unwrap().is_none(), "it ended without having imported anything");
        (book.number("SELECT count(*) FROM imported_accounts").await > 0).then_some(())
    })
    .await;
    let second = try_import(old.url(), &book.url).await; // waits for the first one, for a while
    let [told, said] = [&second.stdout, &second.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let found_nothing = second.status.success() && told.contains("\"rows\":0");
    assert!(found_nothing || said.contains("another import"), "{told}\n{said}");
    summary(finish(first).await, 0);
    check_import(&old, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_does_not_wait_for_another_without_a_bound() {
    let (old, book) = (OldCoordinator::with_history(10).await, TestBook::create().await);
    let mut other = book.connect().await;
    let lock = "SELECT pg_advisory_lock(hashtextextended('billing.import', 0))";
    diesel_async::SimpleAsyncConnection::batch_execute(&mut other, lock).await.unwrap();
    let said = import_refused(old.url(), &book).await;
    assert!(said.contains("another import into this book is under way"), "{said}");
}
