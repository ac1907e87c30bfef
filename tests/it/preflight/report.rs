//! What is told of a source as a whole, to people and to programs, and how it ends.

use billing::history::rules::Kind;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use super::source::{REGULAR, empty_source, preflight, preflight_for_people, run_preflight, source};
use crate::support::{TestBook, waiting::ended};

#[tokio::test(flavor = "multi_thread")]
async fn a_regular_source_is_told_to_be_exact() {
    let source = source(REGULAR).await;
    let told = preflight(&source.url).await;
    assert_eq!(told.status, 0);
    assert_eq!(told.irregularities, Vec::<serde_json::Value>::new());
    let types = [
        json!({"entry_type": "charge", "becomes": "CHARGE", "rows": 2, "amount_micro_usd": "-50"}),
        json!({"entry_type": "payout", "becomes": "EARNING", "rows": 1, "amount_micro_usd": "40"}),
        json!({"entry_type": "refund", "becomes": "REFUND", "rows": 1, "amount_micro_usd": "10"}),
        json!({"entry_type": "stripe_deposit", "becomes": "STRIPE_DEPOSIT", "rows": 1, "amount_micro_usd": "100"}),
        json!({"entry_type": "withdrawal", "becomes": "DEPOSIT or CHARGE, by sign", "rows": 1, "amount_micro_usd": "-40"}),
    ];
    assert_eq!(told.types, types);
    let summary = told.summary;
    for (name, figure) in [
        ("import", json!("exact")),
        ("rows", json!(6)),
        ("accounts", json!(3)),
        ("balance_micro_usd", json!("60")),
        ("first_time", json!("2026-01-01T00:00:00.000000Z")),
        ("last_time", json!("2026-01-06T00:00:00.000000Z")),
        ("largest_id", json!("6")),
        ("adjustment_micro_usd", json!("0")),
        ("repeated_payments", json!(0)),
        ("left_out_accounts", json!(0)),
        ("has_account_index", json!(true)),
        ("book_disk_bytes", json!(6 * 342)),
    ] {
        assert_eq!(summary[name], figure, "{name}: {summary}");
    }
    let said = preflight_for_people(&source.url, 0).await;
    assert!(said.starts_with("6 rows, 3 accounts, balances of 0.000060 USD together\n"), "{said}");
    assert!(said.ends_with("\nAn import will be complete and exact.\n"), "{said}");
    assert!(!said.contains("account_id"), "nothing to say of an index: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_source_is_told_to_be_exact() {
    let source = empty_source().await;
    let told = preflight(&source.url).await;
    assert_eq!((told.status, &told.summary["rows"], told.types.len()), (0, &json!(0), 0));
    let said = preflight_for_people(&source.url, 0).await;
    assert!(said.starts_with("0 rows, 0 accounts, balances of 0.000000 USD together\nthe book"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_counted_and_those_that_are_repeated_are_listed() {
    let source = source(&format!(
        "{REGULAR}
         INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference)
         SELECT 'c' || n % 2, 'migration', 1, NULL, CASE WHEN n <= 8 THEN 'by hand' WHEN n <= 13 THEN 'c' || n % 2
                WHEN n = 14 THEN repeat('é', 600) WHEN n = 15 THEN NULL WHEN n <= 20 THEN 'admin_credit' ELSE 'job-' || n END
         FROM generate_series(1, 30) n;
         INSERT INTO balances SELECT account_id, sum(amount_micro_usd) FROM ledger_entries WHERE account_id LIKE 'c_' GROUP BY 1"
    ))
    .await;
    let told = preflight(&source.url).await;
    assert_eq!(told.status, 0, "they are imported as they are: {:?}", told.irregularities);
    let repeated = |reference: &str, rows: i64, accounts: i64, is_generic: bool| json!({"reference": reference, "rows": rows, "accounts": accounts, "is_generic": is_generic});
    let expected = json!({
        "empty": 2,
        "long": 1,
        "longest": 1200,
        "repeated": 4,
        "repeated_rows": 8 + 5 + 5 + 2,
        "most_repeated": [
            repeated("by hand", 8, 2, false),
            repeated("<account>", 5, 2, true),
            repeated("admin_credit", 5, 2, true),
            repeated("reserve:<account>", 2, 1, true),
        ],
    });
    assert_eq!(told.summary["references"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_twenty_of_each_kind_and_what_an_import_will_do() {
    let source = source(&format!(
        "{REGULAR}
         UPDATE balances SET balance_micro_usd = 12000060 WHERE account_id = 'ann';
         INSERT INTO balances SELECT 'no-' || lpad(n::text, 3, '0'), 1000000 FROM generate_series(1, 30) n"
    ))
    .await;
    let said = preflight_for_people(&source.url, 2).await;
    let lines: Vec<&str> = said.lines().collect();
    let heading = format!("BALANCE: {}", Kind::Balance.meaning());
    let at = lines.iter().position(|line| *line == heading).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(lines[at + 1], Kind::Balance.handling());
    assert_eq!(lines[at + 2], "ACCOUNT  ROWS  USD        WHAT");
    assert_eq!(
        lines[at + 3],
        "ann      4     12.000000  the balance is 12.000060, and its rows come to 0.000060"
    );
    assert_eq!(lines[at + 23], "and 11 more", "{said}");
    let last = "An import will be complete, but not exact: 31 adjustments of 42.000000 USD together.";
    assert_eq!(*lines.last().unwrap(), last);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_tells_apart_what_is_changed_what_is_to_be_looked_at_and_what_is_left_out() {
    for (sql, status, last) in [
        (
            "UPDATE ledger_entries SET reference = 'x y' WHERE id = 1",
            2,
            "An import will be complete, with every row and balance as it is there, but look at 1 deposit without a session.",
        ),
        (
            "UPDATE ledger_entries SET created_at = 'infinity' WHERE id = 6;
             UPDATE balances SET withdrawable_micro_usd = -1 WHERE account_id = 'bob'",
            2,
            "An import will be complete, but not exact: 1 account with other times, 1 account with an odd sum to pay out.",
        ),
        (
            "UPDATE ledger_entries SET entry_type = NULL WHERE id = 6",
            3,
            "An import will leave out 1 account with 2 rows, until they are changed at the source.",
        ),
        (
            "UPDATE ledger_entries SET account_id = NULL WHERE id = 6; UPDATE balances SET balance_micro_usd = 40
             WHERE account_id = 'bob'; UPDATE ledger_entries SET balance_after = 1 WHERE id = 5",
            3,
            "An import will leave out 1 account with 1 row, until they are changed at the source. \
             In the others: 1 account with other running balances.",
        ),
    ] {
        let source = source(&format!("{REGULAR} {sql}")).await;
        assert_eq!(preflight_for_people(&source.url, status).await.lines().last(), Some(last));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_the_index_is_told_so() {
    let source = source(REGULAR).await;
    for (sql, has_index) in [
        ("DROP INDEX idx_ledger_account", false),
        ("CREATE INDEX part ON ledger_entries (account_id) WHERE entry_type = 'refund'", false),
        ("CREATE INDEX other ON ledger_entries (created_at, account_id)", false),
        ("CREATE INDEX fitting ON ledger_entries (account_id)", true),
    ] {
        source.run_sql(sql).await.unwrap();
        assert_eq!(preflight(&source.url).await.summary["has_account_index"], has_index, "{sql}");
        let said = preflight_for_people(&source.url, 0).await;
        let is_told = said.contains("\nno index of ledger_entries begins with account_id: ");
        assert_ne!(is_told, has_index, "{sql}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_the_two_tables_will_do() {
    let source = source(REGULAR).await;
    let grants = format!(
        "ALTER ROLE billing_auditor SET default_transaction_read_only = on;
         REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC; GRANT SELECT ON balances, ledger_entries TO billing_auditor",
        source.database()
    );
    let (_, url) = source.create_role(&grants).await;
    assert_eq!(preflight(&url).await.status, 0);
    let mut session = AsyncPgConnection::establish(&url).await.unwrap();
    session.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    for forbidden in ["DELETE FROM balances", "CREATE TABLE mine ()", "CREATE TEMPORARY TABLE mine ()"] {
        let refused = session.batch_execute(forbidden).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{forbidden}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_other_types_will_do() {
    let source = source(REGULAR).await;
    source
        .run_sql(
            "ALTER TABLE ledger_entries ALTER account_id TYPE varchar(200), ALTER entry_type TYPE varchar,
                 ALTER amount_micro_usd TYPE numeric, ALTER id TYPE integer, ALTER created_at TYPE timestamp,
                 ALTER reference TYPE varchar, ALTER balance_after TYPE integer;
             ALTER TABLE balances ALTER account_id TYPE varchar, ALTER balance_micro_usd TYPE numeric",
        )
        .await
        .unwrap();
    assert_eq!(preflight(&source.url).await.status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_through_is_said_and_has_another_status() {
    let (other, source) = (TestBook::create().await, empty_source().await);
    for (url, flags, status, why) in [
        (other.url.as_str(), &[][..], 1, "it has no balances.account_id, balances.balance_micro_usd"),
        ("postgres://nobody@127.0.0.1:1/none", &[], 1, "cannot connect to the database"),
        (&source.url, &["--jsonl"], 64, "unexpected argument '--jsonl'"),
        ("ftp://nowhere", &[], 64, "--source"),
    ] {
        let (printed, said) = ended(run_preflight(url, flags).await, status);
        assert!(said.contains(why), "{said}");
        assert_eq!(printed, "");
    }
}

#[test]
fn every_kind_is_documented() {
    let documented = include_str!("../../../docs/MIGRATION.md");
    for kind in Kind::ALL {
        let row = format!("| `{}` | {} | {} |", kind.name(), kind.meaning(), kind.handling());
        assert!(documented.contains(&row), "docs/MIGRATION.md lacks: {row}");
    }
}
