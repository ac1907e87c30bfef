//! `billing import` and `billing audit`, as an operator runs them.

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::old_coordinator::OldCoordinator;
use crate::support::{
    TestBook,
    process::Process,
    waiting::{finish_within, output},
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
    finish(import_command(source, target).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .await
}

/// Waits for an import.
pub async fn finish(import: Child) -> Output {
    tokio::task::spawn_blocking(|| finish_within(PATIENCE, import)).await.unwrap()
}

/// Begins to import. What it prints is read by `finish`.
pub fn begin_import(old: &OldCoordinator, book: &TestBook) -> Child {
    let mut command = import_command(old.url(), &book.url);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Imports with this exit status, and returns the summary.
pub async fn import_with(old: &OldCoordinator, book: &TestBook, status: i32) -> Value {
    summary(&try_import(old.url(), &book.url).await, status)
}

/// Imports everything, and returns the summary.
pub async fn import(old: &OldCoordinator, book: &TestBook) -> Value {
    import_with(old, book, 0).await
}

/// The summary of an import that ended with this status: the last line that it printed.
pub fn summary(output: &Output, status: i32) -> Value {
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{told}\n{said}");
    let last = told.lines().last().unwrap_or_else(|| panic!("no summary: {said}"));
    let mut last: Value = serde_json::from_str(last).unwrap();
    assert!(last["summary"].is_object(), "{last}");
    last["summary"].take()
}

/// Fails unless an import fails and writes nothing. Returns what it said.
pub async fn import_refused(source: &str, book: &TestBook) -> String {
    let output = try_import(source, &book.url).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0);
    assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 0);
    said
}

/// Fails unless the auditor finds that everything adds up.
pub async fn audit(book: &TestBook) {
    let mut command = Process::command();
    command.args(["audit", "--database-url", &book.url]);
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
