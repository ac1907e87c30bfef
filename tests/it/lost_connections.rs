//! The connection to PostgreSQL is lost at every point of the transaction: all of it happens once, or none of it.

use std::time::Duration;

use billing::private_postgres::PrivatePostgres;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tonic::Code;

use crate::support::{
    book::number,
    check::check_book,
    server::{TestServer, config},
    wire::{Cut, Wire},
    *,
};

/// More than the requests of any of the operations below, the first connection included.
const REQUESTS_MAX: usize = 40;
/// How often all backends are terminated. Not for ever: a machine that is slower at connecting than the killer at killing
/// would never be done.
const KILLS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_before_any_statement_leaves_all_or_nothing_and_a_retry_settles_it() {
    cut_everywhere(Cut::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_any_statement_leaves_all_or_nothing_and_a_retry_settles_it() {
    cut_everywhere(Cut::After).await;
}

/// Cuts at the first request of an operation, then in a new operation at the second, and so on to the last.
async fn cut_everywhere(cut: Cut) {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-0", 1)).await.answered();
        tokio::time::sleep(Duration::from_millis(50)).await; // lets the first probe of health pass
        let mut cuts = 0;
        for after in 0..REQUESTS_MAX {
            let (key, session) = (format!("order-{}", after + 1), format!("cs_{after}"));
            let request = stripe_deposit("ann", &key, 10, &session);
            wire.cut(after, cut);
            // The service itself runs a transaction again whose connection was lost: the caller notices nothing.
            let (entry, replayed) = client.credit(request.clone()).await.answered();
            assert!(!replayed, "to its first caller even an entry with a lost COMMIT is new");
            if wire.is_uncut() {
                break;
            }
            cuts += 1;
            assert_eq!(client.credit(request).await.answered(), (entry, true));
        }
        assert!(cuts >= 6, "only {cuts} cuts");
        let expected = 1 + 10 * (i64::from(cuts) + 1);
        assert_eq!(available(&mut client, "ann").await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_backend_is_terminated_again_and_again_under_load_and_nothing_is_lost_or_doubled() {
    on_a_book(async |book| {
        let server = book.serve().await;
        server.client().await.credit(deposit("account-0", "order-0", 1)).await.answered(); // it has started
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..16 {
            let mut client = server.client().await;
            calls.spawn(async move {
                for n in 0..60 {
                    let request = deposit(&format!("account-{}", n % 7), &format!("order-{caller}-{n}"), 1);
                    while client.credit(request.clone()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        let victims = book.clone();
        let killer = tokio::spawn(async move {
            for _ in 0..KILLS {
                victims.terminate_others().await;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        });
        calls.join_all().await;
        killer.await.unwrap();
        assert_eq!(book.number("SELECT sum(posted_micro_usd) FROM accounts").await, 1 + 16 * 60);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_connection_is_lost_is_answered_over_another() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        for cut in [Cut::Before, Cut::After] {
            wire.cut(0, cut);
            assert_eq!(available(&mut client, "ann").await, 5);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back_needs_no_restart_of_the_service() {
    let dir = std::env::temp_dir().join(format!("billing-away-{}", std::process::id()));
    let start = || PrivatePostgres::start(&dir, &[("fsync", "off")]).unwrap();
    let postgres = start();
    let url = postgres.database_url("billing");
    migrate(&url).await;
    let server = TestServer::start(&url, config()).await;
    let mut client = server.client().await;
    client.credit(deposit("ann", "order-1", 5)).await.answered();

    postgres.stop().unwrap();
    refused(client.charge(charge("ann", "job-1", 5)).await, Code::Unavailable, "DATABASE_UNAVAILABLE");
    refused(client.get_account(get_account("ann")).await, Code::Unavailable, "DATABASE_UNAVAILABLE");

    let postgres = start();
    let (entry, replayed) = client.charge(charge("ann", "job-1", 5)).await.answered();
    assert_eq!((entry.sequence, replayed), (2, false));
    check_book(&url).await;
    drop(server);
    postgres.stop().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

/// As where a former primary goes on as a standby and keeps its sessions, while its address leads to the new primary.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_take_no_more_writes_are_left_for_new_ones_that_do() {
    let dir = std::env::temp_dir().join(format!("billing-demoted-{}", std::process::id()));
    let postgres = PrivatePostgres::start(&dir, &[("fsync", "off")]).unwrap();
    let url = postgres.database_url("billing");
    migrate(&url).await;
    let server = TestServer::start(&url, config()).await;
    let mut client = server.client().await;
    client.credit(deposit("ann", "order-1", 5)).await.answered();

    let mut operator = AsyncPgConnection::establish(&url).await.unwrap();
    for sql in [
        "SET default_transaction_read_only = off",
        "ALTER DATABASE billing SET default_transaction_read_only = off", // for sessions that begin after this
        "ALTER SYSTEM SET default_transaction_read_only = on",            // for those that there are
        "SELECT pg_reload_conf()",
    ] {
        operator.batch_execute(sql).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // each session learns of it by itself
    let (entry, replayed) = client.charge(charge("ann", "job-1", 5)).await.answered();
    assert_eq!((entry.sequence, replayed), (2, false));
    let moment = "CREATE TEMPORARY TABLE moment AS SELECT clock_timestamp() AS demoted";
    operator.batch_execute(moment).await.unwrap();
    for _ in 0..10 {
        let left = available(&mut client, "ann").await;
        assert_eq!(left, 0, "and none reads from where nothing new is written");
    }
    let old = "SELECT count(*) FROM pg_stat_activity, moment \
               WHERE application_name = 'billing' AND backend_start < pg_conf_load_time() AND state_change > demoted";
    assert_eq!(number(&mut operator, old).await, 0, "a session from before was used again");
    check_book(&url).await;
    drop(server);
    postgres.stop().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}
