//! A small database of the replaced system.

use std::process::Output;

use serde_json::Value;

use crate::support::{TestBook, process::billing, waiting::ended};

/// Its tables, with all that they let in.
pub const TABLES: &str = "
    CREATE TABLE balances (account_id TEXT PRIMARY KEY, balance_micro_usd BIGINT NOT NULL DEFAULT 0,
        withdrawable_micro_usd BIGINT NOT NULL DEFAULT 0, updated_at TIMESTAMPTZ NOT NULL DEFAULT now());
    CREATE TABLE ledger_entries (id BIGSERIAL PRIMARY KEY, account_id TEXT, entry_type TEXT, amount_micro_usd BIGINT,
        balance_after BIGINT, reference TEXT DEFAULT '', created_at TIMESTAMPTZ DEFAULT now());
    CREATE INDEX idx_ledger_account ON ledger_entries (account_id, created_at DESC);";

/// Nothing irregular, references that are repeated by design among it. Ann's rows are 1 to 4, Bob's 5 and 6.
pub const REGULAR: &str = "
    INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at) VALUES
        ('ann', 'stripe_deposit', 100, 100, 'stripe:cs_1', '2026-01-01'),
        ('ann', 'charge', -30, 70, 'reserve:ann', '2026-01-02'),
        ('ann', 'charge', -20, 50, 'reserve:ann', '2026-01-03'),
        ('ann', 'refund', 10, 60, 'reservation_refund', '2026-01-04'),
        ('bob', 'payout', 40, 40, 'job-1', '2026-01-05'),
        ('bob', 'withdrawal', -40, 0, '', '2026-01-06');
    INSERT INTO balances VALUES ('ann', 60, 0, '2026-01-04'), ('bob', 0, 0, '2026-01-06'), ('eve', 0, 0, '2026-01-01');";

/// A source with nothing in it.
pub async fn empty_source() -> TestBook {
    let source = TestBook::create_empty().await;
    source.run_sql(TABLES).await.unwrap();
    source
}

/// A source with what some statements put in.
pub async fn source(sql: &str) -> TestBook {
    let source = empty_source().await;
    fill(&source, sql).await;
    source
}

/// Makes a source what some statements put into an empty one.
pub async fn fill(source: &TestBook, sql: &str) {
    let all = format!("TRUNCATE balances, ledger_entries RESTART IDENTITY; {sql}");
    source.run_sql(&all).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Runs `billing preflight`.
pub async fn run_preflight(url: &str, flags: &[&str]) -> Output {
    billing(&[&["preflight", "--source", url], flags].concat()).await
}

/// What a preflight prints as JSON Lines.
#[derive(Default)]
pub struct Told {
    pub status: i32,
    pub types: Vec<Value>,
    pub irregularities: Vec<Value>,
    pub summary: Value,
}

/// Runs `billing preflight --json` to its end.
pub async fn preflight(url: &str) -> Told {
    let output = run_preflight(url, &["--json"]).await;
    let mut told = Told { status: output.status.code().unwrap(), ..Told::default() };
    let (printed, said) = ended(output, told.status);
    assert_eq!(said, "");
    for line in printed.lines() {
        let mut line: Value = line.parse().unwrap();
        assert!(told.summary.is_null(), "the summary comes last: {line}");
        match line.as_object().unwrap().keys().next().unwrap().as_str() {
            "type" => told.types.push(line["type"].take()),
            "irregularity" => told.irregularities.push(line["irregularity"].take()),
            "summary" => told.summary = line["summary"].take(),
            other => panic!("{other}"),
        }
    }
    assert!(told.summary.is_object(), "no summary");
    told
}

/// What a preflight prints for people, which ends with this status.
pub async fn preflight_for_people(url: &str, status: i32) -> String {
    let (printed, said) = ended(run_preflight(url, &[]).await, status);
    assert_eq!(said, "", "there is nothing to draw where there is no terminal");
    printed
}
