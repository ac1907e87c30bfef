//! The connection to PostgreSQL is lost right before a COMMIT arrives, or right after it was carried out: the one moment
//! at which nobody can know.

use std::time::Duration;

use billing::grpc::proto::Entry;

use crate::support::{
    process::Process,
    server::{TestServer, config},
    waiting::until,
    wire::{Cut, Wire},
    *,
};

const ROUNDS: i64 = 200;
/// How long nothing comes through the wire: long enough for a caller to give up, or for a service to be killed.
const STALL: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrives_is_made_again_and_its_caller_notices_nothing() {
    cut_at_each_commit(Cut::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_not_made_twice_and_its_caller_notices_nothing() {
    cut_at_each_commit(Cut::After).await;
}

async fn cut_at_each_commit(cut: Cut) {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-0", ROUNDS)).await.answered();
        for round in 1..=ROUNDS {
            let key = format!("job-{round}");
            wire.cut_commit(cut);
            let (entry, replayed) = client.charge(charge("ann", &key, 1)).await.answered();
            assert!(!wire.has_cut_to_come(), "round {round} was not cut");
            assert_eq!((entry.sequence, replayed), (round + 1, false), "to its caller it is no replay");
            settles(&mut client, &key, &entry).await;
        }
        assert_eq!(available(&mut client, "ann").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hears_nothing_of_a_commit_learns_of_it_by_its_key() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-0", 100)).await.answered();
        for round in 1..=20 {
            let key = format!("job-{round}");
            wire.stall_at_commit(STALL);
            is_too_late(client.charge(within(50, charge("ann", &key, 1))).await);
            let (entry, replayed) = client.charge(charge("ann", &key, 1)).await.answered();
            assert_eq!((entry.sequence, replayed), (round + 1, true), "it was carried out, and once");
            settles(&mut client, &key, &entry).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_waits_for_a_commit_has_made_it_and_the_next_one_knows() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let flags = ["--database-url", wire.url.as_str()];
        let mut process = Process::serve(&flags);
        process.client().await.credit(deposit("ann", "order-0", 100)).await.answered();
        for round in 1..=10 {
            let (key, mut client) = (format!("job-{round}"), process.client().await);
            wire.stall_at_commit(STALL);
            let request = charge("ann", &key, 1);
            let unanswered = tokio::spawn(async move { client.charge(request).await });
            // A server that finds its client gone before it comes to the COMMIT does not make it.
            until("the entry is written", async || {
                (book.number("SELECT count(*) FROM ledger_entries").await > round).then_some(())
            })
            .await;
            process.kill();
            assert!(unanswered.await.unwrap().is_err());
            process = Process::serve(&flags);
            let mut client = process.client().await;
            let (entry, replayed) = client.charge(charge("ann", &key, 1)).await.answered();
            assert_eq!((entry.sequence, replayed), (round + 1, true));
            settles(&mut client, &key, &entry).await;
        }
    })
    .await;
}

/// From now on the key is answered with this entry, whatever is asked.
async fn settles(client: &mut Client, key: &str, entry: &Entry) {
    let (again, replayed) = client.charge(charge("ann", key, 1)).await.answered();
    assert_eq!((&again, replayed), (entry, true));
    assert_eq!(applied(client, "ann", key).await.0, again);
}
