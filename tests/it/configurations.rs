//! Replicas with different configurations: what was answered stays answered, and what one of them does not allow is not
//! remembered.

use std::time::Duration;

use billing::{
    accounting::{MicroUsd, Ttl},
    grpc::proto::{
        CaptureRequest, ChargeRequest, ChargeResponse, ExtendReservationRequest, ReserveRequest,
        ShortfallPolicy, Since,
    },
};
use tonic::{Code, Response, Status};

use crate::support::{
    server::{TestServer, config},
    *,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A replica as by default but for debts, and one that allows little.
async fn replicas(book: &TestBook) -> [TestServer; 2] {
    let mut strict = config();
    strict.limits.lease_max = Ttl::from_micros(3_600_000_000).unwrap();
    strict.limits.admin_credit_max = MicroUsd::new(100);
    let mut lenient = config();
    lenient.limits.debt_max = MicroUsd::new(1_000);
    [TestServer::start(&book.url, lenient).await, TestServer::start(&book.url, strict).await]
}

fn reserve(key: &str, ttl: Duration) -> ReserveRequest {
    ReserveRequest {
        idempotency_key: key.into(),
        account_id: "ann".into(),
        amount_micro_usd: 10,
        ttl: Some(ttl.try_into().unwrap()),
        ..Default::default()
    }
}

fn extend(key: &str, ttl: Duration) -> ExtendReservationRequest {
    ExtendReservationRequest {
        idempotency_key: key.into(),
        account_id: "ann".into(),
        reservation_id: "r1".into(),
        ttl: Some(ttl.try_into().unwrap()),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_answered_again_by_a_replica_that_would_not_allow_it() {
    on_a_book(async |book| {
        let [lenient, strict] = replicas(book).await;
        let (mut lenient, mut strict) = (lenient.client().await, strict.client().await);
        lenient.credit(deposit("ann", "order-1", 1_000)).await.answered();

        let (first, _) = lenient.reserve(reserve("r1", 2 * HOUR)).await.answered();
        let (again, since) = strict.reserve(reserve("r1", 2 * HOUR)).await.entry_and_since();
        assert_eq!(again, first);
        let lease = |since: Option<Since>| since.unwrap().reservation.unwrap().expire_time;
        assert_eq!(lease(since), first.reservation.unwrap().expire_time);
        let (first, _) = lenient.extend_reservation(extend("e1", 3 * HOUR)).await.answered();
        let (again, since) = strict.extend_reservation(extend("e1", 3 * HOUR)).await.entry_and_since();
        assert_eq!(again, first);
        assert_eq!(lease(since), first.reservation.unwrap().expire_time);
        let (first, _) = lenient.admin_credit(grant("ann", "grant-1", 500)).await.answered();
        assert_eq!(strict.admin_credit(grant("ann", "grant-1", 500)).await.answered(), (first, true));
        let misused = strict.reserve(reserve("r1", 4 * HOUR)).await;
        assert_eq!(reason(misused), (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED".into()));
    })
    .await;
}

/// Charges an account far more than it has.
async fn charge_into_debt(client: &mut Client, account: &str) -> Result<Response<ChargeResponse>, Status> {
    let request = ChargeRequest {
        shortfall_policy: ShortfallPolicy::AllowDebt.into(),
        ..charge(account, "job-1", 500)
    };
    client.charge(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_that_one_replica_has_allowed_is_answered_again_by_one_that_allows_none() {
    on_a_book(async |book| {
        let [lenient, strict] = replicas(book).await;
        let (mut lenient, mut strict) = (lenient.client().await, strict.client().await);
        for account in ["ann", "bob"] {
            lenient.credit(deposit(account, "order-1", 10)).await.answered();
        }
        let (first, _) = charge_into_debt(&mut lenient, "ann").await.answered();
        assert_eq!(first.balance_after.unwrap().available_micro_usd, -490);
        assert_eq!(charge_into_debt(&mut strict, "ann").await.answered(), (first, true));
        let capture = CaptureRequest {
            shortfall_policy: ShortfallPolicy::AllowDebt.into(),
            ..capture("bob", "c1", "r1", 500)
        };
        lenient.reserve(crate::support::reserve("bob", "r1", 10)).await.answered();
        let (first, _) = lenient.capture(capture.clone()).await.answered();
        assert_eq!(strict.capture(capture).await.answered(), (first, true));
    })
    .await;
}

/// Unlike the caps, a debt limit is compared with the balance: such a refusal is one of the book's.
#[tokio::test(flavor = "multi_thread")]
async fn a_debt_that_one_replica_has_refused_stays_refused_by_one_that_would_allow_it() {
    on_a_book(async |book| {
        let [lenient, strict] = replicas(book).await;
        let (mut lenient, mut strict) = (lenient.client().await, strict.client().await);
        lenient.credit(deposit("ann", "order-1", 10)).await.answered();
        let first = error(charge_into_debt(&mut strict, "ann").await);
        assert_eq!((first.1.as_str(), first.2["limit_micro_usd"].as_str()), ("DEBT_LIMIT", "0"));
        assert_eq!(error(charge_into_debt(&mut lenient, "ann").await), first);
        assert_eq!(book.number("SELECT count(*) FROM refusals").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_does_not_allow_is_not_remembered() {
    on_a_book(async |book| {
        let [lenient, strict] = replicas(book).await;
        let (mut lenient, mut strict) = (lenient.client().await, strict.client().await);
        lenient.credit(deposit("ann", "order-1", 1_000)).await.answered();
        for _ in 0..2 {
            let (code, name, metadata) = error(strict.reserve(reserve("r1", 2 * HOUR)).await);
            assert_eq!((code, name.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
            assert_eq!(metadata["field"], "ttl");
            let (code, name, metadata) = error(strict.admin_credit(grant("ann", "grant-1", 101)).await);
            assert_eq!((code, name.as_str()), (Code::FailedPrecondition, "ADMIN_CREDIT_LIMIT"));
            assert_eq!(metadata["limit_micro_usd"], "100");
        }
        assert_eq!(book.number("SELECT count(*) FROM refusals").await, 0);
        assert!(!lenient.reserve(reserve("r1", 2 * HOUR)).await.unwrap().into_inner().replayed);
        assert_eq!(wrong_fields(strict.extend_reservation(extend("e1", 2 * HOUR)).await), ["ttl"]);
        assert!(!lenient.extend_reservation(extend("e1", 2 * HOUR)).await.unwrap().into_inner().replayed);
        assert!(!lenient.admin_credit(grant("ann", "grant-1", 101)).await.answered().1);
        assert!(strict.admin_credit(grant("ann", "grant-1", 101)).await.answered().1);
        let of_nobody = strict.admin_credit(grant("bob", "grant-1", 101)).await;
        assert_eq!(reason(of_nobody), (Code::FailedPrecondition, "ADMIN_CREDIT_LIMIT".into()));
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_both_replicas_at_once_have_one_answer_or_none() {
    on_a_book(async |book| {
        let replicas = replicas(book).await;
        replicas[0].client().await.credit(deposit("ann", "order-1", 10_000)).await.answered();
        let clients = [replicas[0].client().await, replicas[1].client().await];
        for round in 0..10 {
            let key = format!("r-{round}");
            let answers = at_once(&clients, 32, |mut client, _| {
                let request = reserve(&key, 2 * HOUR);
                async move { client.reserve(request).await }
            });
            let mut firsts = 0;
            for answer in answers.await {
                match answer {
                    Ok(answer) => firsts += u32::from(!answer.into_inner().replayed),
                    Err(status) => assert_eq!(wrong_fields::<()>(Err(status)), ["ttl"]),
                }
            }
            assert_eq!(firsts, 1);
            for replica in &replicas {
                let again = replica.client().await.reserve(reserve(&key, 2 * HOUR)).await;
                assert!(again.unwrap().into_inner().replayed);
            }
        }
    })
    .await;
}
