//! One account is flooded, and every connection for reads is stuck: nobody else notices.
//!
//! In the suite for a moment, and without a look at the latencies, since other tests run beside it. `make flood` is the whole
//! of it: half a minute of 2,000 calls a second, in a release build.

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use diesel_async::SimpleAsyncConnection;
use tokio::{task::JoinSet, time::Instant};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    health::{health, request},
    process::Process,
    *,
};

/// How many other accounts there are, and how many calls a second they make together.
const OTHERS: usize = 50;
const OTHERS_RATE: u64 = 200;
/// How many callers ask for statements: eight times as many as there are connections. A wait for a connection ends when one for
/// a lock does, so some of them get a connection in time, but not all.
const READERS: usize = 32;
/// How much the 99th percentile of the others may grow.
const SLOWER_MAX: u32 = 5;

/// How long, how fast, and whether latencies count.
struct Extent {
    seconds: u64,
    flood_rate: u64,
    is_measured: bool,
}

impl Extent {
    fn from_environment() -> Self {
        match env::var("FLOOD_SECONDS") {
            Ok(seconds) => Self { seconds: seconds.parse().unwrap(), flood_rate: 2_000, is_measured: true },
            Err(_) => Self { seconds: 2, flood_rate: 400, is_measured: false },
        }
    }
}

/// How calls were answered.
#[derive(Default)]
struct Tally {
    latencies: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<(Code, String)>>,
}

impl Tally {
    fn quantile(&self, per_hundred: usize) -> Duration {
        let mut latencies = self.latencies.lock().unwrap();
        latencies.sort_unstable();
        latencies[latencies.len() * per_hundred / 100]
    }

    fn answered(&self) -> usize {
        self.latencies.lock().unwrap().len()
    }

    fn failures(&self) -> Vec<(Code, String)> {
        self.failures.lock().unwrap().clone()
    }
}

/// Charges at a fixed rate, whether or not earlier ones have been answered. Latency counts from when a call was due.
async fn charge_at(rate: u64, seconds: u64, client: Client, account: impl Fn(u64) -> String) -> Tally {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let tally = Arc::new(Tally::default());
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..rate * seconds {
        let due = begin + Duration::from_nanos(1_000_000_000 / rate * n);
        tokio::time::sleep_until(due).await;
        let key = format!("job-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (request, mut client, tally) = (charge(&account(n), &key, 1), client.clone(), Arc::clone(&tally));
        calls.spawn(async move {
            let answer = client.charge(request).await;
            tally.latencies.lock().unwrap().push(due.elapsed());
            if answer.is_err() {
                tally.failures.lock().unwrap().push(reason(answer));
            }
        });
    }
    calls.join_all().await;
    Arc::into_inner(tally).unwrap()
}

async fn charge_others(service: &Process, seconds: u64) -> Tally {
    let other = |n: u64| format!("other-{}", n % OTHERS as u64);
    charge_at(OTHERS_RATE, seconds, service.client().await, other).await
}

/// Asks for statements of the account all the time, which share no query. Returns the failures.
async fn keep_every_reader_busy(service: &Process, is_over: &Arc<AtomicBool>) -> Vec<(Code, String)> {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (mut client, is_over) = (service.client().await, Arc::clone(is_over));
        readers.spawn(async move {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                failures.push(reason(client.get_statement(get_statement("flooded")).await));
            }
            failures
        });
    }
    readers.join_all().await.concat()
}

/// How often the service was found ready, and how often not.
async fn watch_health(service: &Process, is_over: &Arc<AtomicBool>) -> (u32, u32) {
    let mut health = health(&service.url()).await;
    let (mut ready, mut unready) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let answer = health.check(request("readiness")).await;
        match answer.map(|answer| answer.into_inner().status()) {
            Ok(ServingStatus::Serving) => ready += 1,
            Ok(_) | Err(_) => unready += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (ready, unready)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flooded_account_and_a_full_pool_leave_the_others_alone() {
    on_a_book(async |book| {
        let Extent { seconds, flood_rate, is_measured } = Extent::from_environment();
        let service = Process::serve(&["--database-url", &book.url]);
        let mut client = service.client().await;
        for account in (0..OTHERS).map(|n| format!("other-{n}")).chain(["flooded".into()]) {
            client.credit(deposit(&account, "order-1", 1_000_000)).await.answered();
        }
        let quiet = charge_others(&service, seconds).await;

        // Whoever asks for a statement waits for this until it gives up, with a connection in its hands.
        let mut blocker = book.connect().await;
        blocker.batch_execute("BEGIN; LOCK TABLE reservations").await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let under_flood = async {
            let flood = charge_at(flood_rate, seconds, service.client().await, |_| "flooded".into());
            let both = tokio::join!(charge_others(&service, seconds), flood);
            is_over.store(true, Ordering::Relaxed);
            both
        };
        let ((others, flood), stuck, (ready, unready)) = tokio::join!(
            under_flood,
            keep_every_reader_busy(&service, &is_over),
            watch_health(&service, &is_over),
        );
        blocker.batch_execute("ROLLBACK").await.unwrap();

        let [before, after] = [&quiet, &others].map(|tally| tally.quantile(99));
        println!(
            "others, {OTHERS_RATE} calls/s: p50 {:?}, p99 {before:?}; beside {} calls/s on one account for {seconds} s, and \
             {} reads of which each found the pool stuck: p50 {:?}, p99 {after:?}, {} % of it; flooded: p99 {:?}; \
             ready {ready} times of {}",
            quiet.quantile(50),
            flood.answered() as u64 / seconds,
            stuck.len(),
            others.quantile(50),
            after.as_micros() * 100 / before.as_micros(),
            flood.quantile(99),
            ready + unready,
        );
        assert_eq!(others.failures(), [], "the others are all answered");
        assert_eq!(flood.failures(), [], "nobody is told that there is too little money, or anything else");
        assert!(ready > 10 && unready == 0, "ready {ready} times, unready {unready}");
        let told = |wanted: (Code, &str)| {
            stuck.iter().filter(|(code, reason)| (*code, reason.as_str()) == wanted).count()
        };
        let overloaded = told((Code::ResourceExhausted, "OVERLOADED"));
        assert!(overloaded > 0, "the pool was never full: {stuck:?}");
        assert_eq!(overloaded + told((Code::Aborted, "CONTENTION")), stuck.len(), "{stuck:?}");
        assert!(!is_measured || after <= before * SLOWER_MAX, "{after:?} instead of {before:?}");
    })
    .await;
}
