//! A single process of PostgreSQL dies or hangs under load: nothing is lost or doubled, and no service is restarted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use billing::private_postgres::PrivatePostgres;
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::support::{
    book::number,
    check::check_book,
    dir::Dir,
    server::{TestServer, config},
    waiting::{PATIENCE, until},
    *,
};

const CALLERS: usize = 8;
/// What a caller may be told meanwhile.
const RETRYABLE: [Code; 3] = [Code::Unavailable, Code::Aborted, Code::ResourceExhausted];

/// A PostgreSQL of the test's own: the death of one backend ends the sessions of all.
struct Server {
    postgres: PrivatePostgres,
    url: String,
    _dir: Dir,
}

impl Server {
    async fn start() -> Self {
        let dir = Dir::new();
        let postgres = PrivatePostgres::start(&dir.path().join("data"), &[("fsync", "off")]).unwrap();
        let url = postgres.database_url("billing");
        migrate(&url).await;
        Self { postgres, url, _dir: dir }
    }

    /// The process of a session of the service that waits for nothing but the service, or is at work.
    async fn backend(&self) -> Pid {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'billing' \
                   ORDER BY state = 'idle', random() LIMIT 1";
        until("the service has a session", async || {
            // While PostgreSQL recovers it takes no connections.
            let mut connection = AsyncPgConnection::establish(&self.url).await.ok()?;
            let pid = number(&mut connection, &format!("SELECT coalesce(({sql}), 0)")).await;
            i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)
        })
        .await
    }
}

/// Deposits until it is told to stop, each until it is answered. Returns how many.
async fn deposit_until(is_over: Arc<AtomicBool>, mut client: Client, caller: usize) -> i64 {
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        let request = deposit(&format!("account-{}", answered % 5), &format!("order-{caller}-{answered}"), 1);
        while let Err(status) = client.credit(request.clone()).await {
            assert!(RETRYABLE.contains(&status.code()), "{status:?}");
            sleep(Duration::from_millis(20)).await;
        }
        answered += 1;
    }
    answered
}

/// Lets something happen to the server under load, then settles what was begun.
async fn under_load(happens: impl AsyncFnOnce(&Server)) {
    let server = Server::start().await;
    let service = TestServer::start(&server.url, config()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(deposit_until(Arc::clone(&is_over), service.client().await, caller));
    }
    sleep(Duration::from_millis(200)).await;
    happens(&server).await;
    sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    let answered = timeout(PATIENCE, callers.join_all()).await.expect("every caller is answered");
    let answered: i64 = answered.into_iter().sum();
    let mut operator = AsyncPgConnection::establish(&server.url).await.unwrap();
    assert_eq!(number(&mut operator, "SELECT count(*) FROM ledger_entries").await, answered);
    assert_eq!(number(&mut operator, "SELECT sum(posted_micro_usd) FROM accounts").await, answered);
    drop(service);
    check_book(&server.url).await;
    server.postgres.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_killed_takes_all_sessions_with_it_and_nothing_else() {
    under_load(async |server| {
        for _ in 0..3 {
            kill_process(server.backend().await, Signal::KILL).unwrap();
            sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_for_a_while_keeps_only_those_waiting_who_need_it() {
    under_load(async |server| {
        for _ in 0..3 {
            let backend = server.backend().await;
            kill_process(backend, Signal::STOP).unwrap();
            sleep(Duration::from_millis(700)).await;
            kill_process(backend, Signal::CONT).unwrap();
        }
    })
    .await;
}
