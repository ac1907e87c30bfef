//! Leases that run out together, by the hundred thousand: they cost time, and neither memory nor other accounts.

use std::{
    fs,
    time::{Duration, Instant},
};

use billing::{
    config::Config,
    grpc::proto::{Balance, GetAccountRequest},
};
use prost_types::Timestamp;
use tonic::Code;

use crate::support::{process::Process, server::TestServer, server::config, *};

const LEASES: i64 = 300_000;
/// When the first lease ran out, in microseconds after 1970; three ran out in each microsecond after it.
const FIRST_EXPIRE_TIME: i64 = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How long a call on another account may take meanwhile.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(3);
const RSS_GROWTH_MAX_KIB: u64 = 48 * 1_024;

/// An account that has put in twice as much as so many reservations of 1 micro-USD hold. The last one reserved ran out first.
fn lapsed_sql(account: &str, leases: i64) -> String {
    let time = |micros: &str| format!("'epoch'::timestamptz + ({micros}) * interval '1 microsecond'");
    let reserved = time(&format!("{FIRST_EXPIRE_TIME} - 3600000000"));
    let expire_time = time(&format!("{FIRST_EXPIRE_TIME} + ({leases} - n) / 3"));
    let first = time(&FIRST_EXPIRE_TIME.to_string());
    format!(
        "INSERT INTO accounts (account_id, posted_micro_usd, held_micro_usd, last_sequence, create_time, update_time,
             next_expire_time)
         VALUES ('{account}', 2 * {leases}, {leases}, {leases} + 1, {reserved}, {reserved}, {first});
         INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, idempotency_key, fingerprint)
         VALUES ('{account}', 1, 2, 2 * {leases}, 0, 2 * {leases}, 0, {reserved}, 'order-1', '\\x01');
         INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, idempotency_key, fingerprint, reservation_id, reservation_state,
             reservation_held, reservation_captured, expire_time, expiry_policy)
         SELECT '{account}', n + 1, 9, 0, 1, 2 * {leases}, n, {reserved}, 'task-' || n, '\\x05', 'task-' || n, 1, 1, 0,
             {expire_time}, 1
         FROM generate_series(1, {leases}) n;
         INSERT INTO reservations (account_id, reservation_id, state, amount_micro_usd, captured_micro_usd, sequence,
             create_time, expire_time)
         SELECT '{account}', 'task-' || n, 1, 1, 0, n + 1, {reserved}, {expire_time} FROM generate_series(1, {leases}) n;"
    )
}

async fn read(client: &mut Client, account: &str, as_of: Option<i64>) -> Balance {
    let as_of = as_of.map(|micros| Timestamp {
        seconds: micros / 1_000_000,
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap(),
    });
    let begin = Instant::now();
    let request = GetAccountRequest { account_id: account.into(), as_of };
    let account = client.get_account(request).await.unwrap().into_inner().account.unwrap();
    println!("a read as of {as_of:?}: {:?}", begin.elapsed());
    assert!(begin.elapsed() < READ_PATIENCE, "{:?}", begin.elapsed());
    account.balance.unwrap()
}

/// What is held before, at and between the ends of leases, and now: whatever of it is written down.
async fn check_reads(client: &mut Client, account: &str, posted_now: i64) {
    for micros in [-1, 0, 1, LEASES / 6, LEASES / 3 - 1, LEASES / 3, LEASES] {
        let lapsed = ((micros + 1) * 3).clamp(0, LEASES);
        let balance = read(client, account, Some(FIRST_EXPIRE_TIME + micros)).await;
        let (posted, held) = (balance.posted_micro_usd, balance.held_micro_usd);
        assert_eq!((posted, held), (2 * LEASES, LEASES - lapsed), "{micros}");
    }
    let now = read(client, account, None).await;
    assert_eq!((now.posted_micro_usd, now.held_micro_usd), (posted_now, 0));
    assert_eq!(read(client, account, Some(FIRST_EXPIRE_TIME + 1_000_000_000_000_000)).await, now);
}

fn rss_kib(process: &Process, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Charges, however long that takes: a deadline that passes leaves the outcome unknown, and the same key finds it out.
async fn charge_with_patience(client: &mut Client, key: &str, amount: i64) {
    loop {
        match client.charge(charge("big", key, amount)).await {
            Err(status) if status.code() == Code::DeadlineExceeded => {}
            answer => break drop(answer.answered()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_thousand_leases_that_run_out_together_harm_nobody() {
    on_a_book(async |book| {
        book.run_sql(&lapsed_sql("big", LEASES)).await.unwrap();
        let process = Process::serve(&["--database-url", &book.url, "--sweep-interval", "0s"]);
        let mut client = process.client().await;
        for n in 0..8 {
            client.credit(deposit(&format!("neighbour-{n}"), "order-1", 1_000_000)).await.answered();
        }
        check_reads(&mut client, "big", 2 * LEASES).await;
        let before_kib = rss_kib(&process, "VmRSS");

        let mut charges = tokio::task::JoinSet::new();
        for n in 0..2 {
            let mut client = process.client().await;
            charges.spawn(async move { charge_with_patience(&mut client, &format!("job-{n}"), LEASES).await });
        }
        let (mut served, mut slowest, begin) = (0_u32, Duration::ZERO, Instant::now());
        while !charges.is_empty() {
            if let Some(charged) = charges.try_join_next() {
                charged.unwrap();
            }
            let neighbour = format!("neighbour-{}", served % 8);
            let called = Instant::now();
            client.charge(charge(&neighbour, &format!("job-{served}"), 1)).await.answered();
            (served, slowest) = (served + 1, slowest.max(called.elapsed()));
        }
        let (took, peak_kib) = (begin.elapsed(), rss_kib(&process, "VmHWM"));
        println!("{took:?}; {served} calls beside it, the slowest {slowest:?}; {before_kib} KiB, then {peak_kib} KiB");
        assert!(slowest < NEIGHBOUR_PATIENCE, "{slowest:?}");
        assert!(served > 20, "{served}");
        assert!(peak_kib < before_kib + RSS_GROWTH_MAX_KIB, "{before_kib} KiB, then {peak_kib} KiB");

        let expiries = "FROM ledger_entries WHERE account_id = 'big' AND entry_type = 13";
        assert_eq!(book.number(&format!("SELECT count(*) {expiries}")).await, LEASES);
        let most = format!("SELECT max(n) FROM (SELECT count(*) AS n {expiries} GROUP BY xmin) t");
        assert!(book.number(&most).await <= 1_000, "in one transaction");
        let disorder = "SELECT count(*) FROM (SELECT expire_time < lag(expire_time) OVER (ORDER BY sequence) AS is_late
             FROM ledger_entries WHERE account_id = 'big' AND entry_type = 13) e WHERE is_late";
        assert_eq!(book.number(disorder).await, 0, "those that ran out first come first");
        check_reads(&mut client, "big", 0).await;
    })
    .await;
}

/// A thousand accounts whose leases ran out first, and which somebody keeps locked.
#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_serves_accounts_behind_a_thousand_that_cannot_be_written() {
    use diesel_async::SimpleAsyncConnection as _;
    on_a_book(async |book| {
        let accounts: String = (0..1_060).map(|n| lapsed_sql(&format!("account-{n:04}"), 3)).collect();
        book.run_sql(&accounts).await.unwrap();
        book.run_sql(&lapsed_sql("big", 5_000)).await.unwrap();
        let mut blocker =
            book.lock("SELECT FROM accounts WHERE account_id < 'account-1000' FOR UPDATE").await;
        let sweeping = Config { sweep_interval: Some(Duration::from_millis(50)), ..config() };
        let _servers = [
            TestServer::start(&book.url, sweeping.clone()).await,
            TestServer::start(&book.url, sweeping).await,
        ];
        let open = "SELECT count(*) FROM reservations WHERE state = 1";
        wait_for(book, &format!("{open} AND account_id >= 'account-1000'"), 0).await;
        assert_eq!(book.number(open).await, 3_000);
        blocker.batch_execute("COMMIT").await.unwrap();
        wait_for(book, open, 0).await;
        wait_for(book, "SELECT count(*) FROM accounts WHERE next_expire_time IS NOT NULL", 0).await;
    })
    .await;
}

async fn wait_for(book: &TestBook, sql: &str, wanted: i64) {
    let begin = Instant::now();
    loop {
        let found = book.number(sql).await;
        if found == wanted {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{found} instead of {wanted}: {sql}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Leases that run for long: whoever looks for those that have run out looks at none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_does_not_look_at_leases_that_run() {
    on_a_book(async |book| {
        let sql = lapsed_sql("big", 20_000).replace(&FIRST_EXPIRE_TIME.to_string(), "4000000000000000"); // in 2096
        book.run_sql(&sql).await.unwrap();
        let read =
            "SELECT sum(idx_blks_hit + idx_blks_read) FROM pg_statio_user_indexes WHERE indexrelname LIKE 'reservations%'";
        let sweeping = Config { sweep_interval: Some(Duration::from_millis(5)), ..config() };
        let server = TestServer::start(&book.url, sweeping).await;
        server.client().await;
        tokio::time::sleep(Duration::from_secs(2)).await; // until the open reservations have been counted
        let before = book.number(read).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let looked_at = book.number(read).await - before;
        assert!(looked_at < 1_000, "{looked_at}");
    })
    .await;
}
