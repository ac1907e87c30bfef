//! Money held for work in progress: every step of a reservation's life, its races, and its end on the database's clock.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use billing::{
    accounting::MicroUsd,
    config::Config,
    grpc::proto::{
        AccountState, CaptureRequest, ChargeRequest, CreditRequest, Entry, EntryType, ExpiryPolicy,
        ExtendReservationRequest, ListReservationsRequest, ReleaseRequest, Reservation, ReservationState,
        ReservationStatus, ReserveRequest, SetAccountRequest, ShortfallPolicy, Since,
        get_entry_request::Entry as Name,
    },
};
use prost::Message;
use prost_types::Timestamp;
use tokio::{task::JoinSet, time::Instant};
use tonic::{Code, Status};

use crate::support::{
    process::Process,
    server::{TestServer, config},
    waiting::until,
    *,
};

fn renewing(ttl: Duration, request: ExtendReservationRequest) -> ExtendReservationRequest {
    ExtendReservationRequest { ttl: Some(ttl.try_into().unwrap()), ..request }
}

fn collecting(request: CaptureRequest) -> CaptureRequest {
    CaptureRequest { shortfall_policy: ShortfallPolicy::CollectAvailable.into(), ..request }
}

fn allowing_debt(request: CaptureRequest) -> CaptureRequest {
    CaptureRequest { shortfall_policy: ShortfallPolicy::AllowDebt.into(), ..request }
}

async fn captured(client: &mut Client, request: CaptureRequest) -> Entry {
    client.capture(request).await.answered().0
}

async fn extended(client: &mut Client, request: ExtendReservationRequest) -> ReservationStatus {
    client.extend_reservation(request).await.answered().0.reservation.unwrap()
}

async fn reserved(client: &mut Client, request: ReserveRequest) -> ReservationStatus {
    client.reserve(request).await.answered().0.reservation.unwrap()
}

async fn reservation(client: &mut Client, account: &str, id: &str) -> Reservation {
    let found = client.get_reservation(get_reservation(account, id)).await;
    found.unwrap().into_inner().reservation.unwrap()
}

/// What an account has posted, held and available.
async fn balance(client: &mut Client, account: &str) -> (i64, i64, i64) {
    let balance = crate::support::account(client, account).await.balance.unwrap();
    (balance.posted_micro_usd, balance.held_micro_usd, balance.available_micro_usd)
}

/// Waits until a reservation's lease has run out, by the clock that it shares with the database.
async fn run_out(reservation: &ReservationStatus) {
    let expire_time = SystemTime::try_from(reservation.expire_time.unwrap()).unwrap();
    if let Ok(rest) = expire_time.duration_since(SystemTime::now()) {
        tokio::time::sleep(rest + Duration::from_millis(2)).await;
    }
}

/// A new account with money, and a reservation on it whose lease has just run out. Nothing has been written since.
async fn lapsed(client: &mut Client, account: &str, micro_usd: i64, held: i64) -> ReservationStatus {
    client.credit(deposit(account, "order-1", micro_usd)).await.answered();
    let reservation = reserved(client, reserve_for(Duration::from_millis(30), account, "r1", held)).await;
    run_out(&reservation).await;
    reservation
}

/// A refusal's code, reason and metadata, but for the time.
fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String, HashMap<String, String>) {
    let (code, reason, mut metadata) = error(answer);
    metadata.remove("refused_time").expect("when it was refused");
    (code, reason, metadata)
}

fn expired_lease() -> (Code, String, HashMap<String, String>) {
    (Code::FailedPrecondition, "RESERVATION_EXPIRED".into(), HashMap::new())
}

/// The refusal of what comes after the entry that ended a reservation.
fn closed(state: &str, sequence: i64) -> (Code, String, HashMap<String, String>) {
    let metadata = [("state", state.to_owned()), ("sequence", sequence.to_string())];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
    (Code::FailedPrecondition, "RESERVATION_CLOSED".into(), metadata)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_holds_money_and_a_capture_takes_what_was_used_and_frees_the_rest() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let request = ReserveRequest { reference: "job 1".into(), ..reserve("ann", "r1", 60) };
        let (entry, _) = client.reserve(request).await.answered();
        assert_eq!(entry.entry_type(), EntryType::Reserve);
        assert_eq!((entry.amount_micro_usd, entry.held_delta_micro_usd), (0, 60));
        let held = entry.reservation.unwrap();
        assert_eq!(held.reservation_id, "r1");
        assert_eq!((held.state(), held.amount_micro_usd), (ReservationState::Open, 60));
        let found = reservation(&mut client, "ann", "r1").await;
        assert_eq!((status_of(&found), found.create_time), (held.clone(), entry.create_time));
        let lease = held.expire_time.unwrap().seconds - entry.create_time.unwrap().seconds;
        assert_eq!(lease, 600, "ten minutes by default");
        assert_eq!(balance(&mut client, "ann").await, (100, 60, 40));
        let too_much = client.charge(charge("ann", "job-2", 41)).await;
        assert_eq!(reason(too_much).1, "INSUFFICIENT_FUNDS");

        let entry = captured(&mut client, capture("ann", "c1", "r1", 45)).await;
        assert_eq!(entry.entry_type(), EntryType::Capture);
        assert_eq!((entry.amount_micro_usd, entry.held_delta_micro_usd), (-45, -60));
        assert_eq!(entry.uncollected_micro_usd, 0);
        let ended = entry.reservation.unwrap();
        assert_eq!(ended.state(), ReservationState::Captured);
        assert_eq!((ended.amount_micro_usd, ended.captured_micro_usd), (0, 45));
        assert_eq!(ended.close_time, entry.create_time);
        let found = reservation(&mut client, "ann", "r1").await;
        assert_eq!(found.reference, "job 1");
        assert_eq!(status_of(&found), ended);
        assert_eq!(balance(&mut client, "ann").await, (55, 0, 55));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_cannot_end_again_and_says_how_it_did() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for id in ["captured", "released"] {
            client.reserve(reserve("ann", id, 10)).await.unwrap();
        }
        client.capture(capture("ann", "c", "captured", 10)).await.unwrap();
        client.release(release("ann", "r", "released")).await.unwrap();
        for (id, state, sequence) in [("captured", "CAPTURED", 4), ("released", "RELEASED", 5)] {
            let key = |what: &str| format!("{what}-{id}");
            let expected = closed(state, sequence);
            assert_eq!(told(client.capture(capture("ann", &key("c"), id, 1)).await), expected);
            assert_eq!(told(client.release(release("ann", &key("r"), id)).await), expected);
            let extended = client.extend_reservation(extend("ann", &key("e"), id, 1)).await;
            assert_eq!(told(extended), expected);
        }
        let missing = (Code::NotFound, "RESERVATION_NOT_FOUND".to_owned());
        assert_eq!(reason(client.capture(capture("ann", "c0", "missing", 1)).await), missing);
        assert_eq!(reason(client.release(release("ann", "r0", "order-1")).await), missing);
        let of_another = client.extend_reservation(extend("bob", "e0", "captured", 1)).await;
        assert_eq!(reason(of_another), missing);
        let unknown = client.get_reservation(get_reservation("ann", "missing")).await;
        assert_eq!(reason(unknown), missing);
        assert_eq!(balance(&mut client, "ann").await, (90, 0, 90));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_above_the_hold_follows_its_shortfall_policy() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, with_debt(50)).await;
        let mut client = server.client().await;
        for account in ["reject", "collect", "debt", "deep"] {
            client.credit(deposit(account, "order-1", 100)).await.answered();
            client.reserve(reserve(account, "r1", 60)).await.unwrap();
        }
        let too_much = client.capture(capture("reject", "c1", "r1", 61)).await;
        let metadata = refused(too_much, Code::FailedPrecondition, "CAPTURE_EXCEEDS_RESERVATION");
        assert_eq!(metadata["held_micro_usd"], "60");
        let still = reservation(&mut client, "reject", "r1").await;
        assert_eq!(still.state(), ReservationState::Open, "a refusal leaves it open");

        let collected = captured(&mut client, collecting(capture("collect", "c1", "r1", 150))).await;
        assert_eq!((collected.amount_micro_usd, collected.uncollected_micro_usd), (-100, 50));
        assert_eq!(collected.reservation.unwrap().captured_micro_usd, 100);
        assert_eq!(balance(&mut client, "collect").await, (0, 0, 0));

        let owed = captured(&mut client, allowing_debt(capture("debt", "c1", "r1", 150))).await;
        assert_eq!((owed.amount_micro_usd, owed.uncollected_micro_usd), (-150, 0));
        assert_eq!(balance(&mut client, "debt").await, (-50, 0, -50));
        assert_eq!(reason(client.charge(charge("debt", "job-1", 1)).await).1, "INSUFFICIENT_FUNDS");
        client.credit(deposit("debt", "order-2", 70)).await.answered();
        assert_eq!(balance(&mut client, "debt").await, (20, 0, 20), "a later credit pays the debt first");

        let too_deep = client.capture(allowing_debt(capture("deep", "c1", "r1", 151))).await;
        let metadata = refused(too_deep, Code::FailedPrecondition, "DEBT_LIMIT");
        assert_eq!(metadata["limit_micro_usd"], "50");
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_in_debt_and_more_money_is_refused_with_what_it_adds() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, with_debt(50)).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "held", 40)).await.unwrap();
        client.reserve(reserve("ann", "used", 60)).await.unwrap();
        client.capture(allowing_debt(capture("ann", "c1", "used", 110))).await.unwrap();
        assert_eq!(balance(&mut client, "ann").await, (-10, 40, -50));

        let hour = Duration::from_secs(3_600);
        let before = reservation(&mut client, "ann", "held").await;
        let renewed = extended(&mut client, renewing(hour, extend("ann", "e1", "held", 0))).await;
        assert_eq!((renewed.amount_micro_usd, renewed.state), (40, ReservationState::Open.into()));
        assert!(renewed.expire_time.unwrap().seconds > before.expire_time.unwrap().seconds + 2_000);
        assert_eq!(balance(&mut client, "ann").await, (-10, 40, -50));

        let more = client.extend_reservation(renewing(hour, extend("ann", "e2", "held", 1))).await;
        let metadata = refused(more, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        assert_eq!((&*metadata["available_micro_usd"], &*metadata["required_micro_usd"]), ("-50", "1"));
        client.capture(capture("ann", "c2", "held", 40)).await.unwrap();
        assert_eq!(balance(&mut client, "ann").await, (-50, 0, -50));
    })
    .await;
}

fn with_debt(debt_max: i64) -> Config {
    let mut config = config();
    config.limits.debt_max = MicroUsd::new(debt_max);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_owes_has_nothing_to_collect_but_its_holds_are_still_worth_what_they_hold() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, with_debt(100)).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "r1", 60)).await.unwrap();
        client.reserve(reserve("ann", "r2", 40)).await.unwrap();
        client.capture(allowing_debt(capture("ann", "c1", "r1", 150))).await.unwrap();
        assert_eq!(balance(&mut client, "ann").await, (-50, 40, -90));
        let collected = captured(&mut client, collecting(capture("ann", "c2", "r2", 50))).await;
        assert_eq!((collected.amount_micro_usd, collected.uncollected_micro_usd), (-40, 10));
        assert_eq!(balance(&mut client, "ann").await, (-90, 0, -90));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overage_never_takes_what_other_reservations_hold() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "r1", 30)).await.unwrap();
        client.reserve(reserve("ann", "r2", 50)).await.unwrap();
        let in_debt = client.capture(allowing_debt(capture("ann", "c0", "r1", 51))).await;
        assert_eq!(reason(in_debt).1, "DEBT_LIMIT", "no debt by default");
        let collected = captured(&mut client, collecting(capture("ann", "c1", "r1", 90))).await;
        assert_eq!(collected.uncollected_micro_usd, 40);
        assert_eq!(balance(&mut client, "ann").await, (50, 50, 0));
        client.capture(capture("ann", "c2", "r2", 50)).await.unwrap();
        assert_eq!(balance(&mut client, "ann").await, (0, 0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_raises_the_hold_or_renews_the_lease_or_both_and_never_shortens_it() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let minute = Duration::from_secs(60);
        let reserved = reserved(&mut client, reserve_for(minute, "ann", "r1", 60)).await;
        let expire_time = reserved.expire_time.unwrap();

        let (entry, _) = client.extend_reservation(extend("ann", "e1", "r1", 30)).await.answered();
        assert_eq!((entry.amount_micro_usd, entry.held_delta_micro_usd), (0, 30));
        let after = entry.reservation.unwrap();
        assert_eq!((after.amount_micro_usd, after.expire_time), (90, Some(expire_time)));

        let renewed = extended(&mut client, renewing(minute * 10, extend("ann", "e2", "r1", 0))).await;
        assert_eq!(renewed.amount_micro_usd, 90);
        assert!(renewed.expire_time.unwrap().seconds >= expire_time.seconds + 530);
        let shorter = renewing(Duration::from_secs(1), extend("ann", "e3", "r1", 5));
        let both = extended(&mut client, shorter).await;
        assert_eq!((both.amount_micro_usd, both.expire_time), (95, renewed.expire_time));

        let beyond = client.extend_reservation(extend("ann", "e4", "r1", 6)).await;
        let metadata = refused(beyond, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        assert_eq!((&*metadata["available_micro_usd"], &*metadata["required_micro_usd"]), ("5", "6"));
        let neither = client.extend_reservation(extend("ann", "e5", "r1", 0)).await;
        assert_eq!(wrong_fields(neither), ["ttl"]);
        let policy_alone = ExtendReservationRequest {
            expiry_policy: ExpiryPolicy::Capture.into(),
            ..extend("ann", "e6", "r1", 0)
        };
        let changed = extended(&mut client, policy_alone).await;
        assert_eq!((changed.amount_micro_usd, changed.expire_time), (95, renewed.expire_time));
        assert_eq!(changed.expiry_policy(), ExpiryPolicy::Capture);
        let unchanged = extended(&mut client, extend("ann", "e7", "r1", 5)).await;
        assert_eq!((unchanged.amount_micro_usd, unchanged.expiry_policy()), (100, ExpiryPolicy::Capture));
        assert_eq!(balance(&mut client, "ann").await, (100, 100, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservation_fields_that_are_wrong_are_named_and_burn_no_key() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let day = Duration::from_secs(24 * 60 * 60);
        let mut negative = reserve_for(day, "ann", "r1", 5);
        negative.ttl.as_mut().unwrap().seconds = -1;
        for (request, field) in [
            (reserve("ann", "r1", 0), "amount_micro_usd"),
            (reserve_for(Duration::ZERO, "ann", "r1", 5), "ttl"),
            (reserve_for(day + Duration::from_micros(1), "ann", "r1", 5), "ttl"),
            (negative, "ttl"),
        ] {
            assert_eq!(wrong_fields(client.reserve(request).await), [field]);
        }
        client.reserve(reserve_for(day, "ann", "r1", 5)).await.unwrap();
        let mut unknown_policy = capture("ann", "c1", "r1", 1);
        unknown_policy.shortfall_policy = 99;
        for (request, field) in [
            (capture("ann", "c1", "r1", 0), "amount_micro_usd"),
            (capture("ann", "c1", "", 1), "reservation_id"),
            (capture("ann", "c1", "a b", 1), "reservation_id"),
            (unknown_policy, "shortfall_policy"),
        ] {
            assert_eq!(wrong_fields(client.capture(request).await), [field]);
        }
        let negative = client.extend_reservation(extend("ann", "e1", "r1", -1)).await;
        assert_eq!(wrong_fields(negative), ["additional_amount_micro_usd"]);
        let state = ListReservationsRequest { state: 9, ..list_reservations("ann") };
        assert_eq!(wrong_fields(client.list_reservations(state).await), ["state"]);
        client.capture(capture("ann", "c1", "r1", 5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_of_a_capture_never_give_back_more_than_it_took() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "r1", 60)).await.unwrap();
        assert_eq!(reason(client.refund(refund("ann", "x0", 1, "r1")).await).1, "NOT_REFUNDABLE");
        client.capture(capture("ann", "c1", "r1", 50)).await.unwrap();
        client.refund(refund("ann", "x1", 30, "c1")).await.answered();
        let too_much = client.refund(refund("ann", "x2", 21, "c1")).await;
        let metadata = refused(too_much, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
        assert_eq!(metadata["refundable_micro_usd"], "20");
        client.refund(refund("ann", "x3", 20, "c1")).await.answered();
        assert_eq!(balance(&mut client, "ann").await, (100, 0, 100));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reserves_of_one_at_once_on_a_hundred_are_exactly_a_hundred() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let mut client = servers[0].client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let mut calls = JoinSet::new();
        for caller in 0..200 {
            let mut client = servers[caller % 2].client().await;
            calls.spawn(async move { client.reserve(reserve("ann", &format!("r{caller}"), 1)).await });
        }
        let (held, refused): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((held.len(), refused.len()), (100, 100));
        for refusal in refused {
            assert_eq!(reason(refusal), (Code::FailedPrecondition, "INSUFFICIENT_FUNDS".into()));
        }
        assert_eq!(balance(&mut client, "ann").await, (100, 100, 0));
    })
    .await;
}

/// With the sweeper off, nothing has written that the lease ran out before the method under test looks.
#[tokio::test(flavor = "multi_thread")]
async fn from_the_moment_that_its_lease_runs_out_a_reservation_holds_nothing_for_any_method() {
    on_a_service(async |mut client| {
        let ended = lapsed(&mut client, "read", 100, 100).await;
        assert_eq!(balance(&mut client, "read").await, (100, 0, 100));
        let seen = reservation(&mut client, "read", "r1").await;
        assert_eq!((seen.state(), seen.amount_micro_usd), (ReservationState::Expired, 0));
        assert_eq!(seen.close_time, ended.expire_time, "it ended when its lease did");

        lapsed(&mut client, "charge", 100, 100).await;
        let (entry, _) = client.charge(charge("charge", "job-1", 100)).await.answered();
        assert_eq!(entry.sequence, 4, "after the entry that says that the lease ran out");

        lapsed(&mut client, "reserve", 100, 100).await;
        client.reserve(reserve("reserve", "r2", 100)).await.unwrap();

        lapsed(&mut client, "extend", 100, 60).await;
        client.reserve(reserve("extend", "r2", 10)).await.unwrap();
        client.extend_reservation(extend("extend", "e1", "r2", 90)).await.unwrap();
        let expired = client.extend_reservation(extend("extend", "e2", "r1", 1)).await;
        assert_eq!(told(expired), expired_lease());

        lapsed(&mut client, "release", 100, 100).await;
        assert_eq!(told(client.release(release("release", "x1", "r1")).await), expired_lease());

        lapsed(&mut client, "capture", 100, 60).await;
        client.reserve(reserve("capture", "r2", 10)).await.unwrap();
        let captured = captured(&mut client, collecting(capture("capture", "c1", "r2", 100))).await;
        assert_eq!(captured.uncollected_micro_usd, 0, "what r1 held is free to be collected");
        for account in ["charge", "reserve", "extend", "release", "capture"] {
            let expiry = get_entry(account, Name::IdempotencyKey("billing/expire/r1".into()));
            let entry = client.get_entry(expiry).await.unwrap().into_inner().entry.unwrap();
            assert_eq!((entry.entry_type(), entry.sequence), (EntryType::Expire, 3));
        }
    })
    .await;
}

/// The first lease to run out is written down by a charge; the second must be seen by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_run_out_one_after_the_other_are_each_seen_without_a_sweeper() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let mut reservations = Vec::new();
        for (id, millis) in [("r2", 400), ("r1", 100), ("r3", 60_000)] {
            let request = reserve_for(Duration::from_millis(millis), "ann", id, 30);
            reservations.push(reserved(&mut client, request).await);
        }
        run_out(&reservations[1]).await;
        client.charge(charge("ann", "job-1", 40)).await.answered();
        assert_eq!(balance(&mut client, "ann").await, (60, 60, 0));
        run_out(&reservations[0]).await;
        client.charge(charge("ann", "job-2", 30)).await.answered();
        assert_eq!(balance(&mut client, "ann").await, (30, 30, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_at_its_expire_time_and_not_before() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let reserved = reserved(&mut client, reserve_for(Duration::from_millis(700), "ann", "r1", 100)).await;
        let expire_time = SystemTime::try_from(reserved.expire_time.unwrap()).unwrap();
        loop {
            let before = SystemTime::now();
            let (_, held, _) = balance(&mut client, "ann").await;
            let after = SystemTime::now();
            match held {
                100 => assert!(before < expire_time, "held after its expire_time"),
                0 => {
                    assert!(after >= expire_time, "free before its expire_time");
                    break;
                }
                other => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_after_expiry_is_answered_by_its_policy_whether_or_not_a_sweeper_ran() {
    on_a_book(async |book| {
        let sweeping = Config { sweep_interval: Some(Duration::from_millis(5)), ..config() };
        for (swept, config) in [("unswept", config()), ("swept", sweeping)] {
            let server = TestServer::start(&book.url, config).await;
            let mut client = server.client().await;
            lapsed(&mut client, swept, 100, 60).await;
            if swept == "swept" {
                wait_until_swept(book, swept, 1).await;
            }
            assert_eq!(told(client.capture(capture(swept, "c1", "r1", 10)).await), expired_lease());
            assert_eq!(told(client.release(release(swept, "x1", "r1")).await), expired_lease());
            let renewed = client.extend_reservation(extend(swept, "e1", "r1", 1)).await;
            assert_eq!(told(renewed), expired_lease());
            let part = CaptureRequest { keep_open: true, ..capture(swept, "c2", "r1", 10) };
            let after = captured(&mut client, collecting(part)).await.reservation.unwrap();
            assert_eq!((after.state(), after.captured_micro_usd), (ReservationState::Expired, 10));
            let rest = captured(&mut client, collecting(capture(swept, "c3", "r1", 120))).await;
            assert_eq!(rest.uncollected_micro_usd, 30);
            let sequence = rest.sequence;
            let after = rest.reservation.unwrap();
            assert_eq!((after.state(), after.captured_micro_usd), (ReservationState::Captured, 100));
            let again = client.capture(collecting(capture(swept, "c4", "r1", 1))).await;
            assert_eq!(told(again), closed("CAPTURED", sequence));
        }
    })
    .await;
}

async fn wait_until_swept(book: &TestBook, account: &str, expiries: i64) {
    let sql =
        format!("SELECT count(*) FROM ledger_entries WHERE account_id = '{account}' AND entry_type = 13");
    until(&format!("{account} is swept"), async || (book.number(&sql).await == expiries).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_as_of_a_time_counts_leases_that_had_run_out_by_then() {
    on_a_service(async |mut client| {
        let ended = lapsed(&mut client, "ann", 100, 60).await;
        let expire_time = ended.expire_time.unwrap();
        let mut reader = client.clone();
        let mut held_at = async |time: Timestamp| {
            let account = account_as_of(&mut reader, "ann", time).await.unwrap();
            account.balance.unwrap().held_micro_usd
        };
        let just_before = Timestamp { nanos: expire_time.nanos - 1, ..expire_time };
        assert_eq!((held_at(just_before).await, held_at(expire_time).await), (60, 0));
        client.charge(charge("ann", "job-1", 1)).await.answered(); // writes the expiry down
        assert_eq!((held_at(just_before).await, held_at(expire_time).await), (60, 0), "the same for ever");
    })
    .await;
}

/// Test 9 of the replaced system's worst: everything at once on one reservation, a thousand times.
#[tokio::test(flavor = "multi_thread")]
async fn of_capture_release_expiry_and_late_capture_at_once_one_capture_wins_in_each_of_a_thousand_rounds() {
    on_a_book(async |book| {
        let sweeping = Config { sweep_interval: Some(Duration::from_millis(1)), ..config() };
        let servers = [
            TestServer::start(&book.url, sweeping.clone()).await,
            TestServer::start(&book.url, sweeping).await,
        ];
        let mut lanes = JoinSet::new();
        for lane in 0..20 {
            let mut clients = Vec::new();
            for server in [0, 1, 0] {
                clients.push(servers[server].client().await);
            }
            lanes.spawn(async move {
                let account = format!("account-{lane}");
                clients[0].credit(deposit(&account, "order-1", 1_000_000)).await.answered();
                let mut winners = Vec::new();
                // The leases are measured by how fast the machine is: from no time to four times what a round takes.
                let mut pace = Duration::from_millis(10);
                for round in 0..50 {
                    let started = Instant::now();
                    winners.push(race(&mut clients, &account, round, pace * round / 12).await);
                    pace = started.elapsed();
                }
                winners
            });
        }
        let winners: Vec<Vec<&str>> = lanes.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1_000);
        for kind in [&["capture"][..], &["late capture"], &["release", "late capture"]] {
            let won = winners.iter().filter(|winners| *winners == kind).count();
            assert!(won > 10, "{kind:?} won {won} of 1,000: no race");
        }
        let expired = book.number("SELECT count(*) FROM ledger_entries WHERE entry_type = 13").await;
        assert!(expired > 10, "only {expired} expired");
        // Each was opened once, ended once, and captured once: what was released or expired, late.
        let ends = "SELECT count(*) FROM (SELECT account_id, reservation_id,
                        count(*) FILTER (WHERE entry_type = 9) AS opened,
                        count(*) FILTER (WHERE held_delta_micro_usd < 0) AS freed,
                        count(*) FILTER (WHERE entry_type = 10) AS captured,
                        count(*) FILTER (WHERE entry_type IN (11, 13)) AS ended_otherwise
                    FROM ledger_entries WHERE reservation_id IS NOT NULL GROUP BY 1, 2) r
                    WHERE opened <> 1 OR freed <> 1 OR captured <> 1 OR ended_otherwise > 1";
        assert_eq!(book.number(ends).await, 0);
        assert_eq!(book.number("SELECT sum(held_micro_usd) FROM accounts").await, 0);
    })
    .await;
}

async fn after<T>(pause: Duration, call: impl Future<Output = T>) -> T {
    tokio::time::sleep(pause).await;
    call.await
}

/// One round: who won. The losers must have been told why. What is released is captured late nevertheless.
async fn race(clients: &mut [Client], account: &str, round: u32, ttl: Duration) -> Vec<&'static str> {
    let id = format!("r{round}");
    let ttl = ttl.max(Duration::from_micros(1)); // none is refused
    clients[0].reserve(reserve_for(ttl, account, &id, 10)).await.unwrap();
    let key = |what: &str| format!("{what}-{round}");
    let late = collecting(capture(account, &key("late"), &id, 10));
    let [one, two, three] = clients else { unreachable!("three clients") };
    let stagger = |turn: u32| Duration::from_micros(u64::from((round + turn) % 3) * 300);
    let (captured, released, collected) = tokio::join!(
        after(stagger(0), one.capture(capture(account, &key("capture"), &id, 10))),
        after(stagger(1), two.release(release(account, &key("release"), &id))),
        after(stagger(2), three.capture(late)),
    );
    let mut winners = Vec::new();
    let mut note = |kind: &'static str, answer: Result<(), Status>| match answer {
        Ok(()) => winners.push(kind),
        Err(status) => {
            let (code, reason, metadata) = error::<()>(Err(status));
            assert_eq!(code, Code::FailedPrecondition);
            match (reason.as_str(), metadata.get("state").map(String::as_str)) {
                ("RESERVATION_EXPIRED", None) => assert_ne!(kind, "late capture"),
                ("RESERVATION_CLOSED", Some("RELEASED")) => assert_eq!(kind, "capture"),
                ("RESERVATION_CLOSED", Some("CAPTURED")) => {}
                other => panic!("{kind}: {other:?}"),
            }
        }
    };
    note("capture", captured.map(drop));
    note("release", released.map(drop));
    note("late capture", collected.map(drop));
    let is_allowed = matches!(winners[..], ["capture" | "late capture"] | ["release", "late capture"]);
    assert!(is_allowed, "{account} {id}: {winners:?}");
    winners
}

/// Test 10: the service is killed with reservations open, and two others sweep.
#[tokio::test(flavor = "multi_thread")]
async fn reservations_left_open_by_a_killed_service_are_each_returned_once_by_two_sweepers() {
    on_a_book(async |book| {
        let serve = || Process::serve(&["--database-url", &book.url, "--sweep-interval", "5ms"]);
        let killed = serve();
        let mut client = killed.client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for n in 0..50 {
            let request = reserve_for(Duration::from_secs(6), "ann", &format!("r{n}"), 2);
            client.reserve(request).await.unwrap();
        }
        assert_eq!(balance(&mut client, "ann").await, (100, 100, 0));
        killed.kill();

        let sweepers = [serve(), serve()];
        wait_until_swept(book, "ann", 50).await;
        let mut client = sweepers[0].client().await;
        assert_eq!(balance(&mut client, "ann").await, (100, 0, 100));
        let once = "SELECT count(DISTINCT reservation_id) FROM ledger_entries WHERE entry_type = 13";
        assert_eq!(book.number(once).await, 50);
        assert_eq!(told(client.capture(capture("ann", "c1", "r1", 2)).await), expired_lease());
        let collected = captured(&mut client, collecting(capture("ann", "c2", "r2", 2))).await;
        assert_eq!(collected.uncollected_micro_usd, 0);
        assert_eq!(balance(&mut client, "ann").await, (98, 0, 98));
    })
    .await;
}

/// The entries by which all nine mutating methods answer, as bytes; and what has happened since.
async fn answers(client: &mut Client) -> Vec<(Vec<u8>, Option<Since>)> {
    let charge = ChargeRequest {
        reference: "a reference".into(),
        metadata: (0..9).map(|n| (format!("note-{n}"), n.to_string())).collect(),
        ..charge("ann", "job-1", 10)
    };
    let credit = CreditRequest {
        external_ids: ["pi_1", "ch_1", "cs_1"].map(Into::into).into(),
        ..stripe_deposit("ann", "order-1", 500, "")
    };
    let reserve = ReserveRequest { metadata: charge.metadata.clone(), ..reserve("ann", "r1", 100) };
    let part = CaptureRequest { keep_open: true, ..capture("ann", "c1", "r1", 10) };
    let all = collecting(capture("ann", "c2", "r1", 10_000));
    let release = ReleaseRequest {
        reference: "a reference".into(),
        metadata: charge.metadata.clone(),
        ..release("ann", "x1", "r2")
    };
    let extend = ExtendReservationRequest {
        reference: "a reference".into(),
        metadata: charge.metadata.clone(),
        expiry_policy: ExpiryPolicy::Capture.into(),
        ..extend("ann", "e1", "r1", 7)
    };
    let decision =
        SetAccountRequest { debt_limit_micro_usd: Some(5), ..set_account("ann", "s1", AccountState::Active) };
    let answers = [
        client.credit(credit).await.entry_and_since(),
        client.charge(charge).await.entry_and_since(),
        client.refund(refund("ann", "refund-1", 5, "job-1")).await.entry_and_since(),
        client.admin_credit(grant("ann", "grant-1", 5)).await.entry_and_since(),
        client.reserve(reserve).await.entry_and_since(),
        client.reserve(self::reserve("ann", "r2", 10)).await.entry_and_since(),
        client.capture(part).await.entry_and_since(),
        client.extend_reservation(extend).await.entry_and_since(),
        client.release(release).await.entry_and_since(),
        client.capture(all).await.entry_and_since(),
        client.set_account(decision).await.entry_and_since(),
    ];
    answers.map(|(entry, since)| (entry.encode_to_vec(), since)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_thousand_later_operations_every_answer_is_byte_for_byte_the_original() {
    on_a_served_book(async |book, mut client| {
        let originals = answers(&mut client).await;
        let mut later = JoinSet::new();
        for n in 0..500 {
            let mut client = client.clone();
            later.spawn(async move {
                client.credit(deposit("ann", &format!("later-{n}"), 3)).await.answered();
                client.charge(charge("ann", &format!("later-job-{n}"), 1)).await.answered();
            });
        }
        later.join_all().await;
        for ((original, nothing), (again, since)) in originals.into_iter().zip(answers(&mut client).await) {
            assert_eq!((again, nothing, since.is_some()), (original, None, true));
        }
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 11 + 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_are_listed_newest_first_by_state_and_by_page() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        for n in 0..40 {
            let (id, end) = (format!("r{n}"), format!("end-{n}"));
            let ttl = if n % 4 == 3 { Duration::from_micros(1) } else { Duration::from_secs(600) };
            client.reserve(reserve_for(ttl, "ann", &id, 1)).await.unwrap();
            if n % 4 == 0 {
                client.capture(capture("ann", &end, &id, 1)).await.unwrap();
            } else if n % 4 == 1 {
                client.release(release("ann", &end, &id)).await.unwrap();
            }
        }
        let kinds = [
            (ReservationState::Captured, 0),
            (ReservationState::Released, 1),
            (ReservationState::Open, 2),
            (ReservationState::Expired, 3),
        ];
        for (state, kind) in kinds {
            let expected: Vec<String> =
                (0..40).rev().filter(|n| n % 4 == kind).map(|n| format!("r{n}")).collect();
            let listed = list_all(&mut client, state, 3).await;
            assert!(listed.iter().all(|reservation| reservation.state() == state));
            let ids: Vec<String> = listed.into_iter().map(|reservation| reservation.reservation_id).collect();
            assert_eq!(ids, expected, "{state:?}");
        }
        let all = list_all(&mut client, ReservationState::Unspecified, 7).await;
        assert_eq!(all.len(), 40);
        assert_eq!(all[0].reservation_id, "r39");
        let unknown = client.list_reservations(list_reservations("bob")).await;
        assert_eq!(reason(unknown).1, "ACCOUNT_NOT_FOUND");
    })
    .await;
}

async fn list_all(client: &mut Client, state: ReservationState, page_size: i32) -> Vec<Reservation> {
    let request = ListReservationsRequest { state: state.into(), page_size, ..list_reservations("ann") };
    let pages = reservation_pages(client, request).await;
    pages.into_iter().flat_map(|page| page.reservations).collect()
}

/// A coordinator that lost the answer to Reserve can go on, since the id is the key that it chose.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_never_saw_the_answer_to_reserve_can_capture_or_release() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for id in ["r1", "r2"] {
            let mut unseen = client.clone();
            let request = reserve("ann", id, 10);
            tokio::spawn(async move { drop(unseen.reserve(request).await) }).await.unwrap();
        }
        client.capture(capture("ann", "c1", "r1", 10)).await.unwrap();
        client.release(release("ann", "x2", "r2")).await.unwrap();
        assert_eq!(balance(&mut client, "ann").await, (90, 0, 90));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_as_of_a_time_to_come_is_as_it_is_now() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        let hour = Duration::from_secs(3_600);
        client.reserve(reserve_for(hour, "ann", "r1", 40)).await.unwrap();
        let now = account(&mut client, "ann").await;
        assert_eq!(now.balance.as_ref().unwrap().held_micro_usd, 40);
        for seconds in [4_000_000_000, 253_402_300_799] {
            let to_come = Timestamp { seconds, nanos: 999_999_999 };
            assert_eq!(account_as_of(&mut client, "ann", to_come).await.unwrap(), now);
        }

        // Beside reservations that come and go, no read is ever wrong.
        let mut calls = JoinSet::new();
        for caller in 0..4 {
            let (mut writer, mut reader) = (client.clone(), client.clone());
            calls.spawn(async move {
                for n in 0..60 {
                    let ttl = Duration::from_micros(1 + n * 400);
                    writer.reserve(reserve_for(ttl, "ann", &format!("r-{caller}-{n}"), 1)).await.unwrap();
                }
            });
            calls.spawn(async move {
                for n in 0..150 {
                    let ahead = Duration::from_millis(n % 3) + Duration::from_secs(n % 2 * 100_000);
                    let time = Timestamp::from(SystemTime::now() + ahead);
                    let account = account_as_of(&mut reader, "ann", time).await.unwrap();
                    let balance = account.balance.unwrap();
                    assert_eq!(balance.posted_micro_usd, 1_000);
                    assert!((40..=280).contains(&balance.held_micro_usd), "{balance:?}");
                }
            });
        }
        calls.join_all().await;
    })
    .await;
}

/// The last entry was written by a clock that was ahead: until the others have caught up, that is the account's time.
#[tokio::test(flavor = "multi_thread")]
async fn every_read_judges_a_lease_by_the_clock_of_its_account() {
    // The book is not checked: no service writes an entry before the expiry that came before it.
    let book = TestBook::create().await;
    let server = book.serve().await;
    let mut client = server.client().await;
    client.credit(deposit("ann", "order-1", 100)).await.answered();
    client.reserve(reserve_for(Duration::from_secs(20), "ann", "r1", 40)).await.unwrap();
    book.run_sql(
            "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
                 posted_after, held_after, create_time, idempotency_key, fingerprint)
             VALUES ('ann', 3, 2, 5, 0, 105, 40, now() + interval '40 s', 'order-2', '\\x01');
             UPDATE accounts SET posted_micro_usd = 105, last_sequence = 3, update_time = e.create_time
             FROM ledger_entries e WHERE e.sequence = 3",
        )
        .await
        .unwrap();
    assert_eq!(balance(&mut client, "ann").await, (105, 0, 105));
    let to_come = Timestamp { seconds: 253_402_300_799, nanos: 0 };
    let account = account_as_of(&mut client, "ann", to_come).await.unwrap();
    assert_eq!(account.balance.unwrap().held_micro_usd, 0);
    assert_eq!(reservation(&mut client, "ann", "r1").await.state(), ReservationState::Expired);
    for (state, wanted) in
        [(ReservationState::Unspecified, 1), (ReservationState::Open, 0), (ReservationState::Expired, 1)]
    {
        let request = ListReservationsRequest { state: state.into(), ..list_reservations("ann") };
        let listed = client.list_reservations(request).await.unwrap().into_inner().reservations;
        assert_eq!(listed.len(), wanted, "{state:?}");
        assert!(listed.iter().all(|listed| listed.state() == ReservationState::Expired));
    }
    assert_eq!(told(client.release(release("ann", "x1", "r1")).await), expired_lease());
}

/// What an entry says of the reservation, as a reservation says it of itself.
fn status_of(reservation: &Reservation) -> ReservationStatus {
    ReservationStatus {
        reservation_id: reservation.reservation_id.clone(),
        state: reservation.state,
        amount_micro_usd: reservation.amount_micro_usd,
        captured_micro_usd: reservation.captured_micro_usd,
        expire_time: reservation.expire_time,
        close_time: reservation.close_time,
        expiry_policy: reservation.expiry_policy,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_an_entry_shows_the_reservation_right_after_it_and_what_was_not_collected() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let mut answers = Vec::new();
        for (key, entry, uncollected) in [
            ("r1", client.reserve(reserve("ann", "r1", 60)).await.answered().0, 0),
            ("e1", client.extend_reservation(extend("ann", "e1", "r1", 10)).await.answered().0, 0),
            ("c1", captured(&mut client, collecting(capture("ann", "c1", "r1", 150))).await, 50),
            ("order-2", client.credit(deposit("ann", "order-2", 10)).await.answered().0, 0),
            ("r2", client.reserve(reserve("ann", "r2", 5)).await.answered().0, 0),
            ("x1", client.release(release("ann", "x1", "r2")).await.answered().0, 0),
        ] {
            assert_eq!(entry.uncollected_micro_usd, uncollected, "{key}");
            answers.push((key, entry));
        }
        // What each left behind, as the reservation itself would have said it then.
        let states: Vec<_> = answers.iter().filter_map(|(_, entry)| entry.reservation.as_ref()).collect();
        let expected =
            [("OPEN", 60, 0), ("OPEN", 70, 0), ("CAPTURED", 0, 100), ("OPEN", 5, 0), ("RELEASED", 0, 0)];
        assert_eq!(states.len(), expected.len());
        for (status, (state, held, captured)) in states.iter().zip(expected) {
            assert_eq!(status.state().as_str_name(), format!("RESERVATION_STATE_{state}"));
            assert_eq!((status.amount_micro_usd, status.captured_micro_usd), (held, captured));
            assert_eq!(status.close_time.is_none(), state == "OPEN");
        }
        for (id, last) in [("r1", states[2]), ("r2", states[4])] {
            assert_eq!(status_of(&reservation(&mut client, "ann", id).await), *last);
        }

        let listed = client.list_entries(list_entries("ann")).await.unwrap().into_inner().entries;
        for (key, entry) in answers {
            assert!(listed.contains(&entry), "{key}");
            for name in [Name::Sequence(entry.sequence), Name::IdempotencyKey(key.into())] {
                let found = client.get_entry(get_entry("ann", name)).await.unwrap().into_inner().entry;
                assert_eq!(found.as_ref(), Some(&entry), "{key}");
            }
            assert_eq!(applied(&mut client, "ann", key).await.0, entry, "{key}");
        }
        let others = listed.iter().filter(|entry| entry.entry_type() == EntryType::Deposit);
        assert!(others.clone().count() == 2 && others.clone().all(|entry| entry.reservation.is_none()));
    })
    .await;
}
