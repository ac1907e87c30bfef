//! One key, one operation, one answer.

use std::sync::Arc;

use billing::grpc::proto::{
    AccountState, AdminCreditRequest, ChargeRequest, CreditRequest, EntryType, ExpiryPolicy,
    ExtendReservationRequest, ListEntriesRequest, RefundRequest, ReleaseRequest, ReserveRequest,
    SetAccountRequest, ShortfallPolicy, refund_request::Charge,
};
use tokio::{sync::Barrier, task::JoinSet};
use tonic::{Code, Response, Status};

use crate::support::{book::ADMIN_CREDIT_MAX, process::Process, *};

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_with_one_key_through_two_processes_are_one_operation() {
    on_a_book(async |book| {
        let processes = [0, 1].map(|_| Process::serve(&["--database-url", &book.url]));
        processes[0].client().await.credit(deposit("ann", "before", 1)).await.answered();
        let request = stripe_deposit("ann", "order-1", 500, "cs_1");
        let mut calls = JoinSet::new();
        let barrier = Arc::new(Barrier::new(64));
        for caller in 0..64 {
            let (url, request) = (processes[caller % 2].url(), request.clone());
            let barrier = Arc::clone(&barrier);
            calls.spawn(async move {
                let mut client = connect(&url).await; // a connection of its own
                barrier.wait().await;
                client.credit(request).await.answered()
            });
        }
        let answers = calls.join_all().await;
        let (entry, _) = answers[0].clone();
        assert_eq!((entry.sequence, entry.amount_micro_usd), (2, 500));
        assert_eq!(entry.balance_after.as_ref().unwrap().posted_micro_usd, 501);
        assert!(answers.iter().all(|(other, _)| *other == entry), "64 equal answers");
        assert_eq!(answers.iter().filter(|(_, replayed)| *replayed).count(), 63);
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 2);
        assert_eq!(book.number("SELECT posted_micro_usd FROM accounts").await, 501);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_request_is_refused_and_the_difference_named() {
    on_a_service(async |mut client| {
        let original = CreditRequest {
            reference: "r".into(),
            metadata: [("n".to_owned(), "v".to_owned())].into(),
            ..stripe_deposit("ann", "order-1", 500, "cs_1")
        };
        client.credit(original.clone()).await.answered();
        let others = [
            (CreditRequest { amount_micro_usd: 501, ..original.clone() }, "amount_micro_usd"),
            (CreditRequest { entry_type: EntryType::Deposit.into(), ..original.clone() }, "entry_type"),
            (CreditRequest { external_ids: vec!["cs_2".into()], ..original.clone() }, "external_ids"),
            (
                CreditRequest { external_ids: ["cs_1", "pi_1"].map(Into::into).into(), ..original.clone() },
                "external_ids",
            ),
            (CreditRequest { reference: "s".into(), ..original.clone() }, "reference"),
            (CreditRequest { metadata: [].into(), ..original.clone() }, "metadata"),
        ];
        for (other, field) in others {
            let reused = client.credit(other.clone()).await;
            let metadata = refused(reused, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!((&*metadata["fields"], &*metadata["method"]), (field, "Credit"));
            assert_eq!(wrong_fields(client.credit(other).await), [field]);
        }
        let reused = client.charge(charge("ann", "order-1", 500)).await;
        let metadata = refused(reused, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(metadata["fields"], "method");
        assert_eq!(available(&mut client, "ann").await, 500);
        let (_, replayed) = client.credit(original).await.answered();
        assert!(replayed, "the key still answers as it did");
    })
    .await;
}

/// The one of two answers that is an error.
fn loser<T: std::fmt::Debug>(first: Result<T, Status>, second: Result<T, Status>) -> Result<T, Status> {
    let (winners, mut losers): (Vec<_>, Vec<_>) = [first, second].into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1, "{winners:?} {losers:?}");
    losers.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_request_while_the_first_is_in_flight_is_refused() {
    on_a_book(async |book| {
        let (one, two) = (book.serve().await, book.serve().await);
        let (mut one, mut two) = (one.client().await, two.client().await);
        one.credit(deposit("ann", "before", 1)).await.answered();
        for round in 0..50 {
            let key = format!("order-{round}");
            let (first, second) =
                tokio::join!(one.credit(deposit("ann", &key, 10)), two.credit(deposit("ann", &key, 11)));
            refused(loser(first, second), Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        }
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 51);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_reference_under_two_keys_applies_twice() {
    on_a_service(async |mut client| {
        for key in ["refund-1", "refund-2"] {
            let request = CreditRequest { reference: "reservation_refund".into(), ..deposit("ann", key, 5) };
            assert!(!client.credit(request).await.answered().1);
        }
        assert_eq!(available(&mut client, "ann").await, 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_stays_refused_after_the_account_was_funded_and_a_new_key_succeeds() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        let first = error(client.charge(charge("ann", "job-1", 50)).await);
        let (code, reason_of_first, mut figures) = first.clone();
        assert_eq!((code, reason_of_first.as_str()), (Code::FailedPrecondition, "INSUFFICIENT_FUNDS"));
        figures.remove("refused_time").expect("when it was refused");
        let expected = [("available_micro_usd", "10"), ("held_micro_usd", "0"), ("required_micro_usd", "50")];
        assert_eq!(figures, expected.map(|(name, value)| (name.into(), value.into())).into());

        client.credit(deposit("ann", "order-2", 100)).await.answered();
        assert_eq!(error(client.charge(charge("ann", "job-1", 50)).await), first, "the same answer");
        let (entry, replayed) = client.charge(charge("ann", "job-1-again", 50)).await.answered();
        assert_eq!((entry.balance_after.unwrap().available_micro_usd, replayed), (60, false));
        let other = client.charge(charge("ann", "job-1", 51)).await;
        assert_eq!(reason(other).1, "IDEMPOTENCY_KEY_REUSED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_a_charge_answers_as_it_did_when_the_balance_is_gone() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let (original, _) = client.charge(charge("ann", "job-1", 60)).await.answered();
        client.charge(charge("ann", "job-2", 40)).await.answered();
        assert_eq!(available(&mut client, "ann").await, 0);
        assert_eq!(client.charge(charge("ann", "job-1", 60)).await.answered(), (original, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_credited_once_whatever_key_it_comes_under() {
    on_a_service(async |mut client| {
        let (entry, _) = client.credit(stripe_deposit("ann", "webhook-1", 500, "cs_1")).await.answered();
        let again = client.credit(stripe_deposit("ann", "job-retry", 500, "cs_1")).await;
        assert_eq!(again.answered(), (entry.clone(), true), "the original entry");

        for (other, conflict) in [
            (stripe_deposit("ann", "webhook-2", 501, "cs_1"), "amount_micro_usd"),
            (stripe_deposit("bob", "webhook-1", 500, "cs_1"), "account_id"),
        ] {
            let other = client.credit(other).await;
            let metadata = refused(other, Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT");
            assert_eq!((&*metadata["external_id"], &*metadata["conflict"]), ("cs_1", conflict));
        }

        // The later key was answered, so it names that request from then on.
        let reused = client.charge(charge("ann", "job-retry", 5)).await;
        assert_eq!(reason(reused).1, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(applied(&mut client, "ann", "job-retry").await.0, entry);
        assert_eq!(available(&mut client, "ann").await, 500);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_for_two_accounts_at_once_is_credited_to_one() {
    on_a_book(async |book| {
        let (one, two) = (book.serve().await, book.serve().await);
        let (mut one, mut two) = (one.client().await, two.client().await);
        for round in 0..30 {
            let session = format!("cs_{round}");
            let key = format!("webhook-{round}");
            let (first, second) = tokio::join!(
                one.credit(stripe_deposit("ann", &key, 100, &session)),
                two.credit(stripe_deposit("bob", &key, 100, &session)),
            );
            refused(loser(first, second), Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT");
        }
        assert_eq!(book.number("SELECT sum(posted_micro_usd) FROM accounts").await, 3_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_burns_no_key() {
    on_a_served_book(async |book, mut client| {
        let missing = client.refund(refund("ann", "refund-1", 5, "job-1")).await;
        assert_eq!(reason(missing), (Code::NotFound, "CHARGE_NOT_FOUND".into()));
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0, "and leaves nothing behind");
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        client.charge(charge("ann", "job-1", 5)).await.answered();
        let (entry, replayed) = client.refund(refund("ann", "refund-1", 5, "job-1")).await.answered();
        assert_eq!((entry.refunded_sequence, replayed), (2, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_of_an_unknown_account_is_refused_and_its_key_is_remembered() {
    on_a_service(async |mut client| {
        let charged = client.charge(charge("new", "job-1", 5)).await;
        let metadata = refused(charged, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        assert_eq!((&*metadata["available_micro_usd"], &*metadata["held_micro_usd"]), ("0", "0"));
        refused(client.get_account(get_account("new")).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
        let (entry, _) = client.credit(deposit("new", "order-1", 10)).await.answered();
        assert_eq!(entry.sequence, 1);
        assert_eq!(reason(client.charge(charge("new", "job-1", 5)).await).1, "INSUFFICIENT_FUNDS");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_name_no_single_operation_are_refused() {
    on_a_served_book(async |book, mut client| {
        let too_long = "k".repeat(256);
        let bad = [
            ("", "IDEMPOTENCY_KEY_REQUIRED"),
            ("a b", "IDEMPOTENCY_KEY_MALFORMED"),
            ("ключ", "IDEMPOTENCY_KEY_MALFORMED"),
            (too_long.as_str(), "IDEMPOTENCY_KEY_MALFORMED"),
            ("billing/expire/r1", "IDEMPOTENCY_KEY_MALFORMED"),
            ("reservation_refund", "IDEMPOTENCY_KEY_GENERIC"),
            ("admin_credit", "IDEMPOTENCY_KEY_GENERIC"),
            ("STRIPE_DEPOSIT", "IDEMPOTENCY_KEY_GENERIC"),
            ("set_account", "IDEMPOTENCY_KEY_GENERIC"),
        ];
        for (key, expected) in bad {
            let requests = [
                reason(client.credit(deposit("ann", key, 5)).await),
                reason(client.charge(charge("ann", key, 5)).await),
                reason(client.refund(refund("ann", key, 5, "job")).await),
                reason(client.admin_credit(grant("ann", key, 5)).await),
                reason(client.set_account(set_account("ann", key, AccountState::Frozen)).await),
            ];
            for (code, reason) in requests {
                assert_eq!((code, reason.as_str()), (Code::InvalidArgument, expected), "{key:?}");
            }
            assert_eq!(wrong_fields(client.credit(deposit("ann", key, 5)).await), ["idempotency_key"]);
        }
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_is_named_and_burns_no_key() {
    on_a_service(async |mut client| {
        let credit = || deposit("ann", "order-1", 5);
        let bad_credits = [
            (CreditRequest { account_id: String::new(), ..credit() }, "account_id"),
            (CreditRequest { account_id: "a b".into(), ..credit() }, "account_id"),
            (CreditRequest { account_id: "a".repeat(129), ..credit() }, "account_id"),
            (CreditRequest { amount_micro_usd: 0, ..credit() }, "amount_micro_usd"),
            (CreditRequest { entry_type: 0, ..credit() }, "entry_type"),
            (CreditRequest { entry_type: EntryType::Charge.into(), ..credit() }, "entry_type"),
            (CreditRequest { entry_type: 99, ..credit() }, "entry_type"),
            (CreditRequest { entry_type: EntryType::AccountChange.into(), ..credit() }, "entry_type"),
            (CreditRequest { entry_type: EntryType::StripeDeposit.into(), ..credit() }, "external_ids"),
            (CreditRequest { external_ids: vec!["a b".into()], ..credit() }, "external_ids"),
            (CreditRequest { external_ids: vec![String::new()], ..credit() }, "external_ids"),
            (CreditRequest { reference: "r".repeat(1_025), ..credit() }, "reference"),
            (CreditRequest { metadata: [(String::new(), String::new())].into(), ..credit() }, "metadata"),
        ];
        for (request, field) in bad_credits {
            assert_eq!(wrong_fields(client.credit(request.clone()).await), [field], "{request:?}");
        }
        for (charge, field) in [(None, "charge"), (Some(Charge::ChargeSequence(0)), "charge_sequence")] {
            let request = RefundRequest { charge, ..refund("ann", "order-1", 5, "job-1") };
            assert_eq!(wrong_fields(client.refund(request).await), [field]);
        }
        let anonymous = AdminCreditRequest { actor: String::new(), ..grant("ann", "order-1", 5) };
        assert_eq!(wrong_fields(client.admin_credit(anonymous).await), ["actor"]);
        let groundless = AdminCreditRequest { reason: String::new(), ..grant("ann", "order-1", 5) };
        assert_eq!(wrong_fields(client.admin_credit(groundless).await), ["reason"]);
        let freeze = || set_account("ann", "order-1", AccountState::Frozen);
        let anonymous = SetAccountRequest { actor: " ".into(), ..freeze() };
        assert_eq!(wrong_fields(client.set_account(anonymous).await), ["actor"]);
        let groundless = SetAccountRequest { reason: String::new(), ..freeze() };
        assert_eq!(wrong_fields(client.set_account(groundless).await), ["reason"]);

        let (entry, replayed) = client.credit(credit()).await.answered();
        assert_eq!((entry.sequence, replayed), (1, false), "the key was not used up");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_given_is_in_the_entry_and_in_its_replay() {
    on_a_service(async |mut client| {
        let metadata = [("job".to_owned(), "42".to_owned()), ("名前".to_owned(), "\u{1f600}\n\"".to_owned())];
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let request = ChargeRequest {
            reference: "a reference\nof two lines".into(),
            metadata: metadata.clone().into(),
            ..charge("ann", "job-1", 60)
        };
        let (entry, _) = client.charge(request.clone()).await.answered();
        assert_eq!(entry.reference, request.reference);
        assert_eq!(entry.metadata, metadata.into());
        assert_eq!(entry.idempotency_key, "job-1");
        assert_eq!(entry.entry_type(), EntryType::Charge);
        assert_eq!((entry.amount_micro_usd, entry.held_delta_micro_usd), (-60, 0));
        assert!(entry.create_time.is_some());
        assert_eq!(client.charge(request).await.answered(), (entry, true));

        let (entry, _) = client.admin_credit(grant("ann", "grant-1", 5)).await.answered();
        assert_eq!(entry.actor, "ann@example.com");
        assert_eq!(entry.reason, "goodwill after an outage");
        assert_eq!(client.admin_credit(grant("ann", "grant-1", 5)).await.answered(), (entry, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_a_reservation_is_kept_with_the_entry_that_it_was_said_of() {
    on_a_service(async |mut client| {
        let metadata = |of: &str| [("of".to_owned(), of.to_owned())].into();
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        let reserve = ReserveRequest {
            reference: "reserve".into(),
            metadata: metadata("reserve"),
            ..reserve("ann", "r1", 60)
        };
        client.reserve(reserve).await.answered();
        let extend = ExtendReservationRequest {
            reference: "extend".into(),
            metadata: metadata("extend"),
            ..extend("ann", "e1", "r1", 5)
        };
        let (extended, _) = client.extend_reservation(extend.clone()).await.answered();
        let release = ReleaseRequest {
            reference: "release".into(),
            metadata: metadata("release"),
            ..release("ann", "x1", "r1")
        };
        let (released, _) = client.release(release.clone()).await.answered();
        for (entry, said) in [(&extended, "extend"), (&released, "release")] {
            assert_eq!((entry.reference.as_str(), &entry.metadata), (said, &metadata(said)));
            let list = ListEntriesRequest { reference: said.into(), ..list_entries("ann") };
            let found = client.list_entries(list).await.unwrap().into_inner().entries;
            assert_eq!(found.as_slice(), std::slice::from_ref(entry));
        }
        let found = client.get_reservation(get_reservation("ann", "r1")).await.unwrap().into_inner();
        let found = found.reservation.unwrap();
        assert_eq!((found.reference.as_str(), found.metadata), ("reserve", metadata("reserve")));

        for (other, field) in [
            (ReleaseRequest { reference: String::new(), ..release.clone() }, "reference"),
            (ReleaseRequest { metadata: [].into(), ..release }, "metadata"),
        ] {
            let metadata =
                refused(client.release(other).await, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!(metadata["fields"], field);
        }
        let other = ExtendReservationRequest { reference: "other".into(), ..extend.clone() };
        assert_eq!(wrong_fields(client.extend_reservation(other).await), ["reference"]);
        let other = ExtendReservationRequest { expiry_policy: ExpiryPolicy::Release.into(), ..extend };
        assert_eq!(wrong_fields(client.extend_reservation(other).await), ["expiry_policy"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_that_goes_without_saying_is_the_same_request_and_any_other_is_not() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.charge(charge("ann", "job-1", 5)).await.answered();
        client.reserve(reserve("ann", "r1", 5)).await.answered();
        for (policy, is_same) in [
            (ShortfallPolicy::Reject, true),
            (ShortfallPolicy::CollectAvailable, false),
            (ShortfallPolicy::AllowDebt, false),
        ] {
            let request = ChargeRequest { shortfall_policy: policy.into(), ..charge("ann", "job-1", 5) };
            let answer = client.charge(request).await;
            assert_eq!(answer.is_ok(), is_same, "{policy:?}");
            if !is_same {
                assert_eq!(wrong_fields(answer), ["shortfall_policy"]);
            }
        }
        for (policy, is_same) in [(ExpiryPolicy::Release, true), (ExpiryPolicy::Capture, false)] {
            let request = ReserveRequest { expiry_policy: policy.into(), ..reserve("ann", "r1", 5) };
            let answer = client.reserve(request).await;
            assert_eq!(answer.is_ok(), is_same, "{policy:?}");
            if !is_same {
                assert_eq!(wrong_fields(answer), ["expiry_policy"]);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_above_the_cap_is_refused() {
    on_a_service(async |mut client| {
        client.admin_credit(grant("ann", "grant-1", ADMIN_CREDIT_MAX)).await.answered();
        let above = client.admin_credit(grant("ann", "grant-2", ADMIN_CREDIT_MAX + 1)).await;
        let metadata = refused(above, Code::FailedPrecondition, "ADMIN_CREDIT_LIMIT");
        assert_eq!(metadata["limit_micro_usd"], ADMIN_CREDIT_MAX.to_string());
    })
    .await;
}

/// Every method, on accounts that nobody ever credited.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_unknown_accounts_leaves_no_account_behind() {
    on_a_served_book(async |book, mut client| {
        client.credit(stripe_deposit("ann", "order-1", 5, "cs_1")).await.answered();
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let (mut client, account) = (client.clone(), format!("nobody-{}", n % 40));
            calls.spawn(async move {
                let key = format!("job-{n}");
                let another = stripe_deposit(&account, &key, 5, "cs_1");
                let above_the_cap = grant(&account, &key, ADMIN_CREDIT_MAX + 1);
                let (refused, expected) = match n % 4 {
                    0 => (reason(client.charge(charge(&account, &key, 5)).await), "INSUFFICIENT_FUNDS"),
                    1 => (reason(client.reserve(reserve(&account, &key, 5)).await), "INSUFFICIENT_FUNDS"),
                    2 => (reason(client.credit(another).await), "EXTERNAL_ID_CONFLICT"),
                    _ => (reason(client.admin_credit(above_the_cap).await), "ADMIN_CREDIT_LIMIT"),
                };
                assert_eq!(refused, (Code::FailedPrecondition, expected.into()));
            });
        }
        calls.join_all().await;
        let remembered = book.number("SELECT count(*) FROM refusals").await;
        assert_eq!(remembered, 150, "each, but for the cap");
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 1, "and no account is there");
        refused(client.get_account(get_account("nobody-1")).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    })
    .await;
}

/// The first credit of an account and what is refused without it, under one key or several, through two services.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_credit_and_refusals_before_it_race_for_an_account_that_is_not_there() {
    on_a_book(async |book| {
        let processes = [0, 1].map(|_| Process::serve(&["--database-url", &book.url]));
        for round in 0..6 {
            let account = format!("account-{round}");
            let mut calls = JoinSet::new();
            let barrier = Arc::new(Barrier::new(64));
            for caller in 0..64 {
                let (url, account) = (processes[caller % 2].url(), account.clone());
                let barrier = Arc::clone(&barrier);
                calls.spawn(async move {
                    let mut client = connect(&url).await;
                    barrier.wait().await;
                    // Of eight callers, one credits under the key that three charge under; others have keys of their own.
                    let (key, own) = ("first".to_owned(), format!("own-{caller}"));
                    match caller % 8 {
                        0 => reasons(client.credit(deposit(&account, &key, 100)).await),
                        1..=3 => reasons(client.charge(charge(&account, &key, 1_000)).await),
                        4 => reasons(client.credit(deposit(&account, &own, 100)).await),
                        _ => reasons(client.charge(charge(&account, &own, 1_000_000)).await),
                    }
                });
            }
            let answers = calls.join_all().await;
            let count = |wanted: &str| answers.iter().filter(|answer| *answer == wanted).count();
            let (applied, replayed) = (count("applied"), count("replayed"));
            let (refused, misused) = (count("INSUFFICIENT_FUNDS"), count("IDEMPOTENCY_KEY_REUSED"));
            assert_eq!(applied + replayed + refused + misused, 64, "{answers:?}");
            match misused {
                8 => assert_eq!((applied, replayed, refused), (8, 0, 48), "the charge was first"),
                24 => assert_eq!((applied, replayed, refused), (9, 7, 24), "the credit was first"),
                _ => panic!("one key, two answers: {answers:?}"),
            }
        }
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 6);
    })
    .await;
}

/// Whether a call was applied or replayed, or why not.
fn reasons<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String
where
    Result<Response<T>, Status>: Answer,
{
    match answer {
        Ok(answer) => if Ok(answer).answered().1 { "replayed" } else { "applied" }.to_owned(),
        Err(status) => reason::<()>(Err(status)).1,
    }
}
