//! A ledger with one book becomes one with four, beside a service at work; nothing is made anew, and every key answers as before.

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use billing::grpc::proto::CreditResponse;
use diesel::{dsl, sql_types::Text};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    random_books::fill,
    support::{
        books::TABLES,
        process::{Process, billing},
        waiting::{ended, printed, run_within, until, wait_for_exit},
        *,
    },
};

const ENTRIES: &str = "SELECT count(*) FROM ledger_entries";
const BOOKS: usize = 4;
const CLIENTS: usize = 4;
const KILLS: usize = 3;
/// How long a copy may take: of a large ledger, minutes.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// How many entries the old ledger has at least: `SPLIT_ENTRIES`, or more than one transaction copies of an account.
fn entries() -> i64 {
    env::var("SPLIT_ENTRIES").map_or(70_000, |entries| entries.parse().unwrap())
}

/// What a service was asked and has answered.
type Told = Vec<(String, String, CreditResponse)>;

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_split_beside_a_service_at_work_and_killed_on_the_way() {
    let (old, new) = (TestBook::with_books(1).await, TestBook::with_books(BOOKS).await);
    fill(&old, "before").await;
    write_many(&old).await;
    let server = old.serve().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(call(server.client().await, number, Arc::clone(&is_over)));
    }
    let mut left = Vec::new();
    for _ in 1..=KILLS {
        kill_a_copy(&old, &new).await;
        left.push(new.number(ENTRIES).await);
    }
    println!("entries there after each kill: {left:?}");
    assert!(left.is_sorted() && left[0] > 0, "{left:?}");
    let copied = printed(run_within(PATIENCE, &mut split(&old, &new, &[])));
    assert!(copied.starts_with("pass 1: "), "{copied}");
    let closed = printed(run_within(PATIENCE, &mut split(&old, &new, &["--close"])));
    println!("{copied}{closed}");
    assert!(closed.contains("closed: the old ledger takes nothing any more"), "{closed}");
    is_over.store(true, Ordering::Relaxed);
    let told: Told = clients.join_all().await.into_iter().flatten().collect();
    assert!(told.len() > CLIENTS, "the service was not at work: {}", told.len());

    for table in TABLES.into_iter().chain(["payments"]) {
        assert_eq!(contents(&new, table).await, contents(&old, table).await, "{table}");
    }
    new.check().await;
    let audits = [audit(&old).await, audit(&new).await];
    assert_eq!(audits[0], audits[1]);
    let moved = new.serve().await;
    let mut client = moved.client().await;
    for (account, key, before) in told {
        let again = client.credit(deposit(&account, &key, 100)).await.unwrap().into_inner();
        assert_eq!(again.entry, before.entry, "{account} {key}");
    }
    client.credit(deposit("account-1", "after", 100)).await.answered();

    // The old one takes nothing any more; and what is in use is not copied over.
    let mut old_client = server.client().await;
    old_client.credit(deposit("account-1", "late", 100)).await.unwrap_err();
    let refused = run_within(PATIENCE, &mut split(&old, &new, &[]));
    let (_, said) = ended(refused, 1);
    assert!(said.contains("account-1 has more entries in the new ledger than in the old one"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_ledger_with_one_book_is_split_and_only_into_one_with_several() {
    let (one, four) = (TestBook::with_books(1).await, TestBook::with_books(BOOKS).await);
    for (old, new, numbers) in
        [(&one, &one, "has 1 and the new one 1"), (&four, &four, "has 4 and the new one 4")]
    {
        let (_, said) = ended(run_within(PATIENCE, &mut split(old, new, &[])), 1);
        assert!(said.contains(numbers), "{said}");
    }
    let empty = TestBook::create_empty().await;
    let (_, said) = ended(run_within(PATIENCE, &mut split(&one, &empty, &[])), 1);
    assert!(said.contains("run `billing migrate --books COUNT` first"), "{said}");
}

fn split(old: &TestBook, new: &TestBook, flags: &[&str]) -> Command {
    let mut command = Process::command();
    command.args(["split", "--from", &old.url, "--database-url", &new.url]).args(flags);
    command
}

/// Writes the journals of accounts that are large, and of many that are small.
async fn write_many(book: &TestBook) {
    let own = [
        ("entry_type", "2"),
        ("create_time", "'2026-01-01'"),
        ("idempotency_key", "'old-' || n"),
        ("fingerprint", "'\\x01'"),
    ];
    let entries = entries();
    book.import("hot", entries * 6 / 7, 5, &own).await;
    for number in 0..100 {
        book.import(&format!("small-{number}"), entries / 700, 5, &own).await;
    }
    let times = "UPDATE accounts SET create_time = '2026-01-01', update_time = '2026-01-01' \
                 WHERE account_id = 'hot' OR starts_with(account_id, 'small-')";
    book.run_sql(times).await.unwrap();
}

/// Kills a copy at some moment after it has come further.
async fn kill_a_copy(old: &TestBook, new: &TestBook) {
    let before = new.number(ENTRIES).await;
    let mut child = split(old, new, &[]).stdout(Stdio::null()).spawn().unwrap();
    until("it copies", async || {
        let has_ended = child.try_wait().unwrap().is_some();
        (has_ended || new.number(ENTRIES).await > before).then_some(())
    })
    .await;
    sleep(Duration::from_millis(fastrand::u64(0..=100))).await;
    let _ = child.kill(); // it may have ended
    wait_for_exit(&mut child);
}

/// Credits accounts until it is told to stop, or the ledger is closed. Returns what was answered.
async fn call(mut client: Client, number: usize, is_over: Arc<AtomicBool>) -> Told {
    let mut told = Vec::new();
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (account, key) = (format!("account-{}", n % 20), format!("order-{number}-{n}"));
        if let Ok(answer) = client.credit(deposit(&account, &key, 100)).await {
            told.push((account.clone(), key, answer.into_inner()));
        }
        let _ = client.charge(charge(&account, &format!("too-much-{number}-{n}"), i64::from(u32::MAX))).await;
        let reservation = format!("hold-{number}-{n}");
        let _ = client.reserve(reserve(&account, &reservation, 10)).await;
        let _ = client.capture(capture(&account, &format!("done-{number}-{n}"), &reservation, 5)).await;
    }
    told
}

/// What a table has, in any order: as text, and its hash.
async fn contents(book: &TestBook, table: &str) -> String {
    let sql = format!(
        "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(md5, '' ORDER BY md5)), '')
         FROM (SELECT md5(t::text) AS md5 FROM {table} t) AS m"
    );
    let contents = dsl::sql::<Text>(&sql);
    diesel_async::RunQueryDsl::get_result(contents, &mut book.connect().await).await.unwrap()
}

/// What an audit says, but for how long it took.
async fn audit(book: &TestBook) -> Vec<String> {
    let said = printed(billing(&["audit", "--database-url", &book.url]).await);
    assert!(said.starts_with("Everything adds up."), "{said}");
    said.lines().take(3).map(str::to_owned).collect()
}
