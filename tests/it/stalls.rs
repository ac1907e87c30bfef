//! The database hangs, or the network swallows what is sent: nothing waits for an answer without a bound.

use std::time::{Duration, Instant};

use billing::{
    accounting::AccountId,
    config::Config,
    grpc::proto::{GetAccountRequest, GetEntryRequest, get_entry_request},
    ledger::Ledger,
    schema,
};
use diesel_async::SimpleAsyncConnection;
use tokio::{net::TcpListener, time::timeout};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    book::limits,
    health::{check, health, wait_for},
    server::{TestServer, config},
    wire::Wire,
    *,
};

/// The service's own bound on a transaction and on a read.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_unavailable_soon_and_all_goes_on_when_it_does() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 5)).await.answered();
        }
        let mut health = health(&server.url).await;
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;

        let began = Instant::now();
        wire.stall_at_commit(PATIENCE + Duration::from_millis(1_500));
        let mut calls = tokio::task::JoinSet::new();
        let charged = |account: &'static str| {
            let mut client = client.clone();
            async move { reason(client.charge(charge(account, "job-1", 2)).await) }
        };
        calls.spawn(charged("ann"));
        wire.stalled_at_commit().await;
        calls.spawn(charged("bob"));
        let mut reader = client.clone();
        calls.spawn(async move { reason(reader.get_account(account("ann")).await) });

        wait_for(&mut health, "readiness", ServingStatus::NotServing).await;
        assert!(began.elapsed() < Duration::from_secs(3), "not ready after {:?}", began.elapsed());
        assert_eq!(check(&mut health, "liveness").await, ServingStatus::Serving);
        for answer in calls.join_all().await {
            assert_eq!(answer, (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned()));
        }
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(1), "answered after {:?}", began.elapsed());

        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        let (entry, replayed) = client.charge(charge("ann", "job-1", 2)).await.answered();
        assert_eq!((entry.sequence, replayed), (2, true), "its COMMIT had come through");
        assert_eq!(client.charge(charge("bob", "job-1", 2)).await.answered().0.sequence, 2);
        for account in ["ann", "bob"] {
            assert_eq!(available(&mut client, account).await, 3);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_soon_when_the_database_hangs_even_if_nobody_calls_and_comes_back() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut health = health(&server.url).await;
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        let began = Instant::now();
        wire.stall_for(Duration::from_secs(4));
        wait_for(&mut health, "readiness", ServingStatus::NotServing).await;
        assert!(began.elapsed() < Duration::from_secs(3), "not ready after {:?}", began.elapsed());
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_slow_to_answer_is_waited_for() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        wire.stall_for(Duration::from_secs(1));
        let (entry, replayed) = client.credit(deposit("ann", "order-2", 5)).await.answered();
        assert_eq!((entry.sequence, replayed), (2, false));
        wire.stall_for(Duration::from_secs(1));
        assert_eq!(available(&mut client, "ann").await, 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_and_says_nothing_does_not_keep_the_next_from_being_tried() {
    on_a_book(async |book| {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (silent_port, began) = (silent.local_addr().unwrap().port(), Instant::now());
        let (before, host) = book.url.split_once("host=").unwrap();
        let url = format!("{before}host=127.0.0.1,{host}&connect_timeout=1");
        let url = url.replace("port=5432", &format!("port={silent_port},5432"));
        assert_eq!(schema::pending_migrations(&url.parse().unwrap()).await.unwrap(), [""; 0]);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let only_silent = format!("postgres://billing@127.0.0.1:{silent_port}/d?connect_timeout=1");
        schema::pending_migrations(&only_silent.parse().unwrap()).await.unwrap_err();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_caller_went_away_is_finished_and_its_session_is_used_again() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, Config { readers: 1, ..config() }).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        assert_eq!(available(&mut client, "ann").await, 5);
        let last_sessions = "SELECT extract(epoch FROM max(backend_start)) * 1000000 FROM pg_stat_activity \
                             WHERE datname = current_database() AND application_name = 'billing'";
        let before = book.number(last_sessions).await;
        let mut blocker = book.connect().await;
        blocker.batch_execute("BEGIN; LOCK TABLE accounts").await.unwrap();

        is_too_late(client.get_account(within(100, account("ann"))).await);

        let began = Instant::now();
        let first = Some(get_entry_request::Entry::Sequence(1));
        let mut beside = server.client().await;
        let entry = tokio::spawn(async move {
            beside.get_entry(GetEntryRequest { account_id: "ann".into(), entry: first }).await.unwrap()
        });
        blocker.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(entry.await.unwrap().into_inner().entry.unwrap().sequence, 1);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(book.number(last_sessions).await, before, "no session is newer");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_come_too_late_open_no_sessions() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        assert_eq!(available(&mut client, "ann").await, 5);
        for _ in 0..300 {
            is_too_late(client.get_account(within(3, account("ann"))).await);
        }
        assert_eq!(available(&mut client, "ann").await, 5);
        let connections = wire.take_requests().into_iter().map(|request| request.connection).max().unwrap();
        println!("{connections} connections");
        assert!(connections <= 1 + 5 + 2, "{connections} connections: to look, to write and to read");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_dropped_at_any_moment_leaves_its_rows_to_nobody() {
    on_a_book(async |book| {
        let accounts: Vec<String> = (1..=5).map(|number| format!("account-{number}")).collect();
        let server = book.serve().await;
        let mut client = server.client().await;
        for (account, amount) in accounts.iter().zip(1..) {
            client.credit(deposit(account, "order-1", amount)).await.answered();
        }
        let ledger = Ledger::connect(&book.database_url(), 1, 1, limits()).await.unwrap();
        let id = |account: &str| AccountId::parse("account_id", account).unwrap();
        for round in 0..300 {
            let dropped = id(&accounts[round % 5]);
            let patience = Duration::from_micros(fastrand::u64(0..2_000));
            let _ = timeout(patience, ledger.account_get(&dropped)).await; // both are fine
            let (account, amount) = (&accounts[(round + 1) % 5], i64::try_from((round + 1) % 5 + 1).unwrap());
            let read = ledger.account_get(&id(account)).await.unwrap().unwrap();
            assert_eq!(read.balance.posted().get(), amount, "round {round}");
        }
    })
    .await;
}

fn account(account: &str) -> GetAccountRequest {
    GetAccountRequest { account_id: account.into(), as_of: None }
}
