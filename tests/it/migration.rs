//! `docs/MIGRATION.md` is how a coordinator moves in: its commands are run on a small one, there and back.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use billing::grpc::proto::{ReverseRequest, reverse_request::Credit as CreditName};
use diesel::{
    dsl,
    sql_types::{BigInt, Text},
};

use crate::support::{console::commands, dir::Dir, shell, waiting::run, *};

const PAGE: &str = include_str!("../../docs/MIGRATION.md");
/// The coordinator that the page shows.
const COORDINATOR: &str = include_str!("migration/coordinator.sql");

/// The page's first block of a language after a heading.
fn block(heading: &str, language: &str) -> &'static str {
    let (_, section) = PAGE.split_once(heading).unwrap();
    let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// A coordinator with a longer history: 40 accounts, 500 rows each.
const LONGER_HISTORY: &str = "
    INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
    SELECT 'account-' || a, 'deposit', 10, 10 * i, 'row ' || i, '2026-01-01'::timestamptz + i * interval '1 s'
    FROM generate_series(1, 500) i, generate_series(1, 40) a ORDER BY i;
    INSERT INTO balances SELECT account_id, sum(amount_micro_usd), 0, max(created_at) FROM ledger_entries
    WHERE account_id LIKE 'account-%' GROUP BY account_id";

/// A coordinator, and a book to move into.
struct Move {
    source: TestBook,
    book: TestBook,
    dir: Dir,
}

impl Move {
    async fn new() -> Self {
        let source = TestBook::create_empty().await;
        source.run_sql(COORDINATOR).await.unwrap();
        Self { source, book: TestBook::create().await, dir: Dir::new() }
    }

    /// What a command prints, and whether it went well.
    fn run(&self, command: &str) -> (String, bool) {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(self.dir.path());
        bash.env("PATH", shell::path()).env("DATABASE_URL", &self.book.url);
        let output = run(bash.env("BILLING_SOURCE_URL", &self.source.url));
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }
}

/// The text without what the clock says.
fn without_durations(text: &str) -> String {
    let lines = text.trim_end().lines().filter(|line| !line.ends_with(" entries per second"));
    let lines = lines.map(|line| match line.split_once(" rows in ") {
        Some((imported, _)) => imported,
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What accounts have, by a query of two columns.
async fn balances(book: &TestBook, sql: &str) -> Vec<(String, i64)> {
    let query = dsl::sql::<(Text, BigInt)>(sql);
    // By its whole name: brought into scope, its `load` would be that of atomics, too.
    diesel_async::RunQueryDsl::load(query, &mut book.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_really_happens() {
    let moving = Move::new().await;
    let commands = commands(PAGE);
    assert!(commands.len() >= 6, "only {} commands", commands.len());
    for (command, expected) in commands {
        if command.starts_with("export ") {
            continue; // the page's addresses
        }
        let (printed, _) = tokio::task::block_in_place(|| moving.run(&command));
        assert_eq!(without_durations(&printed), without_durations(&expected), "$ {command}\n{printed}");
    }
    moving.book.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_by_type_are_those_of_the_source() {
    let moving = Move::new().await;
    tokio::task::block_in_place(|| assert!(moving.run("billing import").1));
    let (in_source, in_book) = block("## 5. Check", "sql").split_once("-- in the book\n").unwrap();
    let rows = |url: &str, sql: &str| {
        let (rows, _) = moving.run(&format!("psql -XAt -v ON_ERROR_STOP=1 '{url}' <<'SQL'\n{sql}\nSQL"));
        let mut rows: Vec<_> = rows.lines().map(str::to_owned).collect();
        rows.sort_unstable(); // the two databases may collate names differently
        rows
    };
    let source = rows(&moving.source.url, in_source);
    assert_eq!(source.len(), 9);
    assert_eq!(source, rows(&moving.book.url, in_book));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_since_can_be_carried_back() {
    let moving = Move::new().await;
    tokio::task::block_in_place(|| assert!(moving.run("billing import").1));
    let server = moving.book.serve().await;
    let mut client = server.client().await;
    client.credit(stripe_deposit("ann", "stripe/cs_live_a2", 7_000_000, "cs_live_a2")).await.answered();
    client.charge(charge("ann", "charge/1", 300_000)).await.answered();
    client.refund(refund("ann", "refund/1", 100_000, "charge/1")).await.answered();
    client.credit(deposit("fay", "wire/18", 900_000)).await.answered();
    client.withdraw(withdraw("dan", "withdrawal/w2", 500_000)).await.answered();
    client.withdraw(withdraw("platform", "withdrawal/w3", 75_000)).await.answered();
    client.refund(refund("platform", "withdrawal/w3/refund", 25_000, "withdrawal/w3")).await.answered();
    let credit = Some(CreditName::CreditSequence(2));
    let twice = ReverseRequest { credit, ..reverse("bob", "ticket/1", 25_000_000, "") };
    client.reverse(twice).await.answered();
    drop((client, server));

    let (printed, went_well) = tokio::task::block_in_place(|| moving.run(block("## 6. Roll back", "sh")));
    assert!(went_well, "{printed}");
    let there = "SELECT account_id, balance_micro_usd AS balance FROM balances \
                 WHERE balance_micro_usd <> 0 ORDER BY account_id COLLATE \"C\"";
    let here = "SELECT account_id::text, posted_micro_usd AS balance FROM accounts ORDER BY account_id";
    assert_eq!(balances(&moving.source, there).await, balances(&moving.book, here).await);
    let carried = "SELECT count(*) FROM ledger_entries WHERE created_at > now() - interval '1 hour'";
    assert_eq!(moving.source.number(carried).await, 8);
    let session = "SELECT count(*) FROM ledger_entries WHERE reference = 'stripe:cs_live_a2'";
    assert_eq!(moving.source.number(session).await, 1);
    let there = "SELECT account_id, withdrawable_micro_usd AS withdrawable FROM balances \
                 WHERE withdrawable_micro_usd <> 0 ORDER BY account_id COLLATE \"C\"";
    let withdrawable = [("dan", 1_500_000), ("platform", 25_000)].map(|(id, sum)| (id.to_owned(), sum));
    assert_eq!(balances(&moving.source, there).await, withdrawable);
    moving.book.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_and_the_service_at_work_do_not_disturb_each_other() {
    let moving = Move::new().await;
    moving.source.run_sql(LONGER_HISTORY).await.unwrap();
    let server = moving.book.serve().await;
    let client = server.client().await;
    let is_importing = Arc::new(AtomicBool::new(true));
    let callers: Vec<_> = (1..=4)
        .map(|caller| {
            let (mut client, is_importing) = (client.clone(), Arc::clone(&is_importing));
            tokio::spawn(async move {
                let mut calls = 0;
                while is_importing.load(Ordering::Relaxed) || calls == 0 {
                    calls += 1;
                    for account in (caller..=40).step_by(4) {
                        let (account, key) = (format!("account-{account}"), format!("{caller}/{calls}"));
                        client.credit(deposit(&account, &format!("wire/{key}"), 5)).await.answered();
                        client.charge(charge(&account, &format!("job/{key}"), 3)).await.answered();
                    }
                }
                calls
            })
        })
        .collect();
    let (printed, went_well) = tokio::task::block_in_place(|| moving.run("billing import"));
    is_importing.store(false, Ordering::Relaxed);
    assert!(went_well && printed.contains("Imported 20013 rows"), "{printed}");
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    let posted = "SELECT sum(posted_micro_usd) FROM accounts WHERE account_id LIKE 'account-%'";
    assert_eq!(moving.book.number(posted).await, 40 * 500 * 10 + calls * 10 * 2);
    let sooner = "SELECT count(*) FROM ledger_entries e JOIN ledger_entries k USING (account_id) \
                  WHERE e.metadata ? 'imported_id' AND k.idempotency_key IS NOT NULL AND k.sequence < e.sequence";
    assert!(moving.book.number(sooner).await > 0, "the service came too late to be in the way");
    drop((client, server));
    moving.book.check().await;
}
