//! Holds whose work was dispatched: if nobody ends one, the end of its lease charges it.

use std::time::{Duration, SystemTime};

use billing::grpc::proto::{
    CaptureRequest, EntryType, ExpiryPolicy, ExtendReservationRequest, ReservationState, ReserveRequest,
    ShortfallPolicy, get_entry_request::Entry as Name,
};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::*;

const LEASE: Duration = Duration::from_millis(150);

/// A hold of `micro_usd` that is charged at the end of its lease.
fn dispatched(account: &str, key: &str, micro_usd: i64) -> ReserveRequest {
    ReserveRequest {
        expiry_policy: ExpiryPolicy::Capture.into(),
        ..reserve_for(LEASE, account, key, micro_usd)
    }
}

/// Waits until a lease has run out, by the clock that is the database's, too.
async fn run_out(expire_time: Timestamp) {
    let expire_time = SystemTime::try_from(expire_time).unwrap();
    let rest = expire_time.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(rest + Duration::from_millis(2)).await;
}

/// Holds 40 of 100 in `ann`, as the job `job`, and waits until the lease has run out. Nothing has written that down.
async fn dispatch_and_die(client: &mut Client) -> Timestamp {
    client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
    let held = client.reserve(dispatched("ann", "job", 40)).await.unwrap().into_inner();
    let expire_time = held.entry.unwrap().reservation.unwrap().expire_time.unwrap();
    run_out(expire_time).await;
    expire_time
}

async fn balance_of(client: &mut Client, time: Option<Timestamp>) -> (i64, i64, i64) {
    let account = match time {
        Some(time) => account_as_of(client, "ann", time).await.unwrap(),
        None => account(client, "ann").await,
    };
    let balance = account.balance.unwrap();
    (balance.posted_micro_usd, balance.held_micro_usd, balance.available_micro_usd)
}

/// In microseconds, so that no time is between two.
fn earlier(time: Timestamp, micros: i32) -> Timestamp {
    Timestamp { seconds: time.seconds - 1, nanos: time.nanos + 1_000_000_000 - micros * 1_000 }.normalized()
}

trait Normalized {
    fn normalized(self) -> Self;
}

impl Normalized for Timestamp {
    fn normalized(mut self) -> Self {
        self.normalize();
        self
    }
}

#[tokio::test]
async fn a_dispatched_hold_whose_worker_died_is_charged_in_every_read_before_anything_is_written() {
    on_a_service(async |mut client| {
        let end = dispatch_and_die(&mut client).await;
        let client = &mut client;

        assert_eq!(balance_of(client, None).await, (60, 0, 60));
        assert_eq!(balance_of(client, Some(end)).await, (60, 0, 60));
        assert_eq!(balance_of(client, Some(earlier(end, 1))).await, (100, 40, 60));

        let found = client.get_reservation(get_reservation("ann", "job")).await.unwrap().into_inner();
        let reservation = found.reservation.unwrap();
        assert_eq!(reservation.state(), ReservationState::Captured);
        assert_eq!((reservation.amount_micro_usd, reservation.captured_micro_usd), (0, 40));
        assert_eq!(reservation.close_time, Some(end));
        let states = [ReservationState::Open, ReservationState::Captured, ReservationState::Expired];
        for (state, count) in states.into_iter().zip([0, 1, 0]) {
            let mut request = list_reservations("ann");
            request.set_state(state);
            let listed = client.list_reservations(request).await.unwrap().into_inner();
            assert_eq!(listed.reservations.len(), count, "{state:?}");
        }
        let again = client.reserve(dispatched("ann", "job", 40)).await.unwrap().into_inner();
        let since = again.since.unwrap().reservation.unwrap();
        assert_eq!((since.state(), since.captured_micro_usd), (ReservationState::Captured, 40));
    })
    .await;
}

#[tokio::test]
async fn a_dispatched_hold_whose_worker_died_is_charged_once_and_refunded_once() {
    on_a_book(async |book| {
        let replicas = (book.serve().await, book.serve().await);
        let mut client = replicas.0.client().await;
        let end = dispatch_and_die(&mut client).await;

        // Whoever comes first writes the charge down: 32 at once, through two replicas.
        let mut tasks = JoinSet::new();
        for n in 0..32 {
            let mut client = if n % 2 == 0 { replicas.0.client().await } else { replicas.1.client().await };
            tasks
                .spawn(async move { client.charge(charge("ann", &format!("charge-{n}"), 1)).await.unwrap() });
        }
        tasks.join_all().await;
        let name = Name::IdempotencyKey("billing/expire/job".into());
        let found = client.get_entry(get_entry("ann", name)).await.unwrap().into_inner();
        let entry = found.entry.unwrap();
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::Capture, -40));
        assert_eq!(entry.effective_time, Some(end));
        let written = SystemTime::try_from(entry.create_time.unwrap()).unwrap();
        assert!(written >= SystemTime::try_from(end).unwrap());
        let captures = "SELECT count(*) FROM ledger_entries WHERE entry_type = 10";
        assert_eq!(book.number(captures).await, 1);
        assert_eq!(available(&mut client, "ann").await, 28);

        client.refund(refund("ann", "refund-1", 40, "billing/expire/job")).await.unwrap();
        let beyond = client.refund(refund("ann", "another", 1, "billing/expire/job")).await;
        refused(beyond, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
        assert_eq!(available(&mut client, "ann").await, 68);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_comes_late_is_told_which_entry_has_charged_its_hold() {
    on_a_service(async |mut client| {
        dispatch_and_die(&mut client).await;
        for (n, policy) in
            [ShortfallPolicy::Reject, ShortfallPolicy::CollectAvailable].into_iter().enumerate()
        {
            let late = CaptureRequest {
                shortfall_policy: policy.into(),
                ..capture("ann", &format!("late-{n}"), "job", 40)
            };
            let told = refused(client.capture(late).await, Code::FailedPrecondition, "RESERVATION_CLOSED");
            assert_eq!((told["state"].as_str(), told["sequence"].as_str()), ("CAPTURED", "3"));
        }
        let told = client.release(release("ann", "late-release", "job")).await;
        refused(told, Code::FailedPrecondition, "RESERVATION_CLOSED");
        assert_eq!(balance_of(&mut client, None).await, (60, 0, 60));
    })
    .await;
}

#[tokio::test]
async fn a_hold_is_charged_on_expiry_only_from_the_moment_at_which_its_work_was_dispatched() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        let mut last = None;
        for (key, policy) in [("released", ExpiryPolicy::Release), ("charged", ExpiryPolicy::Capture)] {
            client.reserve(reserve_for(LEASE, "ann", key, 10)).await.unwrap();
            let extension = ExtendReservationRequest {
                expiry_policy: policy.into(),
                reference: "dispatched".into(),
                ..extend("ann", &format!("{key}-dispatch"), key, 0)
            };
            let extended = client.extend_reservation(extension).await.unwrap().into_inner().entry.unwrap();
            assert_eq!(extended.reference, "dispatched");
            let after = extended.reservation.unwrap();
            assert_eq!(after.expiry_policy(), policy);
            last = after.expire_time;
        }
        run_out(last.unwrap()).await;
        assert_eq!(balance_of(&mut client, None).await, (90, 0, 90));
    })
    .await;
}

#[tokio::test]
async fn a_dispatched_hold_that_holds_nothing_any_more_just_expires() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        let held = client.reserve(dispatched("ann", "job", 40)).await.unwrap().into_inner().entry.unwrap();
        let all = CaptureRequest { keep_open: true, ..capture("ann", "all", "job", 40) };
        client.capture(all).await.unwrap();
        run_out(held.reservation.unwrap().expire_time.unwrap()).await;
        client.charge(charge("ann", "charge-1", 1)).await.unwrap();
        let name = Name::IdempotencyKey("billing/expire/job".into());
        let entry = client.get_entry(get_entry("ann", name)).await.unwrap().into_inner().entry.unwrap();
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::Expire, 0));
        assert_eq!(balance_of(&mut client, None).await, (59, 0, 59));
    })
    .await;
}
