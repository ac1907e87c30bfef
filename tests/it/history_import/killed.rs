//! An import that is killed goes on where it was, and ends as if it had never been.

use std::time::{Duration, Instant};

use diesel::{dsl, sql_types::Text};
use diesel_async::RunQueryDsl;
use fastrand::Rng;

use super::{
    command::{begin_import, finish, import},
    old_coordinator::OldCoordinator,
    rows,
    side_by_side::check_import,
};
use crate::support::{
    TestBook,
    book::number,
    books::book_count,
    waiting::{PATIENCE, ended, until, wait_for_exit},
};

const KILLS: u64 = 5;
/// How many rows there are at least: enough for a transaction after each kill.
const ROWS_MIN: i64 = 60_000;

/// How many rows have been imported.
const IMPORTED: &str = "SELECT coalesce(sum(rows), 0) FROM imported_accounts";
/// Ends the session of an import on this database.
const END_IMPORT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'billing import'";
/// Every other session on the book.
const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// What two imports of the same rows have in common: all that is in their tables, but for the time at which they ran, which rows of
/// the future and money of no known time have instead of one of their own. All other rows are of 2025 or older.
const CONTENTS: [(&str, &str); 4] = [
    (
        "ledger_entries",
        "(to_jsonb(t) - 'create_time')::text || CASE WHEN create_time < '2026-01-01' THEN create_time::text ELSE '' END",
    ),
    (
        "accounts",
        "(to_jsonb(t) - '{create_time,update_time}'::text[])::text
         || CASE WHEN create_time < '2026-01-01' THEN create_time::text ELSE '' END
         || CASE WHEN update_time < '2026-01-01' THEN update_time::text ELSE '' END",
    ),
    ("payments", "t::text"),
    ("imported_accounts", "t::text"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_five_times_ends_the_same() {
    let old = OldCoordinator::with_history(rows().max(ROWS_MIN)).await;
    old.plant().await;
    let total = old.number("SELECT count(*) FROM ledger_entries").await;
    let (book, uninterrupted) = (TestBook::create().await, TestBook::create().await);
    import(&old, &uninterrupted).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut left = Vec::new();
    for kill in 1..=KILLS {
        let place = total * i64::try_from(kill).unwrap() / i64::try_from(KILLS + 2).unwrap();
        kill_at(&old, &book, place, &mut random).await;
        left.push(book.number(IMPORTED).await);
        book.check().await;
    }
    println!("of {total} rows, those were there after each kill: {left:?}");
    assert!(left.iter().any(|rows| (1..total).contains(rows)), "no kill was in mid-import: {left:?}");
    assert!(left.is_sorted(), "rows were lost: {left:?}");
    import(&old, &book).await;
    check_import(&old, &book).await;
    for (table, contents) in CONTENTS {
        let expected = hash(&uninterrupted, table, contents).await;
        assert_eq!(hash(&book, table, contents).await, expected, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_loses_a_database_says_so_and_is_gone_on_with() {
    let old = OldCoordinator::with_history(60_000).await;
    let book = TestBook::create().await;
    for is_source in [true, false] {
        let before = book.number(IMPORTED).await;
        let mut child = begin_import(old.url(), &book.url);
        let mut connection = book.connect().await;
        until("more is imported", async || {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was in the middle");
            (number(&mut connection, IMPORTED).await > before).then_some(())
        })
        .await;
        let (loses, sessions) = if is_source { (&old.database, 1) } else { (&book, book_count()) };
        assert_eq!(
            usize::try_from(loses.number(END_IMPORT).await),
            Ok(sessions),
            "one on the source, one for each book"
        );
        let (_, said) = ended(finish(child).await, 1);
        assert!(said.contains("cannot import") && !said.contains("panicked"), "{said}");
        book.check().await;
    }
    import(&old, &book).await;
    check_import(&old, &book).await;
}

/// Begins to import, and kills it after it has come to a place and further than before, if it has not ended: at some moment of the
/// time that the next transaction takes.
async fn kill_at(old: &OldCoordinator, book: &TestBook, place: i64, random: &mut Rng) {
    let mut connection = book.connect().await;
    let mut imported = number(&mut connection, IMPORTED).await;
    let mut child = begin_import(old.url(), &book.url);
    let (mut changed, mut took) = (Instant::now(), Duration::ZERO);
    while child.try_wait().unwrap().is_none() && (imported < place || took.is_zero()) {
        assert!(changed.elapsed() < PATIENCE, "it imports no more");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = number(&mut connection, IMPORTED).await;
        if now > imported {
            took = changed.elapsed();
            (imported, changed) = (now, Instant::now());
        }
    }
    let moment = random.u64(..=u64::try_from(took.as_micros()).unwrap());
    tokio::time::sleep(Duration::from_micros(moment)).await;
    child.kill().unwrap();
    wait_for_exit(&mut child);
    drop(connection);
    // Until PostgreSQL has noticed, the lock of the one that was killed keeps the next one out.
    until("PostgreSQL has noticed", async || (book.number(SESSIONS).await == 0).then_some(())).await;
}

/// A hash of what a table has, in any order.
async fn hash(book: &TestBook, table: &str, contents: &str) -> String {
    let sql = format!(
        "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(md5, '' ORDER BY md5)), '')
         FROM (SELECT md5({contents}) AS md5 FROM {table} t) AS m"
    );
    dsl::sql::<Text>(&sql).get_result(&mut book.connect().await).await.unwrap()
}
