//! Usage that came late: what there is of it is collected.

use billing::grpc::proto::{CaptureRequest, ChargeRequest, ReservationState, ShortfallPolicy};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::*;

fn charging(policy: ShortfallPolicy, key: &str, micro_usd: i64) -> ChargeRequest {
    ChargeRequest { shortfall_policy: policy.into(), ..charge("ann", key, micro_usd) }
}

#[tokio::test]
async fn a_charge_collects_what_is_available_and_reports_the_rest() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        client.reserve(reserve("ann", "job", 30)).await.unwrap(); // is not touched

        let charged = client.charge(charging(ShortfallPolicy::CollectAvailable, "usage", 90)).await;
        let entry = charged.unwrap().into_inner().entry.unwrap();
        assert_eq!((entry.amount_micro_usd, entry.uncollected_micro_usd), (-70, 20));
        let nothing = client.charge(charging(ShortfallPolicy::CollectAvailable, "more-usage", 5)).await;
        let entry = nothing.unwrap().into_inner().entry.unwrap();
        assert_eq!((entry.amount_micro_usd, entry.uncollected_micro_usd), (0, 5));

        // Money that was never taken cannot be refunded.
        let beyond = refused(
            client.refund(refund("ann", "refund-1", 71, "usage")).await,
            Code::FailedPrecondition,
            "REFUND_EXCEEDS_CHARGE",
        );
        assert_eq!(beyond["refundable_micro_usd"], "70");
        let again = client.charge(charging(ShortfallPolicy::CollectAvailable, "usage", 90)).await;
        assert_eq!(again.unwrap().into_inner().entry.unwrap().uncollected_micro_usd, 20);
    })
    .await;
}

#[tokio::test]
async fn a_charge_into_debt_goes_as_far_as_the_limit() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "deposit-1", 10)).await.unwrap();
        let refused = refused(
            client.charge(charging(ShortfallPolicy::AllowDebt, "usage", 11)).await,
            Code::FailedPrecondition,
            "DEBT_LIMIT",
        );
        assert_eq!(refused["limit_micro_usd"], "0");
        client.charge(charging(ShortfallPolicy::AllowDebt, "less-usage", 10)).await.unwrap();
        assert_eq!(available(&mut client, "ann").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_account_has_nothing_to_collect_and_cannot_owe() {
    on_a_served_book(async |book, mut client| {
        let policies =
            [ShortfallPolicy::Reject, ShortfallPolicy::CollectAvailable, ShortfallPolicy::AllowDebt];
        for (n, policy) in policies.into_iter().enumerate() {
            let told = client.charge(charging(policy, &format!("usage-{n}"), 1)).await;
            refused(told, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        }
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0);
        assert_eq!(book.number("SELECT count(*) FROM refusals").await, 3);
    })
    .await;
}

#[tokio::test]
async fn charges_that_collect_at_once_take_exactly_what_there_is() {
    on_a_book(async |book| {
        let replicas = (book.serve().await, book.serve().await);
        replicas.0.client().await.credit(deposit("ann", "deposit-1", 1_000)).await.unwrap();
        let mut tasks = JoinSet::new();
        for n in 0..64 {
            let mut client = if n % 2 == 0 { replicas.0.client().await } else { replicas.1.client().await };
            let request = charging(ShortfallPolicy::CollectAvailable, &format!("usage-{n}"), 30);
            tasks.spawn(async move { client.charge(request).await.unwrap().into_inner().entry.unwrap() });
        }
        let entries = tasks.join_all().await;
        assert!(entries.iter().all(|entry| entry.uncollected_micro_usd - entry.amount_micro_usd == 30));
        assert_eq!(entries.iter().map(|entry| entry.amount_micro_usd).sum::<i64>(), -1_000);
        assert_eq!(entries.iter().map(|entry| entry.uncollected_micro_usd).sum::<i64>(), 64 * 30 - 1_000);
    })
    .await;
}

#[tokio::test]
async fn a_capture_after_the_release_is_answered_by_its_policy() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        client.reserve(reserve("ann", "job", 30)).await.unwrap();
        client.release(release("ann", "release-1", "job")).await.unwrap();

        let late = |policy: ShortfallPolicy, key: &str, keep_open| CaptureRequest {
            shortfall_policy: policy.into(),
            keep_open,
            ..capture("ann", key, "job", 60)
        };
        let told = client.capture(late(ShortfallPolicy::Reject, "rejected", false)).await;
        let told = refused(told, Code::FailedPrecondition, "RESERVATION_CLOSED");
        assert_eq!((told["state"].as_str(), told["sequence"].as_str()), ("RELEASED", "3"));

        let mut states = Vec::new();
        for (key, keep_open) in [("late-1", true), ("late-2", false)] {
            let request = late(ShortfallPolicy::CollectAvailable, key, keep_open);
            let entry = client.capture(request).await.unwrap().into_inner().entry.unwrap();
            let after = entry.reservation.unwrap();
            states.push((entry.amount_micro_usd, after.state(), after.captured_micro_usd));
        }
        let expected = [(-60, ReservationState::Released, 60), (-40, ReservationState::Captured, 100)];
        assert_eq!(states, expected);
        let told = client.capture(late(ShortfallPolicy::CollectAvailable, "late-3", false)).await;
        let told = refused(told, Code::FailedPrecondition, "RESERVATION_CLOSED");
        assert_eq!((told["state"].as_str(), told["sequence"].as_str()), ("CAPTURED", "5"));
    })
    .await;
}
