//! Refunds are bounded by what they refund.

use billing::grpc::proto::{RefundRequest, refund_request::Charge};
use tonic::Code;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn refunds_at_once_never_give_back_more_than_was_charged() {
    on_a_book(async |book| {
        let (one, two) = (book.serve().await, book.serve().await);
        let mut client = one.client().await;
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        client.charge(charge("ann", "job-1", 100)).await.answered();
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..32 {
            let mut client = if caller % 2 == 0 { one.client().await } else { two.client().await };
            calls.spawn(async move {
                client.refund(refund("ann", &format!("refund-{caller}"), 30, "job-1")).await
            });
        }
        let (given, refused): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(given.len(), 3, "three times 30 of 100");
        for refusal in refused {
            let metadata = self::refused(refusal, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
            let left: i64 = metadata["refundable_micro_usd"].parse().unwrap();
            assert!(left < 30, "{left}");
        }
        client.refund(refund("ann", "refund-rest", 10, "job-1")).await.answered();
        assert_eq!(available(&mut client, "ann").await, 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_charge_of_the_same_account_can_be_refunded() {
    on_a_service(async |mut client| {
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 1_000)).await.answered();
        }
        client.charge(charge("ann", "job-1", 100)).await.answered();
        client.refund(refund("ann", "refund-1", 50, "job-1")).await.answered();
        assert_eq!(reason(client.charge(charge("ann", "job-2", 9_999)).await).1, "INSUFFICIENT_FUNDS");

        let not_refundable = (Code::FailedPrecondition, "NOT_REFUNDABLE".to_owned());
        let not_found = (Code::NotFound, "CHARGE_NOT_FOUND".to_owned());
        let by_sequence = |key: &str, sequence| RefundRequest {
            charge: Some(Charge::ChargeSequence(sequence)),
            ..refund("ann", key, 1, "")
        };
        for (what, request, expected) in [
            ("a credit", refund("ann", "refund-2", 1, "order-1"), &not_refundable),
            ("a refund", refund("ann", "refund-3", 1, "refund-1"), &not_refundable),
            ("a charge of another account", refund("bob", "refund-4", 1, "job-1"), &not_found),
            ("a refusal", refund("ann", "refund-5", 1, "job-2"), &not_found),
            ("no entry", by_sequence("refund-6", 99), &not_found),
            ("a credit by its sequence", by_sequence("refund-7", 1), &not_refundable),
        ] {
            assert_eq!(reason(client.refund(request).await), *expected, "{what}");
        }
        let (entry, _) = client.refund(by_sequence("refund-8", 2)).await.answered();
        assert_eq!(entry.refunded_sequence, 2);
    })
    .await;
}
