//! Callers whose connection goes away in the middle of a call: what was begun is finished, what was not is not begun.

use std::time::Duration;

use billing::{committer::CommitterSettings, config::Config, grpc::proto::GetOperationRequest};
use diesel_async::SimpleAsyncConnection;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{
    server::{TestServer, config},
    *,
};

/// A credit over a connection of its own, and the task that waits for its answer.
async fn begin_credit(server: &TestServer, key: &'static str) -> JoinHandle<()> {
    let mut client = server.client().await;
    let call = tokio::spawn(async move { drop(client.credit(deposit("ann", key, 10)).await) });
    tokio::time::sleep(Duration::from_millis(100)).await; // lets it arrive
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vanished_caller_had_begun_is_finished_and_what_it_had_not_is_not_begun() {
    on_a_book(async |book| {
        let committer = CommitterSettings { writers: 1, queue_max: 10, batch_max: 10 };
        let server = TestServer::start(&book.url, Config { committer, ..config() }).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        let mut blocker = book.connect().await;
        blocker.batch_execute("BEGIN; SELECT FROM accounts FOR UPDATE").await.unwrap();

        let begun = begin_credit(&server, "begun").await; // waits for the lock
        let queued = begin_credit(&server, "queued").await; // waits for the writer
        for call in [begun, queued] {
            call.abort();
            let _ = call.await; // with it goes the connection
        }
        tokio::time::sleep(Duration::from_millis(200)).await; // lets the service notice
        blocker.batch_execute("ROLLBACK").await.unwrap();

        // The writer comes to this after both.
        let (entry, _) = client.credit(deposit("ann", "order-2", 10)).await.answered();
        assert_eq!((entry.sequence, available(&mut client, "ann").await), (3, 30));
        let operation =
            |key: &str| GetOperationRequest { account_id: "ann".into(), idempotency_key: key.into() };
        client.get_operation(operation("begun")).await.unwrap();
        let never_begun = client.get_operation(operation("queued")).await;
        assert_eq!(reason(never_begun), (Code::NotFound, "OPERATION_NOT_FOUND".into()));
        assert!(client.credit(deposit("ann", "begun", 10)).await.answered().1);
        assert!(!client.credit(deposit("ann", "queued", 10)).await.answered().1);
    })
    .await;
}
