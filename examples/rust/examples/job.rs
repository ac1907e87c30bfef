//! A job: reserves, works in parts while it renews its lease, captures what was used, and pays the provider and the platform out
//! of it.
//!
//!     cargo run --example job -- job-4711 http://127.0.0.1:50051
//!
//! Run it again with the same name, also after it was killed: nothing is charged twice, and nothing is done twice once it was
//! charged. If it dies when work has been done, what it holds is charged at the end of its lease.

use std::time::Duration;

use billing_client::{
    Failure, Policy, RetryingClient, endpoint,
    proto::{
        CaptureRequest, CreditRequest, EntryType, ExpiryPolicy, ExtendReservationRequest, Leg,
        ReserveRequest, ShortfallPolicy,
    },
    spread, work_is_due,
};

/// How long the hold outlives a worker that died. Each part of the work renews it.
const LEASE: prost_types::Duration = prost_types::Duration { seconds: 60, nanos: 0 };
const ACCOUNT: &str = "rust-example";
const PROVIDER: &str = "rust-provider";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let job = arguments.next().ok_or("usage: job NAME [URL]...")?;
    let mut urls: Vec<String> = arguments.collect();
    if urls.is_empty() {
        urls.push("http://127.0.0.1:50051".into());
    }
    let replicas = urls.iter().map(|url| endpoint(url)).collect::<Result<Vec<_>, _>>()?;
    let token = std::env::var("BILLING_TOKEN").ok();
    let client = RetryingClient::new(replicas, token.as_deref(), Policy::default())?;
    deposit(&client, &job).await?;
    run(&client, &job).await?;
    Ok(())
}

/// A payment for the job, so that the example can run on an empty book.
async fn deposit(client: &RetryingClient, job: &str) -> Result<(), Failure> {
    let request = CreditRequest {
        idempotency_key: format!("payment-for-{job}"),
        account_id: ACCOUNT.into(),
        amount_micro_usd: 1_000_000,
        entry_type: EntryType::Deposit.into(),
        ..Default::default()
    };
    client.credit(request).await?;
    Ok(())
}

async fn run(client: &RetryingClient, job: &str) -> Result<(), Failure> {
    let reserved = client.reserve(reservation(job)).await?;
    if !work_is_due(reserved.since.as_ref()) {
        let reservation = reserved.since.and_then(|since| since.reservation).unwrap_or_default();
        println!("{job} has ended before: {}", reservation.state().as_str_name());
        return Ok(());
    }
    let mut used = 0;
    for part in 1..=3 {
        used += work().await;
        client.extend_reservation(renewal(job, part)).await?;
    }
    let captured = client.capture(capture(job, used)).await?;
    let uncollected = captured.entry.unwrap_or_default().uncollected_micro_usd;
    let answered = if captured.replayed { "had charged" } else { "charged" };
    println!("{answered} {} micro-USD for {job}, {uncollected} not collected", used - uncollected);
    Ok(())
}

/// The work itself, and what it cost in micro-USD.
async fn work() -> i64 {
    tokio::time::sleep(Duration::from_millis(100)).await;
    150_000
}

fn reservation(job: &str) -> ReserveRequest {
    ReserveRequest {
        idempotency_key: job.into(),
        account_id: ACCOUNT.into(),
        amount_micro_usd: 500_000,
        ttl: Some(LEASE),
        ..Default::default()
    }
}

fn renewal(job: &str, part: u32) -> ExtendReservationRequest {
    ExtendReservationRequest {
        idempotency_key: format!("{job}-extend-{part}"),
        account_id: ACCOUNT.into(),
        reservation_id: job.into(),
        ttl: Some(LEASE),
        expiry_policy: ExpiryPolicy::Capture.into(), // work was done: who dies now does not give it away
        ..Default::default()
    }
}

fn capture(job: &str, used: i64) -> CaptureRequest {
    CaptureRequest {
        idempotency_key: format!("{job}-end"),
        account_id: ACCOUNT.into(),
        reservation_id: job.into(),
        amount_micro_usd: used,
        shortfall_policy: ShortfallPolicy::CollectAvailable.into(),
        legs: legs(job, used),
        ..Default::default()
    }
}

/// Who is paid out of a job: four fifths to the provider, the rest to the platform. Rounded here, once; the last leg asks for all
/// of it, and gets what is left.
fn legs(job: &str, used: i64) -> Vec<Leg> {
    let leg = |account_id, amount_micro_usd, entry_type: EntryType| Leg {
        account_id,
        amount_micro_usd,
        entry_type: entry_type.into(),
        ..Leg::default()
    };
    vec![
        leg(PROVIDER.into(), used * 4 / 5, EntryType::Earning),
        leg(spread("platform", job, 16), used, EntryType::Fee),
    ]
}
