//! More than can be done at once: refused at once and by name, and nothing is lost.

use std::time::{Duration, Instant};

use billing::{
    accounting::AccountId,
    config::Config,
    ledger::{Ledger, LedgerError},
};
use diesel_async::SimpleAsyncConnection;
use tokio::{task::JoinSet, time::sleep};
use tonic::Code;

use crate::support::{
    book::limits,
    server::{TestServer, config},
    wire::Wire,
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_find_every_connection_in_use_are_told_so_and_not_that_the_database_is_away() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, Config { readers: 1, ..config() }).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        assert_eq!(available(&mut client, "ann").await, 5);
        wire.stall_for(Duration::from_secs(4)); // longer than a read waits for a connection
        let mut reads = JoinSet::new();
        for _ in 0..5 {
            let mut client = client.clone();
            reads.spawn(async move { client.get_account(get_account("ann")).await });
            // The first has the connection before the others come, which could share its statement otherwise.
            sleep(Duration::from_millis(50)).await;
        }
        let (answered, refusals): (Vec<_>, Vec<_>) =
            reads.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(answered.len(), 1, "only one had the connection: {refusals:?}");
        for refusal in refusals {
            refused(refusal, Code::ResourceExhausted, "OVERLOADED");
        }
        assert_eq!(available(&mut client, "ann").await, 5);
    })
    .await;
}

/// How many reads wait for a connection at most.
const WAITING_MAX: usize = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn reads_beyond_those_that_may_wait_are_refused_at_once() {
    on_a_book(async |book| {
        // Without gRPC in between: thousands of calls at once would be a test of that.
        let ledger = Ledger::connect(&book.url.parse().unwrap(), 1, 1, limits()).await.unwrap();
        let ann = AccountId::parse("account_id", "ann").unwrap();
        let mut blocker = book.lock("LOCK TABLE accounts").await;
        let mut reads = JoinSet::new();
        for _ in 0..WAITING_MAX + 500 {
            let (ledger, ann) = (ledger.clone(), ann.clone());
            reads.spawn(async move {
                let began = Instant::now();
                (ledger.account_get(&ann).await, began.elapsed())
            });
        }
        let answers = reads.join_all().await;
        blocker.batch_execute("ROLLBACK").await.unwrap();
        let at_once = answers.iter().filter(|(answer, took)| {
            matches!(answer, Err(LedgerError::Overloaded)) && *took < Duration::from_millis(1_500)
        });
        let expected = 500 - 1; // but for the one that had the connection
        assert!(at_once.count() >= expected, "{:?}", answers.last());
    })
    .await;
}
