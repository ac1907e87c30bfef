//! What an operator decides about an account: a frozen one spends nothing new, a closed one takes nothing in, and each has the
//! debt limit that it was given.

use std::{collections::BTreeSet, time::Duration};

use billing::{
    accounting::{Command, Invalid, MicroUsd, Outcome},
    grpc::proto::{
        AccountSettings, AccountState, CaptureRequest, ChargeRequest, EntryType, ExpiryPolicy,
        ExtendReservationRequest, FILE_DESCRIPTOR_SET, ReserveRequest, SetAccountRequest, ShortfallPolicy,
    },
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};

use crate::support::{
    process::new_token,
    server::{TestServer, config},
    *,
};

const FROZEN: &str = "ACCOUNT_FROZEN";
const CLOSED: &str = "ACCOUNT_CLOSED";
const APPLIED: &str = "";

/// The methods that only read, whatever the state of the account.
const READS: [&str; 11] = [
    "FindPayment",
    "GetAccount",
    "GetCaller",
    "GetEntry",
    "GetOperation",
    "GetReservation",
    "GetStatement",
    "ListAccounts",
    "ListEntries",
    "ListGrants",
    "ListReservations",
];

/// What carries out the operations of the other methods, by the same rules.
const LISTS: [&str; 1] = ["Apply"];

/// A call of a method, and why it was refused; nothing if it was applied.
type Attempt = (&'static str, &'static str, Result<(), Status>);

async fn set(client: &mut Client, account: &str, key: &str, state: AccountState) {
    client.set_account(set_account(account, key, state)).await.answered();
}

/// Closes an account that has so much posted.
fn close(account: &str, key: &str, forfeit: Option<i64>) -> SetAccountRequest {
    SetAccountRequest { forfeit_micro_usd: forfeit, ..set_account(account, key, AccountState::Closed) }
}

/// Gives an account a debt limit of its own, or takes it away.
fn limit(account: &str, key: &str, micro_usd: i64) -> SetAccountRequest {
    let unchanged = set_account(account, key, AccountState::Unspecified);
    SetAccountRequest { debt_limit_micro_usd: Some(micro_usd), ..unchanged }
}

fn charge_by(policy: ShortfallPolicy, account: &str, key: &str, micro_usd: i64) -> ChargeRequest {
    ChargeRequest { shortfall_policy: policy.into(), ..charge(account, key, micro_usd) }
}

fn capture_by(policy: ShortfallPolicy, key: &str, id: &str, micro_usd: i64) -> CaptureRequest {
    CaptureRequest { shortfall_policy: policy.into(), ..capture("ann", key, id, micro_usd) }
}

async fn state(client: &mut Client, account: &str) -> AccountState {
    crate::support::account(client, account).await.state()
}

/// The methods of the contract.
fn methods() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut services = set.file.into_iter().flat_map(|file| file.service);
    let ledger = services.find(|service| service.name() == "BillingService").unwrap();
    ledger.method.into_iter().map(|method| method.name().to_owned()).collect()
}

/// Fails unless every method of the contract reads, or is among the attempts, and each attempt went as it should.
fn must_be_all(attempts: Vec<Attempt>) {
    let tried = attempts.iter().map(|(method, ..)| (*method).to_owned());
    let known: BTreeSet<_> = tried.chain(READS.into_iter().chain(LISTS).map(str::to_owned)).collect();
    assert_eq!(known, methods(), "a method is not classified: what may it do in such an account?");
    for (n, (method, expected, answer)) in attempts.into_iter().enumerate() {
        match answer {
            Ok(()) => assert_eq!(expected, APPLIED, "{n}: {method}"),
            Err(status) => {
                let (code, reason) = reason::<()>(Err(status));
                assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, expected), "{n}: {method}");
            }
        }
    }
}

/// Opens an account with 1,000, of which four reservations hold 400. A charge of 100 can be refunded, and two reservations have
/// ended: `released`, and `expired`, which nobody has written down.
async fn open_account(client: &mut Client) {
    client.credit(stripe_deposit("ann", "order-0", 1_100, "cs_0")).await.answered();
    client.charge(charge("ann", "job-0", 100)).await.answered();
    for id in ["captured", "kept", "freed", "renewed", "released"] {
        client.reserve(reserve("ann", id, 100)).await.answered();
    }
    client.release(release("ann", "released-0", "released")).await.answered();
    client.reserve(reserve_for(Duration::from_millis(1), "ann", "expired", 100)).await.answered();
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_account_spends_nothing_by_any_method_and_settles_what_is_open() {
    use ShortfallPolicy::{AllowDebt, CollectAvailable, Reject};
    on_a_book(async |book| {
        let mut with_debt = config();
        with_debt.limits.debt_max = MicroUsd::new(1_000_000);
        let server = TestServer::start(&book.url, with_debt).await;
        let mut client = server.client().await;
        open_account(&mut client).await;
        set(&mut client, "ann", "freeze", AccountState::Frozen).await;

        let part = CaptureRequest { keep_open: true, ..capture("ann", "part", "kept", 40) };
        let renewal = ExtendReservationRequest {
            ttl: reserve_for(Duration::from_secs(3_600), "", "", 0).ttl,
            expiry_policy: ExpiryPolicy::Capture.into(),
            ..extend("ann", "renew", "renewed", 0)
        };
        let attempts = vec![
            ("Charge", FROZEN, client.charge(charge("ann", "job-1", 1)).await.map(drop)),
            ("Charge", FROZEN, client.charge(charge_by(CollectAvailable, "ann", "job-2", 1)).await.map(drop)),
            ("Charge", FROZEN, client.charge(charge_by(AllowDebt, "ann", "job-3", 5_000)).await.map(drop)),
            ("Reserve", FROZEN, client.reserve(reserve("ann", "r-1", 1)).await.map(drop)),
            ("Withdraw", FROZEN, client.withdraw(withdraw("ann", "w-1", 1)).await.map(drop)),
            (
                "ExtendReservation",
                FROZEN,
                client.extend_reservation(extend("ann", "e-1", "kept", 1)).await.map(drop),
            ),
            (
                "ExtendReservation",
                FROZEN,
                client.extend_reservation(extend("ann", "e-2", "released", 1)).await.map(drop),
            ),
            (
                "Capture",
                FROZEN,
                client.capture(capture_by(CollectAvailable, "c-1", "released", 1)).await.map(drop),
            ),
            ("Capture", FROZEN, client.capture(capture_by(AllowDebt, "c-2", "expired", 1)).await.map(drop)),
            ("Capture", FROZEN, client.capture(capture_by(Reject, "c-3", "released", 1)).await.map(drop)),
            (
                "Release",
                "RESERVATION_CLOSED",
                client.release(release("ann", "x-1", "released")).await.map(drop),
            ),
            (
                "Release",
                "RESERVATION_EXPIRED",
                client.release(release("ann", "x-2", "expired")).await.map(drop),
            ),
            // What was open, and what comes in.
            ("Capture", APPLIED, client.capture(part).await.map(drop)),
            ("Capture", APPLIED, client.capture(capture("ann", "rest", "kept", 60)).await.map(drop)),
            ("Capture", APPLIED, client.capture(capture("ann", "whole", "captured", 100)).await.map(drop)),
            ("Release", APPLIED, client.release(release("ann", "free", "freed")).await.map(drop)),
            ("ExtendReservation", APPLIED, client.extend_reservation(renewal).await.map(drop)),
            ("Refund", APPLIED, client.refund(refund("ann", "refund-1", 30, "job-0")).await.map(drop)),
            ("Credit", APPLIED, client.credit(deposit("ann", "order-1", 7)).await.map(drop)),
            ("AdminCredit", APPLIED, client.admin_credit(grant("ann", "grant-1", 5)).await.map(drop)),
            ("SetAccount", APPLIED, client.set_account(limit("ann", "limit", 9)).await.map(drop)),
            ("Reverse", APPLIED, client.reverse(reverse("ann", "dispute-1", 7, "order-1")).await.map(drop)),
        ];
        must_be_all(attempts);
        assert_eq!(state(&mut client, "ann").await, AccountState::Frozen);
        let balance = account(&mut client, "ann").await.balance.unwrap();
        let posted = 1_000 - 40 - 60 - 100 + 30 + 5;
        assert_eq!((balance.posted_micro_usd, balance.held_micro_usd), (posted, 100));
    })
    .await;
}

/// The work was let begin before: to keep it from being paid above the hold as well, an operator releases what is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_above_the_hold_follows_its_policy_in_a_frozen_account_until_its_reservation_has_ended() {
    use ShortfallPolicy::{CollectAvailable, Reject};
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for id in ["r1", "r2"] {
            client.reserve(reserve("ann", id, 20)).await.answered();
        }
        set(&mut client, "ann", "freeze", AccountState::Frozen).await;
        let above = client.capture(capture_by(Reject, "c-1", "r1", 50)).await;
        assert_eq!(reason(above).1, "CAPTURE_EXCEEDS_RESERVATION");
        client.release(release("ann", "x-2", "r2")).await.answered();
        let late = client.capture(capture_by(CollectAvailable, "c-2", "r2", 50)).await;
        assert_eq!(reason(late).1, FROZEN);
        let (entry, _) = client.capture(capture_by(CollectAvailable, "c-3", "r1", 50)).await.answered();
        assert_eq!(entry.amount_micro_usd, -50);
    })
    .await;
}

/// The end of its lease charges what was held already.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_frozen_account_is_charged_at_the_end_of_its_lease_as_its_policy_says() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let lease = reserve_for(Duration::from_millis(150), "ann", "r1", 60);
        let lease = ReserveRequest { expiry_policy: ExpiryPolicy::Capture.into(), ..lease };
        client.reserve(lease).await.answered();
        set(&mut client, "ann", "freeze", AccountState::Frozen).await;
        assert_eq!(available(&mut client, "ann").await, 40);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (after, _) = client.credit(deposit("ann", "order-2", 1)).await.answered();
        assert_eq!(after.balance_after.unwrap().posted_micro_usd, 41);
        let (entry, _) = applied(&mut client, "ann", "billing/expire/r1").await;
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::Capture, -60));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_takes_nothing_in_and_gives_nothing_out_but_what_undoes_the_past() {
    on_a_service(async |mut client| {
        open_account(&mut client).await;
        for id in ["captured", "kept", "freed", "renewed"] {
            client.release(release("ann", &format!("end-{id}"), id)).await.answered();
        }
        client.set_account(close("ann", "close", Some(1_000))).await.answered();

        let renewal = ExtendReservationRequest {
            ttl: reserve_for(Duration::from_secs(3_600), "", "", 0).ttl,
            ..extend("ann", "e-2", "released", 0)
        };
        let late = || capture_by(ShortfallPolicy::CollectAvailable, "c-1", "released", 1);
        let attempts = vec![
            ("Credit", CLOSED, client.credit(deposit("ann", "order-1", 7)).await.map(drop)),
            ("Credit", CLOSED, client.credit(stripe_deposit("ann", "order-2", 7, "cs_2")).await.map(drop)),
            ("AdminCredit", CLOSED, client.admin_credit(grant("ann", "grant-1", 5)).await.map(drop)),
            ("Charge", CLOSED, client.charge(charge("ann", "job-1", 1)).await.map(drop)),
            ("Reserve", CLOSED, client.reserve(reserve("ann", "r-1", 1)).await.map(drop)),
            ("Withdraw", CLOSED, client.withdraw(withdraw("ann", "w-1", 1)).await.map(drop)),
            ("Capture", CLOSED, client.capture(late()).await.map(drop)),
            ("Capture", CLOSED, client.capture(capture("ann", "c-2", "expired", 1)).await.map(drop)),
            (
                "ExtendReservation",
                CLOSED,
                client.extend_reservation(extend("ann", "e-1", "freed", 1)).await.map(drop),
            ),
            ("ExtendReservation", "RESERVATION_CLOSED", client.extend_reservation(renewal).await.map(drop)),
            ("Release", "RESERVATION_CLOSED", client.release(release("ann", "x-1", "freed")).await.map(drop)),
            // What was paid before can be given back, and a payment that is known is answered as ever.
            ("Refund", APPLIED, client.refund(refund("ann", "refund-1", 100, "job-0")).await.map(drop)),
            ("Reverse", APPLIED, client.reverse(reverse("ann", "dispute-1", 10, "order-0")).await.map(drop)),
            (
                "Credit",
                APPLIED,
                client.credit(stripe_deposit("ann", "order-3", 1_100, "cs_0")).await.map(drop),
            ),
            ("SetAccount", APPLIED, client.set_account(limit("ann", "limit", 9)).await.map(drop)),
        ];
        must_be_all(attempts);
        assert_eq!(state(&mut client, "ann").await, AccountState::Closed);
        assert_eq!(available(&mut client, "ann").await, 90, "visibly");
        let again = client.set_account(close("ann", "close-again", Some(90))).await.answered();
        assert_eq!((again.0.amount_micro_usd, again.1), (-90, false));
        assert_eq!(available(&mut client, "ann").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_closed_account_refused_is_not_known() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 1)).await.answered();
        client.set_account(close("ann", "close", Some(1))).await.answered();
        let refused = client.credit(stripe_deposit("ann", "order-2", 7, "cs_1")).await;
        assert_eq!(reason(refused).1, CLOSED);
        let unknown = client.find_payment(find_payment("cs_1")).await;
        assert_eq!(reason(unknown), (Code::NotFound, "PAYMENT_NOT_FOUND".into()));
        set(&mut client, "ann", "reopen", AccountState::Active).await;
        let refused = client.credit(stripe_deposit("ann", "order-2", 7, "cs_1")).await;
        assert_eq!(reason(refused).1, CLOSED, "remembered under its key");
        assert!(!client.credit(stripe_deposit("ann", "order-3", 7, "cs_1")).await.answered().1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_closed_only_by_who_says_exactly_what_is_posted() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for (n, forfeit) in [None, Some(0), Some(99), Some(101), Some(-100), Some(i64::MIN), Some(i64::MAX)]
            .into_iter()
            .enumerate()
        {
            let request = close("ann", &format!("close-{n}"), forfeit);
            let first = error(client.set_account(request.clone()).await);
            assert_eq!((first.1.as_str(), first.2["posted_micro_usd"].as_str()), ("FORFEIT_MISMATCH", "100"));
            client.credit(deposit("ann", &format!("more-{n}"), 1)).await.answered();
            client.charge(charge("ann", &format!("less-{n}"), 1)).await.answered();
            assert_eq!(error(client.set_account(request).await), first, "remembered");
        }
        assert_eq!(state(&mut client, "ann").await, AccountState::Active);
        let (entry, _) = client.set_account(close("ann", "close", Some(100))).await.answered();
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::AccountChange, -100));
        assert_eq!(entry.held_delta_micro_usd, 0);
        assert_eq!(entry.balance_after.unwrap().posted_micro_usd, 0);
        let closed = AccountSettings { state: AccountState::Closed.into(), debt_limit_micro_usd: None };
        assert_eq!(entry.account_settings, Some(closed));
        assert_eq!((&*entry.actor, &*entry.reason), ("ann@example.com", "a dispute"));

        client.credit(deposit("bob", "order-1", 5)).await.answered();
        client.charge(charge("bob", "job-1", 5)).await.answered();
        let (entry, _) = client.set_account(close("bob", "close", None)).await.answered();
        assert_eq!(entry.amount_micro_usd, 0, "nothing to forfeit");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_is_written_off_by_a_negative_forfeit() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        client.set_account(limit("ann", "limit", 50)).await.answered();
        client.charge(charge_by(ShortfallPolicy::AllowDebt, "ann", "job-1", 45)).await.answered();
        for (key, forfeit) in [("close-1", None), ("close-2", Some(35)), ("close-3", Some(0))] {
            let answer = client.set_account(close("ann", key, forfeit)).await;
            let metadata = refused(answer, Code::FailedPrecondition, "FORFEIT_MISMATCH");
            assert_eq!(metadata["posted_micro_usd"], "-35");
        }
        let (entry, _) = client.set_account(close("ann", "close-4", Some(-35))).await.answered();
        assert_eq!(entry.amount_micro_usd, 35);
        assert_eq!(available(&mut client, "ann").await, 0);
        client.refund(refund("ann", "refund-1", 45, "job-1")).await.answered();
        assert_eq!(available(&mut client, "ann").await, 45);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_not_closed_over_an_open_reservation_even_if_it_holds_nothing() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "r1", 60)).await.answered();
        client.reserve(reserve("ann", "r2", 10)).await.answered();
        let must_be_open = async |client: &mut Client, key: &str, forfeit, held: &str| {
            let answer = client.set_account(close("ann", key, Some(forfeit))).await;
            let metadata = refused(answer, Code::FailedPrecondition, "RESERVATIONS_OPEN");
            assert_eq!(metadata["held_micro_usd"], held, "{key}");
        };
        must_be_open(&mut client, "close-1", 100, "70").await;
        client.release(release("ann", "x2", "r2")).await.answered();
        let all = CaptureRequest { keep_open: true, ..capture("ann", "c1", "r1", 60) };
        client.capture(all).await.answered();
        must_be_open(&mut client, "close-2", 40, "0").await;
        assert_eq!(state(&mut client, "ann").await, AccountState::Active);
        client.release(release("ann", "x1", "r1")).await.answered();
        must_be_open(&mut client, "close-2", 40, "0").await; // remembered
        client.set_account(close("ann", "close-3", Some(40))).await.answered();
    })
    .await;
}

/// No sweeper has written that the leases ran out.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_has_run_out_keeps_no_account_open_and_what_it_charged_is_not_forfeited() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        for (id, policy) in [("freed", ExpiryPolicy::Release), ("charged", ExpiryPolicy::Capture)] {
            let lease = reserve_for(Duration::from_millis(1), "ann", id, 20);
            client.reserve(ReserveRequest { expiry_policy: policy.into(), ..lease }).await.answered();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let answer = client.set_account(close("ann", "close-1", Some(100))).await;
        let metadata = refused(answer, Code::FailedPrecondition, "FORFEIT_MISMATCH");
        assert_eq!(metadata["posted_micro_usd"], "80");
        let (entry, _) = client.set_account(close("ann", "close-2", Some(80))).await.answered();
        assert_eq!(entry.amount_micro_usd, -80);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_be_reopened_and_what_was_refused_meanwhile_stays_refused() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let active = account(&mut client, "ann").await;
        assert_eq!((active.state(), active.debt_limit_micro_usd), (AccountState::Active, None));
        set(&mut client, "ann", "freeze", AccountState::Frozen).await;
        let first = error(client.charge(charge("ann", "job-1", 5)).await);
        assert_eq!(first.1, FROZEN);
        set(&mut client, "ann", "thaw", AccountState::Active).await;
        assert_eq!(error(client.charge(charge("ann", "job-1", 5)).await), first);
        client.charge(charge("ann", "job-2", 5)).await.answered();

        client.set_account(close("ann", "close", Some(95))).await.answered();
        set(&mut client, "ann", "freeze-2", AccountState::Frozen).await;
        client.credit(deposit("ann", "order-2", 7)).await.answered();
        assert_eq!(reason(client.charge(charge("ann", "job-3", 5)).await).1, FROZEN);
        client.set_account(close("ann", "close-2", Some(7))).await.answered();
        set(&mut client, "ann", "reopen", AccountState::Active).await;
        client.credit(deposit("ann", "order-3", 9)).await.answered();
        client.charge(charge("ann", "job-4", 9)).await.answered();
        let replay = client.set_account(set_account("ann", "freeze", AccountState::Frozen)).await;
        assert!(replay.answered().1, "an old decision is told, and not taken again");
        assert_eq!(state(&mut client, "ann").await, AccountState::Active);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_shown_in_the_state_and_with_the_limit_that_it_had_at_any_time() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let mut history = Vec::new();
        for (n, (state, debt_limit)) in [
            (AccountState::Frozen, None),
            (AccountState::Unspecified, Some(50)),
            (AccountState::Active, None),
            (AccountState::Frozen, Some(0)),
            (AccountState::Unspecified, Some(-1)),
        ]
        .into_iter()
        .enumerate()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let request = set_account("ann", &format!("decision-{n}"), state);
            let request = SetAccountRequest { debt_limit_micro_usd: debt_limit, ..request };
            let (entry, _) = client.set_account(request).await.answered();
            let settings = entry.account_settings.unwrap();
            let now = account(&mut client, "ann").await;
            assert_eq!(
                (now.state, now.debt_limit_micro_usd),
                (settings.state, settings.debt_limit_micro_usd)
            );
            history.push((entry.create_time.unwrap(), settings.state(), settings.debt_limit_micro_usd));
        }
        let states: Vec<_> = history.iter().map(|(_, state, limit)| (*state, *limit)).collect();
        let expected = [
            (AccountState::Frozen, None),
            (AccountState::Frozen, Some(50)),
            (AccountState::Active, Some(50)),
            (AccountState::Frozen, Some(0)),
            (AccountState::Frozen, None),
        ];
        assert_eq!(states, expected);
        for (time, state, limit) in history {
            let then = account_as_of(&mut client, "ann", time).await.unwrap();
            assert_eq!((then.state(), then.debt_limit_micro_usd), (state, limit), "{time}");
        }
        let first = account(&mut client, "ann").await.create_time.unwrap();
        let then = account_as_of(&mut client, "ann", first).await.unwrap();
        assert_eq!((then.state(), then.debt_limit_micro_usd), (AccountState::Active, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_own_debt_limit_stands_before_the_configured_one() {
    use ShortfallPolicy::AllowDebt;
    on_a_book(async |book| {
        let mut with_debt = config();
        with_debt.limits.debt_max = MicroUsd::new(50);
        let server = TestServer::start(&book.url, with_debt).await;
        let mut client = server.client().await;
        for account in ["default", "more", "none", "again"] {
            client.credit(deposit(account, "order-1", 10)).await.answered();
        }
        client.set_account(limit("more", "limit", 70)).await.answered();
        client.set_account(limit("none", "limit", 0)).await.answered();
        client.set_account(limit("again", "limit-1", 0)).await.answered();
        client.set_account(limit("again", "limit-2", -1)).await.answered();
        for (account, limit) in [("default", 50), ("more", 70), ("none", 0), ("again", 50)] {
            let too_much = client.charge(charge_by(AllowDebt, account, "job-1", 10 + limit + 1)).await;
            let metadata = refused(too_much, Code::FailedPrecondition, "DEBT_LIMIT");
            assert_eq!(metadata["limit_micro_usd"], limit.to_string(), "{account}");
            client.reserve(reserve(account, "r1", 1)).await.answered();
            let above = CaptureRequest {
                shortfall_policy: AllowDebt.into(),
                ..capture(account, "c1", "r1", 10 + limit + 1)
            };
            let metadata = refused(client.capture(above).await, Code::FailedPrecondition, "DEBT_LIMIT");
            assert_eq!(metadata["limit_micro_usd"], limit.to_string(), "{account}");
            client.release(release(account, "x1", "r1")).await.answered();
            client.charge(charge_by(AllowDebt, account, "job-2", 10 + limit)).await.answered();
            assert_eq!(available(&mut client, account).await, -limit, "{account}");
        }
    })
    .await;
}

/// Every spender has a key of its own, and the operator one; they come through two replicas.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_spent_after_the_entry_that_froze_the_account_by_sixty_four_at_once() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let (mut before, mut after) = (0, 0);
        for round in 0..12 {
            let account = format!("account-{round}");
            let mut client = clients[round % 2].clone();
            client.credit(deposit(&account, "order-1", 1_000_000)).await.answered();
            client.reserve(reserve(&account, "r0", 10)).await.answered();
            let answers = at_once(&clients, 65, move |mut client, caller| {
                let (account, key) = (account.clone(), format!("job-{caller}"));
                async move {
                    if caller == 64 {
                        // Not the first to be served.
                        tokio::time::sleep(Duration::from_micros(u64::try_from(round).unwrap() * 200)).await;
                        let (entry, _) = client
                            .set_account(set_account(&account, "freeze", AccountState::Frozen))
                            .await
                            .answered();
                        return Ok(entry);
                    }
                    let mut last = None;
                    for n in 0..4 {
                        let key = format!("{key}-{n}");
                        let answer = match caller % 3 {
                            0 => client
                                .charge(charge(&account, &key, 1))
                                .await
                                .map(|answer| answer.into_inner().entry),
                            1 => client
                                .reserve(reserve(&account, &key, 1))
                                .await
                                .map(|answer| answer.into_inner().entry),
                            _ => {
                                let extension = extend(&account, &key, "r0", 1);
                                client
                                    .extend_reservation(extension)
                                    .await
                                    .map(|answer| answer.into_inner().entry)
                            }
                        };
                        match answer {
                            Ok(entry) => last = entry,
                            Err(status) => {
                                assert_eq!(reason::<()>(Err(status)).1, FROZEN);
                                return Err(last);
                            }
                        }
                    }
                    Err(last)
                }
            })
            .await;
            let frozen = answers.iter().find_map(|answer| answer.as_ref().ok()).unwrap().sequence;
            for last in answers.iter().filter_map(|answer| answer.as_ref().err()).flatten() {
                assert!(last.sequence < frozen, "{last:?} was answered after {frozen}");
            }
            let account = format!("account-{round}");
            let count = async |condition: &str| {
                let of = format!("SELECT count(*) FROM ledger_entries WHERE account_id = '{account}' AND");
                book.number(&format!("{of} {condition}")).await
            };
            assert_eq!(count(&format!("sequence > {frozen}")).await, 0, "nothing else was asked for");
            before += count(&format!("sequence < {frozen} AND sequence > 2")).await;
            let refused = "SELECT count(*) FROM refusals WHERE reason = 'ACCOUNT_FROZEN'";
            after = book.number(refused).await;
        }
        assert!(before > 12 && after > 12, "no race: {before} before, {after} after");
    })
    .await;
}

/// What is posted changes all the time: whoever closes the account has said what it was at that moment, or is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_closed_while_others_pay_in_and_reserve_is_closed_empty() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let mut closed = 0;
        for round in 0..12_usize {
            let account = format!("account-{round}");
            let mut client = clients[round % 2].clone();
            client.credit(deposit(&account, "order-1", 100)).await.answered();
            let answers = at_once(&clients, 33, move |mut client, caller| {
                let (account, key) = (account.clone(), format!("key-{caller}"));
                async move {
                    // Some of those who close it have the figure right, if nobody has paid in or reserved before.
                    let answer = match caller % 3 {
                        0 => client.set_account(close(&account, &key, Some(100))).await.map(drop),
                        1 => client.credit(deposit(&account, &key, 1)).await.map(drop),
                        _ => client.reserve(reserve(&account, &key, 1)).await.map(drop),
                    };
                    answer.map_err(|status| reason::<()>(Err(status)).1)
                }
            })
            .await;
            let account = crate::support::account(&mut client, &format!("account-{round}")).await;
            let closers: Vec<_> = answers.iter().step_by(3).collect();
            let allowed = ["FORFEIT_MISMATCH", "RESERVATIONS_OPEN"];
            assert!(
                closers
                    .iter()
                    .all(|answer| answer.as_ref().err().is_none_or(|why| allowed.contains(&&**why))),
                "{closers:?}"
            );
            let others = answers.iter().enumerate().filter(|(caller, _)| caller % 3 > 0);
            for (_, answer) in others {
                assert!(answer.as_ref().err().is_none_or(|why| why == CLOSED), "{answer:?}");
            }
            let is_closed = closers.iter().any(|answer| answer.is_ok());
            assert_eq!(account.state() == AccountState::Closed, is_closed);
            if is_closed {
                closed += 1;
                let balance = account.balance.unwrap();
                assert_eq!((balance.posted_micro_usd, balance.held_micro_usd), (0, 0));
            }
        }
        println!("{closed} of 12 were closed first");
    })
    .await;
}

/// One transaction decides all of them: each by what those before it in the batch have done.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_counts_for_all_that_follows_it_in_its_batch() {
    fn command<T>(request: T) -> Command
    where
        Command: TryFrom<T, Error = Invalid>,
    {
        Command::try_from(request).unwrap()
    }
    on_a_book(async |book| {
        let commands = [
            command(deposit("ann", "order-1", 100)),
            command(reserve("ann", "r1", 60)),
            command(close("ann", "close-1", Some(100))),
            command(set_account("ann", "freeze", AccountState::Frozen)),
            command(charge("ann", "job-1", 1)),
            command(capture("ann", "c1", "r1", 60)),
            command(close("ann", "close-2", Some(40))),
            command(deposit("ann", "order-2", 1)),
            command(set_account("ann", "reopen", AccountState::Active)),
            command(limit("ann", "limit", 5)),
            command(charge_by(ShortfallPolicy::AllowDebt, "ann", "job-2", 5)),
            command(charge_by(ShortfallPolicy::AllowDebt, "ann", "job-3", 1)),
        ];
        let ledger = book.ledger().await;
        for _ in 0..2 {
            let answers = ledger.post_batch(&commands).await.unwrap();
            let told: Vec<_> = answers
                .into_iter()
                .map(|answer| match answer {
                    Outcome::Applied { entry, .. } => entry.sequence.to_string(),
                    Outcome::Refused(refusal) => refusal.reason.clone(),
                    other @ (Outcome::Declined(_)
                    | Outcome::Forbidden(_)
                    | Outcome::Invalid(_)
                    | Outcome::KeyReused(_)
                    | Outcome::NotFound(_)) => panic!("{other:?}"),
                })
                .collect();
            let expected =
                ["1", "2", "RESERVATIONS_OPEN", "3", FROZEN, "4", "5", CLOSED, "6", "7", "8", "DEBT_LIMIT"];
            assert_eq!(told, expected);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_not_found_and_its_key_is_not_used_up() {
    on_a_served_book(async |book, mut client| {
        for request in [
            set_account("new", "decision-1", AccountState::Frozen),
            close("new", "decision-1", None),
            limit("new", "decision-1", 5),
        ] {
            let answer = client.set_account(request).await;
            assert_eq!(reason(answer), (Code::NotFound, "ACCOUNT_NOT_FOUND".into()));
        }
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0, "and leaves nothing behind");
        client.credit(deposit("new", "order-1", 5)).await.answered();
        let (entry, replayed) =
            client.set_account(set_account("new", "decision-1", AccountState::Frozen)).await.answered();
        assert_eq!((entry.sequence, replayed), (2, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_cannot_be_is_refused_by_field_and_burns_no_key() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        let freeze = || set_account("ann", "decision-1", AccountState::Frozen);
        for (request, field) in [
            (set_account("ann", "decision-1", AccountState::Unspecified), "state"),
            (SetAccountRequest { state: 4, ..freeze() }, "state"),
            (SetAccountRequest { state: -1, ..freeze() }, "state"),
            (SetAccountRequest { debt_limit_micro_usd: Some(-2), ..freeze() }, "debt_limit_micro_usd"),
            (SetAccountRequest { debt_limit_micro_usd: Some(i64::MIN), ..freeze() }, "debt_limit_micro_usd"),
            (SetAccountRequest { forfeit_micro_usd: Some(0), ..freeze() }, "forfeit_micro_usd"),
            (
                SetAccountRequest { forfeit_micro_usd: Some(5), ..limit("ann", "decision-1", 5) },
                "forfeit_micro_usd",
            ),
            (SetAccountRequest { actor: String::new(), ..freeze() }, "actor"),
            (SetAccountRequest { actor: "a".repeat(256), ..freeze() }, "actor"),
            (SetAccountRequest { reason: " \t".into(), ..freeze() }, "reason"),
            (SetAccountRequest { reason: "r".repeat(1_025), ..freeze() }, "reason"),
            (SetAccountRequest { reference: "r".repeat(1_025), ..freeze() }, "reference"),
            (SetAccountRequest { metadata: [(String::new(), String::new())].into(), ..freeze() }, "metadata"),
            (SetAccountRequest { account_id: String::new(), ..freeze() }, "account_id"),
            (SetAccountRequest { idempotency_key: String::new(), ..freeze() }, "idempotency_key"),
        ] {
            assert_eq!(wrong_fields(client.set_account(request.clone()).await), [field], "{request:?}");
        }
        assert!(!client.set_account(freeze()).await.answered().1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_decision_names_that_decision_alone() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        let request = SetAccountRequest {
            debt_limit_micro_usd: Some(5),
            ..set_account("ann", "decision-1", AccountState::Frozen)
        };
        let (first, _) = client.set_account(request.clone()).await.answered();
        assert_eq!(client.set_account(request.clone()).await.answered(), (first, true));
        for (other, field) in [
            (SetAccountRequest { state: AccountState::Active.into(), ..request.clone() }, "state"),
            (SetAccountRequest { state: 0, ..request.clone() }, "state"),
            (SetAccountRequest { debt_limit_micro_usd: Some(6), ..request.clone() }, "debt_limit_micro_usd"),
            (SetAccountRequest { debt_limit_micro_usd: None, ..request.clone() }, "debt_limit_micro_usd"),
            (SetAccountRequest { actor: "bob".into(), ..request.clone() }, "actor"),
            (SetAccountRequest { reason: "another".into(), ..request.clone() }, "reason"),
            (SetAccountRequest { reference: "r".into(), ..request.clone() }, "reference"),
        ] {
            let metadata =
                refused(client.set_account(other).await, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!((&*metadata["fields"], &*metadata["method"]), (field, "SetAccount"));
        }
        assert_eq!(reason(client.charge(charge("ann", "decision-1", 5)).await).1, "IDEMPOTENCY_KEY_REUSED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_decides_about_an_account() {
    on_a_book(async |book| {
        let callers = [("web", "coordinator"), ("books", "reader"), ("ops", "admin")];
        let [(web, a), (books, b), (ops, c)] = callers.map(|(name, role)| new_token(name, role));
        let (service, _dir) = book.serve_to(&[a, b, c].concat(), &[]);
        let mut client = service.client().await;
        client.credit(with_token(&web, deposit("ann", "order-1", 5))).await.answered();
        let freeze = || set_account("ann", "freeze", AccountState::Frozen);
        for (token, caller) in [(&web, "web"), (&books, "books")] {
            let answer = client.set_account(with_token(token, freeze())).await;
            let metadata = refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
            assert_eq!((&*metadata["caller"], &*metadata["needed"]), (caller, "admin"));
        }
        let (entry, _) = client.set_account(with_token(&ops, freeze())).await.answered();
        assert_eq!(entry.caller, "ops");
        let charged = client.charge(with_token(&web, charge("ann", "job-1", 1))).await;
        assert_eq!(reason(charged).1, FROZEN);
    })
    .await;
}
