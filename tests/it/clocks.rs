//! A wrong clock, of the database or of the service's machine: nothing is written by it, and everybody learns why.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::{
    metrics::{figure, get},
    support::{
        health::{health, wait_for},
        process::Process,
        *,
    },
};

/// A clock of the database that can be set: it stands before PostgreSQL's own in the search path.
async fn with_a_clock(book: &TestBook) {
    let database = book.url.split(['/', '?']).nth(3).unwrap();
    book.run_sql(&format!(
        "CREATE SCHEMA wrong; CREATE TABLE wrong.clock AS SELECT interval '0' AS ahead; \
         CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE \
             AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM wrong.clock'; \
         ALTER DATABASE {database} SET search_path = wrong, pg_catalog, public"
    ))
    .await
    .unwrap();
}

async fn set_clock(book: &TestBook, ahead: &str) {
    book.run_sql(&format!("UPDATE wrong.clock SET ahead = interval '{ahead}'")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_by_a_clock_that_is_wrong() {
    on_a_book(async |book| {
        with_a_clock(book).await;
        let server = book.serve().await;
        let (mut client, mut health) = (server.client().await, health(&server.url).await);
        wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for (n, ahead) in ["1 year", "-1 hour", "61 seconds", "-62 seconds"].into_iter().enumerate() {
            set_clock(book, ahead).await;
            let refused = client.charge(charge("ann", &format!("job-{n}"), 1)).await;
            assert_eq!(reason(refused), (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned()), "{ahead}");
            wait_for(&mut health, "readiness", ServingStatus::NotServing).await;

            set_clock(book, "5 seconds").await;
            client.charge(charge("ann", &format!("job-{n}"), 1)).await.answered();
            wait_for(&mut health, "readiness", ServingStatus::Serving).await;
        }
        let late = "SELECT count(*) FROM accounts WHERE update_time > now() + interval '1 minute'";
        assert_eq!(book.number(late).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_learns_that_it_is_the_clock() {
    on_a_book(async |book| {
        with_a_clock(book).await;
        set_clock(book, "1 year").await;
        let service = Process::serve(&["--metrics-listen", "127.0.0.1:0", "--database-url", &book.url]);
        service.log().wait_for(|line| line.contains("clock").then_some(())).expect("it says so");
        tokio::time::sleep(Duration::from_millis(2_500)).await; // further proofs
        let mut of_clock = service.log().all();
        of_clock.retain(|line| line.contains("clock"));
        let scraped = get(service.metrics_address(), "/metrics").await;
        assert_eq!(of_clock.len(), 1, "{of_clock:#?}");
        for words in ["not ready", "s ahead of this machine's"] {
            assert!(of_clock[0].contains(words), "{of_clock:?}");
        }
        let ahead = figure(&scraped, "billing_database_clock_ahead_seconds");
        assert!((364 * 86_400..367 * 86_400).contains(&ahead), "{ahead}");
        assert_eq!(figure(&scraped, "billing_ready"), 0);
    })
    .await;
}
