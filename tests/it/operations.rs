//! `docs/OPERATIONS.md` is what an operator has at night: its commands are run, and its tables are compared with the program.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::{
    check::check_book,
    cluster,
    console::{commands, without_times},
    shell::Shell,
};

const PAGE: &str = include_str!("../../docs/OPERATIONS.md");
const CLIENTS: &str = include_str!("../../docs/CLIENTS.md");
const CONTRACT: &str = include_str!("../../proto/billing/v1/billing.proto");

/// What stands between two marks of the page.
fn between(begin: &str, end: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0
}

/// The rows of a table, each as its cells, without the backticks of those that are one piece of code.
fn rows(table: &str) -> Vec<Vec<String>> {
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells =
        |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// The program's messages at info, warn and error, by its source: the last text of each call of a macro of tracing.
fn messages() -> BTreeSet<(String, String)> {
    let mut messages = BTreeSet::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                messages.extend(messages_of(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    messages
}

fn messages_of(source: &str) -> Vec<(String, String)> {
    let mut messages = Vec::new();
    for level in ["info", "warn", "error"] {
        let (macros, of_calls) = (format!("{level}!("), format!("line!(Level::{},", level.to_uppercase()));
        for call in source.split(&macros).skip(1).chain(source.split(&of_calls).skip(1)) {
            let call = call.split(");").next().unwrap().split("),\n").next().unwrap();
            let text = call.split('"').rev().nth(1).unwrap();
            messages.push((level.to_owned(), text.to_owned()));
        }
    }
    messages
}

#[test]
fn the_table_of_messages_is_that_of_the_program() {
    let table = rows(between("<!-- log:begin", "<!-- log:end"));
    let by_page: BTreeSet<(String, String)> =
        table.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let by_source = messages();
    assert!(by_source.len() > 15, "{by_source:?}");
    assert_eq!(by_page, by_source);
}

#[test]
fn every_reason_of_the_contract_is_explained_to_operators_and_to_callers() {
    let reason = |line: &str| line.split('|').nth(2)?.split('`').nth(1).map(str::to_owned);
    let reasons: BTreeSet<String> =
        CONTRACT.lines().filter(|line| line.starts_with("// | ")).filter_map(reason).collect();
    assert!(reasons.len() > 25, "{reasons:?}");
    for reason in reasons {
        for (name, page) in [("OPERATIONS", PAGE), ("CLIENTS", CLIENTS)] {
            // Of credentials and methods, reason and code are one word.
            let is_there = page.contains(&format!("`{reason}`"));
            assert!(is_there, "docs/{name}.md does not explain {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_really_happens() {
    let book = cluster::create_empty_database("book_of_operations").await;
    let mut shell = Shell::new(&book, "operations").await;
    let commands = commands(PAGE);
    assert!(commands.len() >= 15, "only {} commands", commands.len());
    for (command, expected) in commands {
        let printed = tokio::task::block_in_place(|| shell.run(&command));
        assert_eq!(without_times(&printed), without_times(&expected), "$ {command}\n{printed}");
    }
    shell.end_service();
    for book in ["DATABASE_URL", "RESTORED_URL"] {
        check_book(shell.variable(book)).await;
    }
}
