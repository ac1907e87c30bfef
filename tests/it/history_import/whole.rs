//! A history is imported whole, and a second import has nothing to do.

use super::{
    command::{audit, import, summary, try_import},
    irregular::Planted,
    old_coordinator::OldCoordinator,
    rows,
    side_by_side::{SideBySide, check_import},
};
use crate::support::TestBook;

/// The accounts of the history in which nothing is irregular.
const REGULAR: &str = "^(account-[0-9]+|hot|platform)$";

const TABLES: [&str; 7] = [
    "accounts",
    "ledger_entries",
    "external_credits",
    "imported_accounts",
    "reservations",
    "refusals",
    "external_replays",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_every_irregularity_is_imported_whole() {
    let old = OldCoordinator::with_history(rows()).await;
    let planted = old.plant().await;
    let book = TestBook::create().await;
    let summary = import(&old, &book).await;
    assert_eq!(summary["rows"], rows() + planted.rows, "{summary}");
    assert_eq!(summary["repeated_payments"], planted.repeated_deposits, "{summary}");
    check_import(&old, &book).await;
    assert_eq!(found(&old, &book).await, planted);
}

/// What is irregular in the book.
async fn found(old: &OldCoordinator, book: &TestBook) -> Planted {
    let mut both = SideBySide::copy(old, book).await;
    let mut count = async |what: &str, table: &str, condition: &str| {
        let sql =
            format!("SELECT count({what}) FROM book.{table} WHERE account_id !~ '{REGULAR}' AND {condition}");
        both.number(&sql).await
    };
    let sessions = count("*", "claims", "true").await;
    Planted {
        accounts: count("*", "accounts", "true").await,
        rows: count("*", "entries", "adjustment IS NULL").await,
        sessions,
        repeated_deposits: count("external_id", "entries", "true").await - sessions,
        nameless_deposits: count("*", "entries", "entry_type = 1 AND external_id IS NULL").await,
        differing_balances: count("DISTINCT account_id", "entries", "adjustment = 'balance'").await,
        overflows: count("DISTINCT account_id", "entries", "adjustment = 'overflow'").await,
        other_types: count("old_type", "entries", "true").await,
        impossible_times: count("old_time", "entries", "true").await,
        broken_balances_after: count("old_balance_after", "entries", "account_id LIKE 'chain-%'").await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_in_which_nothing_is_irregular_needs_no_adjustment() {
    let old = OldCoordinator::with_history(5_000).await;
    let book = TestBook::create().await;
    import(&old, &book).await;
    check_import(&old, &book).await;
    let adjusted =
        "SELECT count(*) FROM ledger_entries WHERE metadata ?| '{imported_adjustment,imported_create_time}'";
    assert_eq!(book.number(adjusted).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_needs_no_more_of_its_source_than_to_read_two_tables() {
    let old = OldCoordinator::with_history(100).await;
    old.run("CREATE ROLE import_reader LOGIN; GRANT SELECT ON balances, ledger_entries TO import_reader")
        .await;
    let book = TestBook::create().await;
    let reader = old.url().replace("billing@", "import_reader@");
    summary(&try_import(&reader, &book.url).await, 0);
    check_import(&old, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_history_is_imported() {
    let old = OldCoordinator::with_history(0).await;
    let book = TestBook::create().await;
    let summary = import(&old, &book).await;
    assert_eq!(summary["rows"], 0, "{summary}");
    check_import(&old, &book).await;
}

/// Every version of every row, as a number: a row that is written or locked again makes another.
async fn versions(book: &TestBook) -> i64 {
    let of_table = |table| {
        format!(
            "SELECT hashtextextended(concat_ws('/', '{table}', ctid, xmin, xmax, t::text), 0) FROM {table} t"
        )
    };
    let rows = TABLES.map(of_table).join(" UNION ALL ");
    book.number(&format!("SELECT coalesce(sum(hash), 0) % 1000000007 FROM ({rows}) AS t(hash)")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_import_does_no_work() {
    let old = OldCoordinator::with_history(5_000).await;
    old.plant().await;
    let book = TestBook::create().await;
    import(&old, &book).await;
    let before = versions(&book).await;
    for _ in 0..2 {
        let summary = import(&old, &book).await;
        assert_eq!((&summary["rows"], &summary["adjustments"]), (&0.into(), &0.into()), "{summary}");
        assert_eq!(versions(&book).await, before, "something was written");
    }
    check_import(&old, &book).await;
}

/// Damages of what an import wrote, each with what it is found as.
const DAMAGES: [(&str, &str); 20] = [
    ("DELETE FROM book.entries WHERE account_id = 'Case'", "imported otherwise than once"),
    (
        "INSERT INTO book.entries SELECT * FROM book.entries WHERE account_id = 'Case'",
        "imported otherwise than once",
    ),
    ("UPDATE book.entries SET id = NULL WHERE account_id = 'Case'", "imported otherwise than once"),
    ("UPDATE book.entries SET account_id = 'case' WHERE account_id = 'Case'", "not what its row was"),
    ("UPDATE book.entries SET entry_type = 3 WHERE account_id = 'Case'", "not what its row was"),
    ("UPDATE book.entries SET amount = amount + 1 WHERE account_id = 'Case'", "not what its row was"),
    (
        "UPDATE book.entries SET reference = trim(reference) WHERE account_id = 'references-odd'",
        "not what its row was",
    ),
    (
        "UPDATE book.entries SET external_id = 'cs_other' WHERE account_id = 'stripe-once'",
        "not what its row was",
    ),
    ("UPDATE book.entries SET is_history = false WHERE account_id = 'Case'", "not what its row was"),
    ("UPDATE book.entries SET old_type = NULL WHERE account_id = 'types-theirs'", "old type that is lost"),
    (
        "UPDATE book.entries SET old_type = 'charge' WHERE account_id = 'Case' AND amount < 0",
        "old type that is lost",
    ),
    ("UPDATE book.entries SET old_type = 'x' WHERE account_id = 'types-theirs'", "another count or sum"),
    (
        "UPDATE book.entries SET old_balance_after = NULL WHERE account_id = 'chain-broken'",
        "old balance that is lost",
    ),
    ("UPDATE book.entries SET old_time = NULL WHERE account_id = 'times-mixed'", "old time that is lost"),
    (
        "UPDATE book.entries SET old_time = create_time, create_time = create_time + '1 us' WHERE account_id = 'Case'",
        "without need",
    ),
    ("UPDATE book.entries SET sequence = -sequence WHERE account_id = 'stripe-five'", "not in the order"),
    ("UPDATE book.accounts SET posted = 1 WHERE account_id = 'Case'", "another balance"),
    ("UPDATE book.entries SET actor = 'x' WHERE account_id = 'balance-above'", "does not say what it is"),
    (
        "UPDATE book.claims SET sequence = 2 WHERE external_id = 'cs_test_five'",
        "not claimed by the first row",
    ),
    ("UPDATE book.imported SET rows = rows + 1 WHERE account_id = 'Case'", "not told as it was"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_imported_otherwise_is_found() {
    let old = OldCoordinator::with_history(100).await;
    old.plant().await;
    let nothing = SideBySide::copy(&old, &TestBook::create().await).await.differences().await;
    assert!(nothing.iter().any(|(found, _)| found.contains("otherwise than once")), "{nothing:?}");
    let book = TestBook::create().await;
    import(&old, &book).await;
    let mut both = SideBySide::copy(&old, &book).await;
    assert_eq!(both.differences().await, []);
    for (damage, what) in DAMAGES {
        both.damage(&format!("BEGIN; {damage}")).await;
        let found = both.differences().await;
        assert!(found.iter().any(|(found, _)| found.contains(what)), "{damage}: {found:?}");
        both.damage("ROLLBACK").await;
    }
    audit(&book).await;
}
