//! Pages of an account with a million entries: how long they take, and how large they are.

use std::time::{Duration, Instant};

use super::{http::get, on_a_desk, signing_in::signed_in};
use crate::support::*;

/// The most bytes of a page.
const BYTES_MAX: usize = 100 * 1_000;
/// How long a page may take on a machine that does nothing else.
const LATENCY_MAX: Duration = Duration::from_millis(100);
/// How often each page is asked for, at least. The fastest counts: other tests run at the same time.
const TRIES: u32 = 20;
/// How long to wait for a moment at which they leave it a processor.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_account_with_a_million_entries_are_small_and_fast() {
    on_a_desk(&[], async |book, desk| {
        // A charge in the middle of two years, and deposits around it, the newest with long texts.
        let columns = [
            ("entry_type", "CASE WHEN n = 500000 THEN 6 ELSE 2 END"),
            ("create_time", "timestamptz '2024-01-01T00:00:00Z' + n * interval '1 minute'"),
            ("effective_time", "timestamptz '2024-01-01T00:00:00Z' + n * interval '1 minute'"),
            ("reference", "CASE WHEN n % 1000 > 900 THEN repeat('x<', 512) ELSE '' END"),
        ];
        book.import("ann", 1_000_000, 7, &columns).await;
        book.run_sql("ANALYZE").await.unwrap();
        let mut client = desk.client().await;
        for number in 0..30 {
            client.reserve(desk.call(reserve("ann", &format!("job-{number}"), 1_000))).await.answered();
        }
        let (cookie, _) = signed_in(&desk.console, &desk.all).await;
        for path in [
            "/",
            "/accounts",
            "/account?id=ann",
            "/account?id=ann&type=ENTRY_TYPE_CHARGE",
            "/account?id=ann&from=2024-06-01&until=2024-07-01",
            "/entry?account=ann&sequence=500000",
            "/entry?account=ann&sequence=999999",
            "/entry?account=ann&sequence=1",
            "/reservations?id=ann",
            "/reservation?account=ann&id=job-1",
            "/month?account=ann&month=2024-06",
            "/find?q=ann&account=ann",
            "/act/grant?account=ann&key=console-1&amount=1&reason=r&review=1",
        ] {
            let (mut fastest, mut bytes, mut tries) = (Duration::MAX, 0, 0);
            let first = Instant::now();
            while tries < TRIES || (fastest >= LATENCY_MAX && first.elapsed() < PATIENCE) {
                tries += 1;
                let began = Instant::now();
                let page = get(&desk.at(path), Some(&cookie), &[]).await;
                fastest = fastest.min(began.elapsed());
                assert!([200, 303].contains(&page.status), "{path}: {page:?}");
                bytes = page.body.len();
            }
            println!("{path}: {fastest:?}, {bytes} bytes");
            assert!(bytes < BYTES_MAX, "{path}: {bytes} bytes");
            assert!(fastest < LATENCY_MAX, "{path}: {fastest:?}");
        }
    })
    .await;
}
