//! A replay is the same entry as ever, and says beside it what has happened since; a refusal says when it was given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use billing::grpc::proto::{
    AccountState, CaptureRequest, Entry, ExpiryPolicy, Reservation, ReservationState, ReserveRequest,
    ShortfallPolicy, Since,
};
use prost::Message as _;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::{Response, Status};

use crate::support::{book::ADMIN_CREDIT_MAX, *};

/// What a replay tells of what has happened since. It is the first answer's entry, byte for byte, and so is that of
/// `GetOperation`, which tells the same.
async fn since<T>(client: &mut Client, first: &Entry, again: Result<Response<T>, Status>) -> Since
where
    Result<Response<T>, Status>: Answer,
{
    let (entry, since) = again.entry_and_since();
    let since = since.expect("what has happened since");
    assert_eq!(entry.encode_to_vec(), first.encode_to_vec());
    let (entry, read) = applied(client, &first.account_id, &first.idempotency_key).await;
    assert_eq!(entry.encode_to_vec(), first.encode_to_vec());
    assert_eq!(Since { read_time: since.read_time, ..read }, since);
    assert!(moment(first.create_time) <= moment(since.read_time));
    assert!(moment(since.read_time) <= moment(read.read_time));
    since
}

fn moment(time: Option<Timestamp>) -> SystemTime {
    time.unwrap().try_into().unwrap()
}

/// A reservation as `GetReservation` shows it.
async fn found(client: &mut Client, account: &str, id: &str) -> Reservation {
    let found = client.get_reservation(get_reservation(account, id)).await;
    found.unwrap().into_inner().reservation.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_a_charge_tells_how_much_of_it_was_refunded() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let (first, nothing) = client.charge(charge("ann", "job-1", 60)).await.entry_and_since();
        assert_eq!(nothing, None, "a first answer has no past");
        let mut undone = 0;
        for (key, part) in [("refund-0", 0), ("refund-1", 25), ("refund-2", 35)] {
            if part > 0 {
                client.refund(refund("ann", key, part, "job-1")).await.answered();
            }
            undone += part;
            let again = client.charge(charge("ann", "job-1", 60)).await;
            let since = since(&mut client, &first, again).await;
            assert_eq!((since.undone_micro_usd, since.reservation), (undone, None));
        }
        assert_eq!(undone, 60, "in full: work for it would be for nothing");
        assert_eq!(available(&mut client, "ann").await, 100);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_a_credit_or_a_refund_has_nothing_undone() {
    on_a_service(async |mut client| {
        let (credit, _) = client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.charge(charge("ann", "job-1", 60)).await.answered();
        let (refunded, _) = client.refund(refund("ann", "refund-1", 60, "job-1")).await.answered();
        let again = client.credit(deposit("ann", "order-1", 100)).await;
        assert_eq!(since(&mut client, &credit, again).await.undone_micro_usd, 0);
        let again = client.refund(refund("ann", "refund-1", 60, "job-1")).await;
        assert_eq!(since(&mut client, &refunded, again).await.undone_micro_usd, 0);
    })
    .await;
}

/// Another key for the same payment is answered with the entry of the first one.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_of_a_payment_tells_what_has_happened_since_its_entry() {
    on_a_service(async |mut client| {
        let (first, _) = client.credit(stripe_deposit("ann", "order-1", 100, "cs_1")).await.answered();
        for _ in 0..2 {
            let again = client.credit(stripe_deposit("ann", "order-2", 100, "cs_1")).await;
            since(&mut client, &first, again).await;
        }
        assert_eq!(applied(&mut client, "ann", "order-2").await.0, first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_a_reserve_tells_that_the_reservation_was_released() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let (first, _) = client.reserve(reserve("ann", "r1", 60)).await.answered();
        let (end, _) = client.release(release("ann", "x1", "r1")).await.answered();
        let again = client.reserve(reserve("ann", "r1", 60)).await;
        let since = since(&mut client, &first, again).await.reservation.unwrap();
        assert_eq!(since, found(&mut client, "ann", "r1").await);
        assert_eq!((since.state(), since.amount_micro_usd), (ReservationState::Released, 0));
        assert_eq!(since.close_time, end.create_time);
        let then = first.reservation.unwrap();
        assert_eq!((then.state(), then.amount_micro_usd), (ReservationState::Open, 60));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replay_of_a_reservations_entries_tells_how_it_stands_now() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let part = || CaptureRequest { keep_open: true, ..capture("ann", "c1", "r1", 10) };
        let (reserved, _) = client.reserve(reserve("ann", "r1", 30)).await.answered();
        let (extended, _) = client.extend_reservation(extend("ann", "e1", "r1", 20)).await.answered();
        let (captured, _) = client.capture(part()).await.answered();
        for is_over in [false, true] {
            if is_over {
                client.capture(capture("ann", "c2", "r1", 40)).await.answered();
                client.refund(refund("ann", "refund-1", 10, "c1")).await.answered();
            }
            let now = found(&mut client, "ann", "r1").await;
            let again = client.reserve(reserve("ann", "r1", 30)).await;
            let of_reserve = since(&mut client, &reserved, again).await;
            let again = client.extend_reservation(extend("ann", "e1", "r1", 20)).await;
            let of_extend = since(&mut client, &extended, again).await;
            let again = client.capture(part()).await;
            let of_capture = since(&mut client, &captured, again).await;
            for since in [&of_reserve, &of_extend, &of_capture] {
                assert_eq!(since.reservation.as_ref(), Some(&now));
            }
            assert_eq!((of_reserve.undone_micro_usd, of_extend.undone_micro_usd), (0, 0));
            assert_eq!(of_capture.undone_micro_usd, if is_over { 10 } else { 0 });
            let state = if is_over { ReservationState::Captured } else { ReservationState::Open };
            assert_eq!(now.state(), state);
        }
    })
    .await;
}

/// No sweeper runs: whoever asks is told first, before anything is written down.
#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_a_reserve_tells_that_the_lease_ran_out_and_what_became_of_the_hold() {
    on_a_service(async |mut client| {
        for (account, policy, state, captured) in [
            ("freed", ExpiryPolicy::Release, ReservationState::Expired, 0),
            ("charged", ExpiryPolicy::Capture, ReservationState::Captured, 60),
        ] {
            client.credit(deposit(account, "order-1", 100)).await.answered();
            let lease = reserve_for(Duration::from_millis(30), account, "r1", 60);
            let request = ReserveRequest { expiry_policy: policy.into(), ..lease };
            let (first, _) = client.reserve(request.clone()).await.answered();
            let expire_time = first.reservation.as_ref().unwrap().expire_time;
            let rest = moment(expire_time).duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(rest + Duration::from_millis(2)).await;

            let (entry, read) = applied(&mut client, account, "r1").await;
            assert_eq!(entry, first);
            let before = read.reservation.unwrap();
            let again = client.reserve(request.clone()).await; // writes the end down
            let written = since(&mut client, &first, again).await.reservation.unwrap();
            for ended in [before, written, found(&mut client, account, "r1").await] {
                assert_eq!((ended.state(), ended.captured_micro_usd), (state, captured), "{account}");
                assert_eq!((ended.amount_micro_usd, ended.close_time), (0, expire_time), "{account}");
            }
            assert_eq!(first.reservation.unwrap().state(), ReservationState::Open);
            assert_eq!(available(&mut client, account).await, 100 - captured);
        }
    })
    .await;
}

/// The money that the end of a lease charged can be given back, and the reserve says nothing of it: it took nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_entry_that_a_lease_ended_by_tells_what_of_it_was_refunded() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let lease = reserve_for(Duration::from_millis(1), "ann", "r1", 60);
        let request = ReserveRequest { expiry_policy: ExpiryPolicy::Capture.into(), ..lease };
        client.reserve(request).await.answered();
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.credit(deposit("ann", "order-2", 1)).await.answered();
        client.refund(refund("ann", "refund-1", 60, "billing/expire/r1")).await.answered();
        let (entry, since) = applied(&mut client, "ann", "billing/expire/r1").await;
        assert_eq!((entry.amount_micro_usd, since.undone_micro_usd), (-60, 60));
        assert_eq!(applied(&mut client, "ann", "r1").await.1.undone_micro_usd, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_method_tells_of_a_past_in_its_first_answer_and_each_does_in_every_later_one() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-0", 1_000)).await.answered();
        let decision = || set_account("ann", "decision-1", AccountState::Active);
        for round in 0..3 {
            let answers = [
                client.credit(deposit("ann", "order-1", 5)).await.entry_and_since(),
                client.charge(charge("ann", "job-1", 5)).await.entry_and_since(),
                client.refund(refund("ann", "refund-1", 5, "job-1")).await.entry_and_since(),
                client.admin_credit(grant("ann", "grant-1", 5)).await.entry_and_since(),
                client.reserve(reserve("ann", "r1", 5)).await.entry_and_since(),
                client.extend_reservation(extend("ann", "e1", "r1", 5)).await.entry_and_since(),
                client.capture(capture("ann", "c1", "r1", 10)).await.entry_and_since(),
                client.reserve(reserve("ann", "r2", 5)).await.entry_and_since(),
                client.release(release("ann", "x1", "r2")).await.entry_and_since(),
                client.set_account(decision()).await.entry_and_since(),
            ];
            for (entry, since) in answers {
                assert_eq!(since.is_some(), round > 0, "{entry:?}");
                let is_about_one = entry.reservation.is_some();
                assert!(since.is_none_or(|since| since.reservation.is_some() == is_about_one), "{entry:?}");
            }
        }
    })
    .await;
}

/// Each replay must know at least the refunds that had been answered before it was asked for, and no more than had begun when it
/// was answered.
#[tokio::test(flavor = "multi_thread")]
async fn replays_through_two_replicas_tell_of_every_refund_that_was_answered_before() {
    const REFUNDS: i64 = 100;
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let mut client = servers[0].client().await;
        client.credit(deposit("ann", "order-1", REFUNDS)).await.answered();
        let (first, _) = client.charge(charge("ann", "job-1", REFUNDS)).await.answered();
        let (begun, answered) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
        let mut readers = JoinSet::new();
        for reader in 0..8 {
            let mut client = servers[reader % 2].client().await;
            let (begun, answered, first) = (Arc::clone(&begun), Arc::clone(&answered), first.clone());
            readers.spawn(async move {
                let (mut replays, mut seen) = (0, 0);
                while seen < REFUNDS {
                    let least = answered.load(Ordering::SeqCst);
                    let since = if reader < 4 {
                        let again = client.charge(charge("ann", "job-1", REFUNDS)).await;
                        let (entry, since) = again.entry_and_since();
                        assert_eq!(entry, first);
                        since.unwrap()
                    } else {
                        applied(&mut client, "ann", "job-1").await.1
                    };
                    let most = begun.load(Ordering::SeqCst);
                    seen = since.undone_micro_usd;
                    assert!((least..=most).contains(&seen), "{seen} is not in {least}..={most}");
                    replays += 1;
                }
                replays
            });
        }
        let mut refunds = JoinSet::new();
        for caller in 0..4 {
            let mut client = servers[caller % 2].client().await;
            let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
            refunds.spawn(async move {
                for n in 0..REFUNDS / 4 {
                    begun.fetch_add(1, Ordering::SeqCst);
                    let key = format!("refund-{caller}-{n}");
                    client.refund(refund("ann", &key, 1, "job-1")).await.answered();
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        refunds.join_all().await;
        let replays: i64 = readers.join_all().await.into_iter().sum();
        assert!(replays > 8 * 2, "{replays} replays are no race");
    })
    .await;
}

/// Calls of every kind that is refused for good, each with a key of its own; after the first answers, some of the reasons are gone.
async fn refusals(client: &mut Client) -> Vec<(&'static str, Result<(), Status>)> {
    let late = CaptureRequest {
        shortfall_policy: ShortfallPolicy::AllowDebt.into(),
        ..capture("ann", "late-1", "released", 1_000)
    };
    let close = || set_account("ann", "close-1", AccountState::Closed);
    vec![
        ("job-2", client.charge(charge("ann", "job-2", 1_000)).await.map(drop)),
        ("r-2", client.reserve(reserve("ann", "r-2", 1_000)).await.map(drop)),
        ("refund-1", client.refund(refund("ann", "refund-1", 6, "job-1")).await.map(drop)),
        ("refund-2", client.refund(refund("ann", "refund-2", 6, "order-1")).await.map(drop)),
        ("order-2", client.credit(stripe_deposit("ann", "order-2", 6, "cs_1")).await.map(drop)),
        ("c-1", client.capture(capture("ann", "c-1", "open", 11)).await.map(drop)),
        ("x-1", client.release(release("ann", "x-1", "released")).await.map(drop)),
        ("e-1", client.extend_reservation(extend("ann", "e-1", "expired", 1)).await.map(drop)),
        ("late-1", client.capture(late).await.map(drop)),
        ("close-1", client.set_account(close()).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_when_it_was_first_given_in_every_answer() {
    on_a_service(async |mut client| {
        client.credit(stripe_deposit("ann", "order-1", 100, "cs_1")).await.answered();
        client.charge(charge("ann", "job-1", 5)).await.answered();
        client.reserve(reserve_for(Duration::from_millis(1), "ann", "expired", 10)).await.answered();
        client.reserve(reserve("ann", "open", 10)).await.answered();
        client.reserve(reserve("ann", "released", 10)).await.answered();
        client.release(release("ann", "x-0", "released")).await.answered();
        tokio::time::sleep(Duration::from_millis(20)).await;

        let first = refusals(&mut client).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.credit(deposit("ann", "order-3", 10_000)).await.answered();
        let again = refusals(&mut client).await;
        let mut reasons = Vec::new();
        for ((key, first), (_, again)) in first.into_iter().zip(again) {
            let first = error(first);
            assert_eq!(error(again), first, "{key}");
            let refusal = refusal(&mut client, "ann", key).await;
            let (_, reason, metadata) = first;
            let refused_time = &metadata["refused_time"];
            assert_eq!(
                refused_time.len(),
                "2026-11-25T22:00:00.000000Z".len(),
                "microseconds: {refused_time}"
            );
            assert_eq!(refused_time.parse::<Timestamp>().ok(), refusal.create_time, "{key}");
            assert_eq!(refusal.metadata, metadata.into_iter().collect(), "{key}");
            reasons.push(reason);
        }
        let expected = [
            "INSUFFICIENT_FUNDS",
            "INSUFFICIENT_FUNDS",
            "REFUND_EXCEEDS_CHARGE",
            "NOT_REFUNDABLE",
            "EXTERNAL_ID_CONFLICT",
            "CAPTURE_EXCEEDS_RESERVATION",
            "RESERVATION_CLOSED",
            "RESERVATION_EXPIRED",
            "DEBT_LIMIT",
            "RESERVATIONS_OPEN",
        ];
        assert_eq!(reasons, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_explains_why_there_is_too_little() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "r1", 70)).await.answered();
        for answer in [
            client.charge(charge("ann", "job-1", 31)).await.map(drop),
            client.reserve(reserve("ann", "r2", 31)).await.map(drop),
            client.extend_reservation(extend("ann", "e1", "r1", 31)).await.map(drop),
        ] {
            let metadata = refused(answer, tonic::Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
            let figure = |name: &str| metadata[name].as_str();
            let figures = ["available_micro_usd", "held_micro_usd", "required_micro_usd"].map(figure);
            assert_eq!(figures, ["30", "70", "31"]);
        }
    })
    .await;
}

/// It is not remembered, so each answer is a first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_configuration_tells_when_it_was_given_each_time() {
    on_a_service(async |mut client| {
        let mut times = Vec::new();
        for _ in 0..2 {
            let answer = client.admin_credit(grant("ann", "grant-1", ADMIN_CREDIT_MAX + 1)).await;
            let metadata = refused(answer, tonic::Code::FailedPrecondition, "ADMIN_CREDIT_LIMIT");
            times.push(metadata["refused_time"].parse::<Timestamp>().unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(moment(Some(times[0])) < moment(Some(times[1])), "{times:?}");
    })
    .await;
}
