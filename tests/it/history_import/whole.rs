//! A history is imported whole, and a second import has nothing to do.

use super::{
    command::{audit, import, import_rows, imported, summary, try_import},
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
    "payments",
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
    let grant = "GRANT SELECT ON balances, ledger_entries TO billing_auditor";
    let (_, reader) = old.database.create_role(grant).await;
    let book = TestBook::create().await;
    summary(try_import(&reader, &book.url).await, 0);
    check_import(&old, &book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_history_is_imported() {
    let old = OldCoordinator::with_history(0).await;
    let book = TestBook::create().await;
    import_rows(&old, &book, 0).await;
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
    let (old, book) = imported(5_000).await;
    let before = versions(&book).await;
    for _ in 0..2 {
        let summary = import(&old, &book).await;
        assert_eq!((&summary["rows"], &summary["adjustments"]), (&0.into(), &0.into()), "{summary}");
        assert_eq!(versions(&book).await, before, "something was written");
    }
    check_import(&old, &book).await;
}

/// Changes of an account's entries as an import wrote them, each with what it is found as.
const CHANGES: [(&str, &str, &str); 14] = [
    ("Case", "id = NULL", "imported otherwise than once"),
    ("Case", "account_id = 'case'", "not what its row was"),
    ("Case", "entry_type = 3", "not what its row was"),
    ("Case", "amount = amount + 1", "not what its row was"),
    ("references-odd", "reference = trim(reference)", "not what its row was"),
    ("stripe-once", "external_id = 'cs_other'", "not what its row was"),
    ("Case", "is_history = false", "not what its row was"),
    ("types-theirs", "old_type = NULL", "old type that is lost"),
    ("types-theirs", "old_type = 'x'", "another count or sum"),
    ("chain-broken", "old_balance_after = NULL", "old balance that is lost"),
    ("times-mixed", "old_time = NULL", "old time that is lost"),
    ("Case", "old_time = create_time, create_time = create_time + '1 us'", "without need"),
    ("stripe-five", "sequence = -sequence", "not in the order"),
    ("balance-above", "actor = 'x'", "does not say what it is"),
];

/// Other damages of what an import wrote, each with what it is found as.
const DAMAGES: [(&str, &str); 6] = [
    ("DELETE FROM book.entries WHERE account_id = 'Case'", "imported otherwise than once"),
    (
        "INSERT INTO book.entries SELECT * FROM book.entries WHERE account_id = 'Case'",
        "imported otherwise than once",
    ),
    (
        "UPDATE book.entries SET old_type = 'charge' WHERE account_id = 'Case' AND amount < 0",
        "old type that is lost",
    ),
    ("UPDATE book.accounts SET posted = 1 WHERE account_id = 'Case'", "another balance"),
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
    let changes = CHANGES.map(|(account, change, what)| {
        (format!("UPDATE book.entries SET {change} WHERE account_id = '{account}'"), what)
    });
    let others = DAMAGES.map(|(damage, what)| (damage.to_owned(), what));
    for (damage, what) in changes.into_iter().chain(others) {
        both.damage(&format!("BEGIN; {damage}")).await;
        let found = both.differences().await;
        assert!(found.iter().any(|(found, _)| found.contains(what)), "{damage}: {found:?}");
        both.damage("ROLLBACK").await;
    }
    audit(&book).await;
}
