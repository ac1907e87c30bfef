//! `billing import` and `billing audit`, as an operator runs them.

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{old_coordinator::OldCoordinator, side_by_side::check_import};
use crate::support::{
    TestBook,
    process::{Process, billing},
    waiting::{ended, finish_within, printed},
};

/// How long an import may take: `make history` has long ones.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// The command that imports a database into another.
pub fn import_command(source: &str, target: &str) -> Command {
    let mut command = Process::command();
    command.args(["import", "--source", source, "--database-url", target, "--json"]);
    command
}

/// Imports, and returns how that ended.
pub async fn try_import(source: &str, target: &str) -> Output {
    finish(begin_import(source, target)).await
}

/// Waits for an import.
pub async fn finish(import: Child) -> Output {
    tokio::task::spawn_blocking(|| finish_within(PATIENCE, import)).await.unwrap()
}

/// Begins to import. What it prints is read by `finish`.
pub fn begin_import(source: &str, target: &str) -> Child {
    let mut command = import_command(source, target);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Imports all but some accounts, and returns the summary.
pub async fn import_some(old: &OldCoordinator, book: &TestBook) -> Value {
    summary(try_import(old.url(), &book.url).await, 2)
}

/// Imports everything, and returns the summary.
pub async fn import(old: &OldCoordinator, book: &TestBook) -> Value {
    summary(try_import(old.url(), &book.url).await, 0)
}

/// A history of so many rows and everything irregular, and the book that it was imported into.
pub async fn imported(rows: i64) -> (OldCoordinator, TestBook) {
    let old = OldCoordinator::with_history(rows).await;
    old.plant().await;
    let book = TestBook::create().await;
    import(&old, &book).await;
    (old, book)
}

/// Imports everything, which is so many rows, and fails unless the book is then what it must be.
pub async fn import_rows(old: &OldCoordinator, book: &TestBook, rows: i64) {
    let summary = import(old, book).await;
    assert_eq!(summary["rows"], rows, "{summary}");
    check_import(old, book).await;
}

/// The summary of an import that ended with this status: the last line that it printed.
pub fn summary(output: Output, status: i32) -> Value {
    let (told, said) = ended(output, status);
    let last = told.lines().last().unwrap_or_else(|| panic!("no summary: {said}"));
    let mut last: Value = serde_json::from_str(last).unwrap();
    assert!(last["summary"].is_object(), "{last}");
    last["summary"].take()
}

/// Fails unless an import fails and writes nothing. Returns what it said.
pub async fn import_refused(source: &str, book: &TestBook) -> String {
    let (_, said) = ended(try_import(source, &book.url).await, 1);
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0);
    assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 0);
    said
}

/// Fails unless the auditor finds that everything adds up.
pub async fn audit(book: &TestBook) {
    printed(billing(&["audit", "--database-url", &book.url]).await);
}
