//! A long run of faults at random, on real processes: two replicas of the service, each with a wire of its own to a durable
//! PostgreSQL, and callers that go on until they are answered. Then everything that was told is judged by the book.
//!
//! `CHAOS_SEED` and `CHAOS_SECONDS` set what is decided and for how long. A seed decides what every caller asks for and what
//! every hand breaks; what happens in between is for the machine to decide, so a run is like another with its seed, not the
//! same.

mod book;
mod checker;
pub mod clients;
mod faults;
mod figures;
mod history;
pub mod operations;
pub mod wording;

use std::{
    env,
    path::Path,
    str::FromStr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    model::Limits,
    support::{check::check_book, migrate, wire::Wire},
};
use book::Book;
use checker::check;
use clients::Load;
use faults::{Database, Replicas, Tally, Wires, inflict};
use figures::Figures;
use history::History;
use operations::Accounts;

const SEED_DEFAULT: u64 = 1;
const SECONDS_DEFAULT: u64 = 15;
/// How long the replicas may take until they are ready.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(30);
/// How long the callers may take for what they have begun, once nothing is broken any more.
const FINISH_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to ask again for all of it.
const SETTLE_PATIENCE: Duration = Duration::from_secs(600);

const LIMITS: Limits = Limits { admin_credit_max: 1_000, debt_max: 1_000 };
const FLAGS: [&str; 8] = [
    "--sweep-interval",
    "200ms",
    "--debt-max",
    "1000",
    "--admin-credit-max",
    "1000",
    "--drain-delay",
    "100ms",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_unexplained_whatever_fails() {
    let seed = from_environment("CHAOS_SEED", SEED_DEFAULT);
    let seconds = from_environment("CHAOS_SECONDS", SECONDS_DEFAULT);
    let dir = env::temp_dir().join(format!("billing-chaos-{}", std::process::id()));
    eprintln!("chaos: seed {seed}, {seconds} seconds; data in {}, and kept if it fails", dir.display());
    let mut rng = Rng::with_seed(seed);

    let tally = Tally::default();
    let mut system = System::start(&dir).await;
    let load = Arc::new(Load::new(system.replicas.urls()));
    let clients = clients::start(&load, &mut rng);
    system = system.suffer(Duration::from_secs(seconds), &mut rng, &tally).await;
    system.recover(clients, &load).await;
    timeout(SETTLE_PATIENCE, clients::settle(&load, &mut rng)).await.expect("everything is answered again");
    system.replicas.failures().into_iter().for_each(|failure| load.history.incident(failure));

    let book = Book::read(&system.database.url()).await;
    let records = load.history.records().clone();
    let verdicts = check(&records, &book, LIMITS);
    let figures =
        Figures { seed, seconds, records: &records, book: &book, tally: &tally, verdicts: &verdicts };
    eprintln!("{figures}");
    assert!(verdicts.are_clean(), "seed {seed}:\n{verdicts}");
    check_book(&system.database.url()).await;
    figures.check_enough_happened();
    drop(system.replicas);
    system.database.remove().await;
}

/// Everything that runs, and breaks.
struct System {
    database: Database,
    wires: Wires,
    replicas: Replicas,
}

impl System {
    async fn start(dir: &Path) -> Self {
        let database = Database::start(dir).await;
        migrate(&database.url()).await;
        let wires = [Wire::open(&database.url()).await, Wire::open(&database.url()).await];
        let replicas = Replicas::start(wires.each_ref().map(|wire| wire.url.as_str()), &FLAGS).await;
        Self { database, wires: Wires(wires), replicas }
    }

    /// Breaks everything again and again, for a while.
    async fn suffer(self, lasting: Duration, rng: &mut Rng, tally: &Tally) -> Self {
        let until = Instant::now() + lasting;
        let (database, wires, replicas) = tokio::join!(
            inflict(self.database, rng.fork(), until, tally),
            inflict(self.wires, rng.fork(), until, tally),
            inflict(self.replicas, rng.fork(), until, tally),
        );
        Self { database, wires, replicas }
    }

    /// With nothing broken any more, lets the callers finish. Returns when nothing happens any more that they gave up.
    async fn recover(&mut self, clients: JoinSet<()>, load: &Load) {
        let ready = timeout(RECOVERY_PATIENCE, self.replicas.wait_until_ready()).await;
        ready.expect("with nothing broken, the replicas are ready");
        load.is_over.store(true, Ordering::Relaxed);
        finish(clients, load).await;
        self.replicas.stop().await;
        self.database.wait_until_unused().await;
        self.replicas.start_again().await;
    }
}

/// Lets the callers finish what they have begun.
async fn finish(mut clients: JoinSet<()>, load: &Load) {
    let finished = timeout(FINISH_PATIENCE, async {
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    });
    if finished.await.is_err() {
        load.history.incident(format!("{} callers were never answered", clients.len()));
    }
}

fn from_environment<T: FromStr>(name: &str, default: T) -> T {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

impl Load {
    fn new(urls: [String; 2]) -> Self {
        Self { urls, history: History::default(), accounts: Accounts::new(), is_over: false.into() }
    }
}
