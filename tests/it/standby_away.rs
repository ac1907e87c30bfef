//! The synchronous standby is away: no commit is answered until it is back. What waits for it is bounded, and all goes on when it
//! returns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use billing::{ledger::Ledger, private_postgres::PrivatePostgres};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use rustix::process::Signal;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::support::{
    book::{limits, number},
    check::check_book,
    health::{health, wait_for},
    server::{TestServer, config},
    standby::{Pair, signal_server},
    waiting::until,
    *,
};

const PRIMARY: [(&str, &str); 2] = [("fsync", "off"), ("max_connections", "40")];
const STANDBY: [(&str, &str); 4] = [
    ("fsync", "off"),
    ("hot_standby", "on"),
    ("max_connections", "40"),
    ("wal_retrieve_retry_interval", "100ms"),
];
const ACCOUNTS: usize = 8;
/// The service's own bound on a transaction.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the service and a ledger beside it may have: 4 + 1 writers, 2 readers and one session more for the one, 4 + 2 and one more
/// for the other.
const BACKENDS_MAX: i64 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn while_the_synchronous_standby_is_frozen_little_waits_and_all_goes_on_when_it_is_back() {
    let pair = start().await;
    let leave = async || signal_server(&pair.standby_dir, Signal::STOP);
    let come_back = async || signal_server(&pair.standby_dir, Signal::CONT);
    standby_is_away(&pair.primary, leave, come_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_synchronous_standby_is_gone_little_waits_and_all_goes_on_when_there_is_one_again() {
    let pair = start().await;
    let standby = std::sync::Mutex::new(Some(pair.standby));
    let leave = async || {
        let standby = standby.lock().unwrap().take().unwrap();
        spawn_blocking(move || standby.stop()).await.unwrap().unwrap();
    };
    let come_back = async || {
        let again = PrivatePostgres::start(&pair.standby_dir, &STANDBY).unwrap();
        *standby.lock().unwrap() = Some(again);
    };
    standby_is_away(&pair.primary, leave, come_back).await;
}

async fn standby_is_away(
    primary: &PrivatePostgres,
    leave: impl AsyncFnOnce(),
    come_back: impl AsyncFnOnce(),
) {
    let url = primary.database_url("billing");
    let server = TestServer::start(&url, config()).await;
    let mut readiness = health(&server.url).await;
    wait_for(&mut readiness, "readiness", Serving).await;
    let mut client = server.client().await;
    for account in 0..ACCOUNTS {
        client.credit(deposit(&format!("account-{account}"), "order-1", 1_000_000)).await.answered();
    }
    let beside =
        Ledger::connect(&url.parse().unwrap(), 4, 2, limits()).await.unwrap().allow_unsafe_database(true);
    beside.prove_commit().await.unwrap();
    let most = count_backends(&url).await;

    leave().await;
    wait_for(&mut readiness, "readiness", NotServing).await;
    let callers = call_for(&server, PATIENCE * 2 + Duration::from_secs(3));
    for _ in 0..12 {
        let probes: JoinSet<_> = (0..20).map(|_| prove(beside.clone())).collect();
        let proofs = probes.join_all().await;
        assert!(proofs.iter().all(|is_proven| !is_proven), "a commit is answered without the standby");
    }
    assert_eq!(late(&beside), 1, "one proof waits for the standby");
    let keys: Vec<(String, String, Duration)> = callers.join_all().await.into_iter().flatten().collect();
    for account in 0..ACCOUNTS {
        let account = format!("account-{account}");
        let read = timeout(Duration::from_secs(1), available(&mut client, &account));
        read.await.expect("reads go on");
    }
    let (most, slowest) = (most.load(Ordering::Relaxed), keys.iter().map(|(.., took)| *took).max().unwrap());
    assert!(most <= BACKENDS_MAX, "{most} backends; {slowest:?} until an answer");
    assert!(slowest < PATIENCE + Duration::from_secs(3), "{slowest:?}");

    come_back().await;
    wait_for(&mut readiness, "readiness", Serving).await;
    timeout(Duration::from_secs(5), beside.prove_commit()).await.unwrap().unwrap();
    assert_eq!(late(&beside), 0);
    assert!(keys.len() > ACCOUNTS);
    let mut done = 0;
    for (account, key, _) in &keys {
        let (entry, _) = client.charge(charge(account, key, 1)).await.answered();
        assert_eq!(client.charge(charge(account, key, 1)).await.answered(), (entry, true));
        done += 1;
    }
    let mut left = 0;
    for account in 0..ACCOUNTS {
        left += available(&mut client, &format!("account-{account}")).await;
    }
    assert_eq!(left, i64::try_from(ACCOUNTS).unwrap() * 1_000_000 - done, "each key was carried out once");
    check_book(&url).await;
    println!("{most} backends at most; {slowest:?} until an answer at most; {done} keys");
}

/// A server with a synchronous standby.
async fn start() -> Pair {
    let pair = Pair::start(&PRIMARY, &STANDBY).await;
    let mut operator = AsyncPgConnection::establish(&pair.primary.database_url("postgres")).await.unwrap();
    operator.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    until("the standby is synchronous", async || {
        (number(&mut operator, synchronous).await == 1).then_some(())
    })
    .await;
    pair
}

/// How many sessions are late, by the metrics.
fn late(ledger: &Ledger) -> u32 {
    ledger.pools().iter().map(|pool| pool.late).sum()
}

async fn prove(ledger: Ledger) -> bool {
    ledger.prove_commit().await.is_ok()
}

/// Calls for a while, each account from a task of its own, and returns what was asked for, and how long the answer took.
fn call_for(server: &TestServer, lasting: Duration) -> JoinSet<Vec<(String, String, Duration)>> {
    let end = Instant::now() + lasting;
    let call = |account: usize| {
        let url = server.url.clone();
        async move {
            let (mut client, account) = (connect(&url).await, format!("account-{account}"));
            let mut keys = Vec::new();
            while Instant::now() < end {
                let (key, began) = (format!("job-{}", keys.len()), Instant::now());
                let answer = client.charge(charge(&account, &key, 1)).await.unwrap_err();
                assert_eq!(answer.code(), Code::Unavailable, "{answer:?}");
                keys.push((account.clone(), key, began.elapsed()));
                sleep(Duration::from_millis(200)).await;
            }
            keys
        }
    };
    (0..ACCOUNTS).map(call).collect()
}

/// The most backends that there are for the service, from now on.
async fn count_backends(url: &str) -> Arc<AtomicI64> {
    let most = Arc::new(AtomicI64::new(0));
    let mut operator = AsyncPgConnection::establish(url).await.unwrap();
    let kept = Arc::clone(&most);
    tokio::spawn(async move {
        let of_the_service = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing'";
        while Arc::strong_count(&kept) > 1 {
            kept.fetch_max(number(&mut operator, of_the_service).await, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
    });
    most
}
