//! Each irregularity is told once, by its name and with its figures, and nothing else is.

use std::collections::BTreeSet;

use billing::history::rules::{Effect, Kind};
use serde_json::{Value, json};

use super::source::{REGULAR, empty_source, fill, preflight};
use crate::support::TestBook;

/// Statements that make the regular source irregular in one way, and what is told then.
fn plants() -> Vec<(&'static str, Value)> {
    vec![
        (
            "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
             VALUES ('bob', 'stripe_deposit', 101, 101, 'cs_1', '2026-01-07'),
                 ('ann', 'stripe_deposit', 100, 160, 'stripe:cs_1', '2026-01-08');
             UPDATE balances SET balance_micro_usd = balance_micro_usd + 101 WHERE account_id = 'bob';
             UPDATE balances SET balance_micro_usd = balance_micro_usd + 100 WHERE account_id = 'ann'",
            json!({"kind": "DUPLICATED_DEPOSIT", "external_id": "cs_1", "account_ids": ["ann", "bob"], "times": 3,
                   "over_credited_micro_usd": "201"}),
        ),
        (
            "UPDATE ledger_entries SET reference = 'by card' WHERE id = 1",
            json!({"kind": "DEPOSIT_WITHOUT_SESSION", "account_id": "ann", "id": "1", "amount_micro_usd": "100",
                   "reference": "by card"}),
        ),
        (
            "UPDATE ledger_entries SET reference = NULL WHERE id = 1",
            json!({"kind": "DEPOSIT_WITHOUT_SESSION", "account_id": "ann", "id": "1", "amount_micro_usd": "100",
                   "reference": ""}),
        ),
        (
            "UPDATE balances SET balance_micro_usd = 65 WHERE account_id = 'ann'",
            json!({"kind": "BALANCE", "account_id": "ann", "rows": 4, "balance_micro_usd": "65", "rows_micro_usd": "60",
                   "adjustment_micro_usd": "5"}),
        ),
        (
            "DELETE FROM balances WHERE account_id = 'ann'",
            json!({"kind": "BALANCE", "account_id": "ann", "rows": 4, "balance_micro_usd": "0", "rows_micro_usd": "60",
                   "adjustment_micro_usd": "-60"}),
        ),
        (
            "UPDATE balances SET balance_micro_usd = -7 WHERE account_id = 'eve'",
            json!({"kind": "BALANCE", "account_id": "eve", "rows": 0, "balance_micro_usd": "-7", "rows_micro_usd": "0",
                   "adjustment_micro_usd": "-7"}),
        ),
        (
            "UPDATE ledger_entries SET balance_after = 71 WHERE id = 2",
            json!({"kind": "BALANCE_AFTER", "account_id": "ann", "rows": 1, "first_id": "2",
                   "expected_micro_usd": "70", "found_micro_usd": "71"}),
        ),
        (
            "UPDATE ledger_entries SET balance_after = balance_after - 1 WHERE account_id = 'bob'",
            json!({"kind": "BALANCE_AFTER", "account_id": "bob", "rows": 1, "first_id": "5",
                   "expected_micro_usd": "40", "found_micro_usd": "39"}),
        ),
        (
            "UPDATE ledger_entries SET balance_after = CASE id WHEN 2 THEN 9223372036854775807 ELSE balance_after + id END
             WHERE id IN (2, 4)",
            json!({"kind": "BALANCE_AFTER", "account_id": "ann", "rows": 2, "first_id": "2",
                   "expected_micro_usd": "70", "found_micro_usd": "9223372036854775807"}),
        ),
        (
            "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after)
             VALUES ('bob', 'charge', 0, 0), ('bob', 'charge', 0, 0)",
            json!({"kind": "AMOUNT", "account_id": "bob", "rows": 2, "first_id": "7", "first_amount_micro_usd": "0"}),
        ),
        (
            "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after) VALUES
                 ('bob', 'deposit', 1000000000000000, 1000000000000000), ('bob', 'charge', -1000000000000001, -1),
                 ('bob', 'deposit', 1, 0)",
            json!({"kind": "AMOUNT", "account_id": "bob", "rows": 1, "first_id": "8",
                   "first_amount_micro_usd": "-1000000000000001"}),
        ),
        (
            "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, created_at)
             SELECT 'eve', 'deposit', 1000000000000000, '2026-01-01'::timestamptz FROM generate_series(1, 10000) UNION ALL
             SELECT 'eve', 'charge', -1000000000000000, '2026-01-02' FROM generate_series(1, 10000)",
            json!({"kind": "OVERFLOW", "account_id": "eve", "rows": 1, "first_id": (6 + 9_224).to_string()}),
        ),
        (
            "UPDATE ledger_entries SET entry_type = 'Charge' WHERE id IN (2, 3)",
            json!({"kind": "UNKNOWN_TYPE", "entry_type": "Charge", "rows": 2, "amount_micro_usd": "-50"}),
        ),
        (
            "UPDATE ledger_entries SET entry_type = 'charge' WHERE id = 4",
            json!({"kind": "SIGN", "account_id": "ann", "rows": 1, "first_id": "4", "first_amount_micro_usd": "10"}),
        ),
        (
            "UPDATE ledger_entries SET entry_type = 'refund' WHERE id IN (2, 3)",
            json!({"kind": "SIGN", "account_id": "ann", "rows": 2, "first_id": "2", "first_amount_micro_usd": "-30"}),
        ),
        (
            "UPDATE ledger_entries SET created_at = '2999-01-01Z' WHERE id = 6",
            json!({"kind": "TIME", "account_id": "bob", "rows": 1, "first_id": "6",
                   "earliest": "2999-01-01T00:00:00.000000Z", "latest": "2999-01-01T00:00:00.000000Z"}),
        ),
        (
            "UPDATE ledger_entries SET created_at = CASE id WHEN 1 THEN '1969-12-31 23:59:59Z'::timestamptz ELSE 'infinity' END
             WHERE id IN (1, 2)",
            json!({"kind": "TIME", "account_id": "ann", "rows": 2, "first_id": "1",
                   "earliest": "1969-12-31T23:59:59.000000Z", "latest": "9223372036854775807 microseconds after 1970"}),
        ),
        (
            "UPDATE balances SET withdrawable_micro_usd = 61 WHERE account_id = 'ann'",
            json!({"kind": "WITHDRAWABLE", "account_id": "ann", "balance_micro_usd": "60", "withdrawable_micro_usd": "61"}),
        ),
        (
            "UPDATE ledger_entries SET account_id = 'b b' WHERE account_id = 'bob';
             UPDATE balances SET account_id = 'b b' WHERE account_id = 'bob'",
            json!({"kind": "ACCOUNT_ID", "account_id": "b b", "rows": 2, "balance_micro_usd": "0"}),
        ),
        (
            "UPDATE ledger_entries SET account_id = NULL WHERE account_id = 'bob'",
            json!({"kind": "ACCOUNT_ID", "account_id": null, "rows": 2, "balance_micro_usd": "0"}),
        ),
        (
            "UPDATE balances SET account_id = repeat('x', 129) WHERE account_id = 'eve'",
            json!({"kind": "ACCOUNT_ID", "account_id": "x".repeat(129), "rows": 0, "balance_micro_usd": "0"}),
        ),
        (
            "UPDATE ledger_entries SET entry_type = NULL WHERE id = 2;
             UPDATE ledger_entries SET amount_micro_usd = NULL WHERE id = 3;
             UPDATE ledger_entries SET created_at = NULL WHERE id = 4",
            json!({"kind": "UNREADABLE", "account_id": "ann", "rows": 3, "rows_of_account": 4}),
        ),
    ]
}

fn kind(name: &Value) -> Kind {
    *Kind::ALL.iter().find(|kind| name == kind.name()).unwrap_or_else(|| panic!("{name}"))
}

fn status(kinds: &BTreeSet<Kind>) -> i32 {
    let is_left_out = |kind: &Kind| kind.effect() == Effect::LeftOut;
    if kinds.iter().any(is_left_out) { 3 } else { 2 }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_irregularity_is_told_once_by_its_name_and_nothing_else_is() {
    let source = empty_source().await;
    let mut planted = BTreeSet::new();
    for (sql, expected) in plants() {
        fill(&source, &format!("{REGULAR} {sql}")).await;
        let told = preflight(&source.url).await;
        assert_eq!(told.irregularities, std::slice::from_ref(&expected), "{sql}");
        let kind = kind(&expected["kind"]);
        assert_eq!(told.status, status(&[kind].into()), "{sql}");
        for of_kind in Kind::ALL {
            let count = u64::from(*of_kind == kind);
            assert_eq!(told.summary["irregularities"][of_kind.name()], count, "{sql}");
        }
        planted.insert(kind);
    }
    assert_eq!(planted, Kind::ALL.iter().copied().collect(), "every kind is planted");
}

/// A source with every plant in it, each in accounts of its own.
async fn all_planted() -> TestBook {
    let source = empty_source().await;
    source
        .run_sql("CREATE TABLE all_entries (LIKE ledger_entries); CREATE TABLE all_balances (LIKE balances)")
        .await
        .unwrap();
    for (number, (sql, _)) in plants().into_iter().enumerate() {
        fill(&source, &format!("{REGULAR} {sql}")).await;
        let keep = format!(
            "UPDATE ledger_entries SET account_id = account_id || '-{number}', id = id + 100000 * {number},
                 reference = CASE WHEN reference LIKE '%cs_1' THEN reference || '-{number}' ELSE reference END;
             UPDATE balances SET account_id = account_id || '-{number}';
             INSERT INTO all_entries TABLE ledger_entries; INSERT INTO all_balances TABLE balances"
        );
        source.run_sql(&keep).await.unwrap();
    }
    fill(&source, "INSERT INTO ledger_entries TABLE all_entries; INSERT INTO balances TABLE all_balances")
        .await;
    source
}

/// The sum of what stands under a name in the irregularities of a kind.
fn sum(irregularities: &[Value], kind: &str, name: &str) -> i128 {
    let of_kind = irregularities.iter().filter(|irregularity| irregularity["kind"] == kind);
    of_kind.map(|irregularity| irregularity[name].as_str().unwrap().parse::<i128>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_is_told_too_and_adds_up_in_the_summary() {
    let source = all_planted().await;
    let told = preflight(&source.url).await;
    let found: BTreeSet<Kind> = told.irregularities.iter().map(|what| kind(&what["kind"])).collect();
    assert_eq!(found, Kind::ALL.iter().copied().collect());
    assert_eq!(told.status, 3);
    assert_eq!(told.summary["import"], "incomplete");
    for of_kind in Kind::ALL {
        let planted = plants().iter().filter(|(_, what)| kind(&what["kind"]) == *of_kind).count();
        assert_eq!(told.summary["irregularities"][of_kind.name()], planted, "{}", of_kind.name());
    }
    let figure = |name: &str| told.summary[name].as_str().unwrap().parse::<i128>().unwrap();
    let adjusted = sum(&told.irregularities, "BALANCE", "adjustment_micro_usd");
    assert_eq!((figure("adjustment_micro_usd"), adjusted), (5 - 60 - 7, 5 - 60 - 7));
    let over_credited = sum(&told.irregularities, "DUPLICATED_DEPOSIT", "over_credited_micro_usd");
    assert_eq!((figure("over_credited_micro_usd"), over_credited), (201, 201));
    assert_eq!(told.summary["repeated_payments"], 2);
    assert_eq!((&told.summary["left_out_accounts"], &told.summary["left_out_rows"]), (&json!(4), &json!(8)));
}
