//! The primary goes away and its standby takes over: no service is restarted, and nothing that was answered is lost.

use std::time::Duration;

use billing::grpc::proto::GetAccountRequest;
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use rustix::process::Signal;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::support::{
    book::number,
    check::check_book,
    health::{check, health, wait_for},
    server::{TestServer, config},
    standby::{Pair, signal_server},
    waiting::until,
    *,
};

const SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("hot_standby", "on")];

/// The URL of a book that is in one server or the other.
fn either(pair: &Pair) -> String {
    let [one, other] = [&pair.primary, &pair.standby].map(|server| server.database_url("billing"));
    let host = |url: &str| url.split_once("host=").unwrap().1.split_once('&').unwrap().0.to_owned();
    one.replace(&host(&one), &format!("{},{}", host(&one), host(&other)))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_services_go_on_without_a_restart_and_know_all_that_was_answered() {
    let pair = Pair::start(&SETTINGS, &SETTINGS).await;
    let (standby_url, both) = (pair.standby.database_url("billing"), either(&pair));
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned());

    let service = TestServer::start(&both, config()).await;
    let mut client = service.client().await;
    let mut readiness = health(&service.url).await;
    wait_for(&mut readiness, "readiness", Serving).await;
    let (credited, _) = client.credit(stripe_deposit("ann", "order-1", 10, "cs_1")).await.answered();
    let (charged, _) = client.charge(charge("ann", "job-1", 4)).await.answered();
    let refused = error(client.charge(charge("ann", "job-2", 7)).await);

    // A service that knows only the standby answers reads.
    let beside = TestServer::start(&standby_url, config()).await;
    let mut client_beside = beside.client().await;
    let mut readiness_beside = health(&beside.url).await;
    wait_until_replayed(&standby_url, 2).await;
    assert_eq!(available(&mut client_beside, "ann").await, 6);
    assert_eq!(reason(client_beside.charge(charge("ann", "job-3", 1)).await), unavailable);
    assert_eq!(check(&mut readiness_beside, "readiness").await, NotServing);
    assert_eq!(check(&mut readiness_beside, "liveness").await, Serving);

    pair.primary.stop().unwrap();
    wait_for(&mut readiness, "readiness", NotServing).await;
    assert_eq!(reason(client.charge(charge("ann", "job-3", 1)).await), unavailable);
    // So does one that is started now.
    let late = TestServer::start(&both, config()).await;
    let mut readiness_late = health(&late.url).await;
    assert_eq!(check(&mut readiness_late, "readiness").await, NotServing);

    let mut operator = AsyncPgConnection::establish(&standby_url).await.unwrap();
    assert_eq!(number(&mut operator, "pg_promote()::int").await, 1);
    for readiness in [&mut readiness, &mut readiness_beside, &mut readiness_late] {
        wait_for(readiness, "readiness", Serving).await;
    }
    let again = stripe_deposit("ann", "order-1", 10, "cs_1");
    assert_eq!(client.credit(again).await.answered(), (credited, true));
    assert_eq!(client.charge(charge("ann", "job-1", 4)).await.answered(), (charged, true));
    assert_eq!(error(client.charge(charge("ann", "job-2", 7)).await), refused);
    for (mut client, sequence) in [client, client_beside, late.client().await].into_iter().zip(3..) {
        let key = format!("job-{sequence}");
        assert_eq!(client.charge(charge("ann", &key, 1)).await.answered().0.sequence, sequence);
    }
    check_book(&standby_url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_for_ever_is_left_for_the_standby_that_was_promoted() {
    let pair = Pair::start(&SETTINGS, &SETTINGS).await;
    let standby_url = pair.standby.database_url("billing");
    let url = format!("{}&connect_timeout=1", either(&pair));
    let service = TestServer::start(&url, config()).await;
    let mut client = service.client().await;
    let mut readiness = health(&service.url).await;
    wait_for(&mut readiness, "readiness", Serving).await;
    client.credit(deposit("ann", "order-1", 10)).await.answered();
    assert_eq!(available(&mut client, "ann").await, 10);
    wait_until_replayed(&standby_url, 1).await;

    signal_server(&pair.primary_dir, Signal::STOP);
    let unanswered = tokio::spawn({
        let mut client = client.clone();
        async move { client.charge(charge("ann", "job-1", 1)).await.unwrap_err().code() }
    });
    wait_for(&mut readiness, "readiness", NotServing).await;
    let mut operator = AsyncPgConnection::establish(&standby_url).await.unwrap();
    assert_eq!(number(&mut operator, "pg_promote()::int").await, 1);
    wait_for(&mut readiness, "readiness", Serving).await;
    assert_eq!(unanswered.await.unwrap(), Code::Unavailable);
    let charged = async {
        while client.charge(charge("ann", "job-1", 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), charged).await.expect("writes go on");
    let read = async {
        while client.get_account(GetAccountRequest { account_id: "ann".into(), as_of: None }).await.is_err() {
        }
    };
    timeout(Duration::from_secs(20), read).await.expect("reads go on");
    assert_eq!(available(&mut client, "ann").await, 9);
    check_book(&standby_url).await;
    signal_server(&pair.primary_dir, Signal::CONT);
}

/// Waits until the standby has this many entries.
async fn wait_until_replayed(url: &str, entries: i64) {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    until("the standby has the entries", async || {
        (number(&mut connection, "SELECT count(*) FROM ledger_entries").await >= entries).then_some(())
    })
    .await;
}
