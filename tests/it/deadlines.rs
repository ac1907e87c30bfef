//! Deadlines, health and shutdown: what a caller, a kubelet and a load balancer see.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use billing::{committer::CommitterSettings, config::Config};

use crate::support::{
    health::{check, health, request, wait_for},
    process::Process,
    server::{TestServer, config},
    waiting::until,
    wire::Wire,
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passes_while_it_waits_says_so_and_its_key_tells_the_outcome() {
    on_a_served_book(async |book, mut client| {
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        let mut blocker = book.lock("SELECT FROM accounts FOR UPDATE").await;

        let mut is_said_by_the_service = false;
        for _ in 0..10 {
            let began = Instant::now();
            let answer = client.credit(within(200, deposit("ann", "order-2", 10))).await;
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            is_said_by_the_service |= is_too_late(answer);
        }
        assert!(is_said_by_the_service);

        blocker.batch_execute("ROLLBACK").await.unwrap();
        // Begun before the deadline, so it is finished; calling again with the same key settles it.
        let (entry, _) = client.credit(deposit("ann", "order-2", 10)).await.answered();
        assert_eq!((entry.sequence, available(&mut client, "ann").await), (2, 20));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passes_in_the_queue_is_never_begun() {
    on_a_book(async |book| {
        let one_writer = CommitterSettings { writers: 1, queue_max: 100, batch_max: 100 };
        let server = TestServer::start(&book.url, Config { committer: one_writer, ..config() }).await;
        let mut client = server.client().await;
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 10)).await.answered();
        }
        let mut blocker = book.lock("SELECT FROM accounts WHERE account_id = 'ann' FOR UPDATE").await;
        let mut busy = client.clone();
        let busy = tokio::spawn(async move { busy.charge(charge("ann", "job-1", 1)).await.answered() });
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("a call waits", async || (book.number(waiting).await > 0).then_some(())).await;

        is_too_late(client.charge(within(300, charge("bob", "job-1", 1))).await);
        blocker.batch_execute("ROLLBACK").await.unwrap();
        busy.await.unwrap();
        client.charge(charge("bob", "job-2", 1)).await.answered(); // after all that was queued before it

        let unknown = client.get_operation(get_operation("bob", "job-1")).await;
        refused(unknown, Code::NotFound, "OPERATION_NOT_FOUND");
        let (entry, replayed) = client.charge(charge("bob", "job-1", 1)).await.answered();
        assert_eq!((entry.sequence, replayed), (3, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passes_during_its_commit_has_happened_once() {
    on_a_book(async |book| {
        let wire = Wire::open(&book.url).await;
        let server = TestServer::start(&wire.url, config()).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 10)).await.answered();

        wire.stall_at_commit(Duration::from_secs(1));
        is_too_late(client.charge(within(500, charge("ann", "job-1", 1))).await);
        let (entry, replayed) = client.charge(charge("ann", "job-1", 1)).await.answered();
        assert_eq!((entry.sequence, replayed), (2, true));
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_others_keep_locked_is_contention_and_not_insufficient_funds() {
    on_a_served_book(async |book, mut client| {
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 10)).await.answered();
        }
        let mut blocker = book.lock("SELECT FROM accounts WHERE account_id = 'ann' FOR UPDATE").await;
        refused(client.charge(charge("ann", "job-1", 5)).await, Code::Aborted, "CONTENTION");
        client.charge(charge("bob", "job-1", 5)).await.answered();
        blocker.batch_execute("ROLLBACK").await.unwrap();
        assert!(!client.charge(charge("ann", "job-1", 5)).await.answered().1, "the key was not burnt");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_database_and_liveness_does_not() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut health = health(&server.url).await;
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        for name in ["", "liveness", "billing.v1.BillingService"] {
            assert_eq!(check(&mut health, name).await, ServingStatus::Serving, "{name:?}");
        }
        assert_eq!(health.check(request("nothing")).await.unwrap_err().code(), Code::NotFound);

        // A database that takes no writes, as after a failover to a standby.
        set_read_only(book, "on").await;
        wait_for(&mut health, "readiness", ServingStatus::NotServing).await;
        let mut client = server.client().await;
        let answer = client.credit(deposit("ann", "order-1", 5)).await;
        refused(answer, Code::Unavailable, "DATABASE_UNAVAILABLE");
        for name in ["", "liveness"] {
            assert_eq!(check(&mut health, name).await, ServingStatus::Serving, "{name:?}");
        }

        set_read_only(book, "off").await;
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        assert!(!client.credit(deposit("ann", "order-1", 5)).await.answered().1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_answers_every_call_that_was_taken_and_exits_with_0() {
    on_a_book(async |book| {
        let process = Process::serve(&["--database-url", &book.url, "--drain-delay", "200ms"]);
        let mut watch = health(&process.url()).await;
        let mut stream = watch.watch(request("readiness")).await.unwrap().into_inner();
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..16 {
            let mut client = process.client().await;
            calls.spawn(async move {
                for n in 0.. {
                    let request = deposit("ann", &format!("order-{caller}-{n}"), 1);
                    if let Err(status) = client.credit(request).await {
                        return (n, status);
                    }
                }
                unreachable!("the service ends before the numbers do");
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let exit = tokio::task::spawn_blocking(move || process.terminate());
        let mut seen = Vec::new();
        while let Ok(Some(status)) = stream.message().await {
            seen.push(status.status());
        }
        assert_eq!(seen.last(), Some(&ServingStatus::NotServing), "readiness went first");
        assert!(exit.await.unwrap().success());
        let mut answered = 0;
        for (count, status) in calls.join_all().await {
            answered += count;
            // What tonic's client makes of a connection that says goodbye depends on the moment.
            let goodbyes = [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal];
            let is_goodbye =
                status.code() != Code::Internal || status.message().starts_with("h2 protocol error");
            assert!(goodbyes.contains(&status.code()) && is_goodbye, "{status:?}");
        }
        let written = book.number("SELECT count(*) FROM ledger_entries").await;
        assert_eq!(written, answered, "what was written was answered");
    })
    .await;
}

/// Lets the database take no writes, or take them again, in sessions that begin after this.
async fn set_read_only(book: &TestBook, value: &str) {
    let mut connection = book.connect().await;
    let set = format!(
        "DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I SET default_transaction_read_only = {value}', current_database()); END $$"
    );
    for sql in ["SET default_transaction_read_only = off", &set] {
        connection.batch_execute(sql).await.unwrap();
    }
    book.terminate_others().await;
}
