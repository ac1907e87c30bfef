//! Amounts and balances at their bounds: refused, with nothing moved and no key burnt.

use billing::{
    accounting::Amount,
    grpc::proto::{CreditRequest, CreditResponse},
};
use tonic::{Code, Request, metadata::MetadataKey, transport::Endpoint};
use tonic_prost::ProstCodec;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_cannot_move_are_refused_and_burn_no_key() {
    on_a_service(async |mut client| {
        let most = Amount::MAX.credited().get();
        client.credit(deposit("ann", "order-0", 100)).await.answered();
        for bad in [0, -1, i64::MIN, i64::MAX, most + 1] {
            let expected = (Code::InvalidArgument, "INVALID_AMOUNT".to_owned());
            let answers = [
                reason(client.credit(deposit("ann", "order-1", bad)).await),
                reason(client.charge(charge("ann", "job-1", bad)).await),
                reason(client.refund(refund("ann", "refund-1", bad, "job-0")).await),
                reason(client.admin_credit(grant("ann", "grant-1", bad)).await),
            ];
            assert!(answers.iter().all(|answer| *answer == expected), "{bad}: {answers:?}");
            assert_eq!(wrong_fields(client.charge(charge("ann", "job-1", bad)).await), ["amount_micro_usd"]);
        }
        assert_eq!(available(&mut client, "ann").await, 100);
        assert!(!client.credit(deposit("ann", "order-1", most)).await.answered().1);
        assert!(!client.charge(charge("ann", "job-1", 1)).await.answered().1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_would_leave_int64_is_refused_and_nothing_moves() {
    on_a_served_book(async |book, mut client| {
        let almost = i64::MAX - 10;
        book.import("rich", 1, almost, &[("entry_type", "2"), ("create_time", "now()")]).await;
        let overflow = (Code::FailedPrecondition, "BALANCE_OVERFLOW".to_owned());
        assert_eq!(reason(client.credit(deposit("rich", "order-1", 11)).await), overflow);
        assert_eq!(reason(client.admin_credit(grant("rich", "grant-1", 11)).await), overflow);
        assert_eq!(available(&mut client, "rich").await, almost);
        client.credit(deposit("rich", "order-2", 10)).await.answered();
        assert_eq!(available(&mut client, "rich").await, i64::MAX);
        client.charge(charge("rich", "job-1", 5)).await.answered();
        client.credit(deposit("rich", "order-3", 5)).await.answered();
        assert_eq!(reason(client.refund(refund("rich", "refund-1", 5, "job-1")).await), overflow);
        assert_eq!(reason(client.credit(deposit("rich", "order-1", 11)).await), overflow, "as before");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_request_fits_and_a_larger_one_is_refused() {
    on_a_service(async |mut client| {
        let metadata = (0..50).map(|n| (format!("{n:\u{20ac}>22}"), "\u{20ac}".repeat(170))).collect();
        let request = CreditRequest {
            idempotency_key: "k".repeat(255),
            account_id: "a".repeat(128),
            external_ids: ["d", "e", "f", "g"].map(|id| id.repeat(255)).into(),
            reference: "r".repeat(1_024),
            metadata,
            ..deposit("", "", 5)
        };
        let (entry, _) = client.credit(request.clone()).await.answered();
        assert_eq!(entry.metadata, request.metadata);
        assert_eq!(client.credit(request).await.answered(), (entry, true));
        let huge = CreditRequest { reference: "r".repeat(1 << 20), ..deposit("ann", "order-1", 5) };
        refused(client.credit(huge).await, Code::InvalidArgument, "REQUEST_TOO_LARGE");
        client.credit(deposit("ann", "order-1", 5)).await.answered();
    })
    .await;
}

/// A call with so many KiB of metadata.
fn with_metadata<T>(kib: usize, message: T) -> Request<T> {
    let mut request = Request::new(message);
    for n in 0..kib {
        let name: MetadataKey<_> = format!("x-note-{n}").parse().unwrap();
        request.metadata_mut().insert(name, "n".repeat(1_024).parse().unwrap());
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_metadata_is_the_callers_mistake() {
    on_a_service(async |mut client| {
        client.credit(with_metadata(12, deposit("ann", "order-1", 5))).await.answered();
        for kib in [16, 20, 40, 60] {
            let answer = client.credit(with_metadata(kib, deposit("ann", "order-2", 5))).await;
            assert_eq!(reason(answer), (Code::InvalidArgument, "METADATA_TOO_LARGE".into()), "{kib} KiB");
        }
        // Beyond what HTTP/2 accepts there is no status of ours.
        let refused = client.credit(with_metadata(80, deposit("ann", "order-2", 5))).await.unwrap_err();
        assert!(refused.code() == Code::Unknown && refused.message().contains("431"), "{refused:?}");
        client.credit(deposit("ann", "order-2", 5)).await.answered();
    })
    .await;
}

/// A message with a number where every request has a text.
#[derive(Clone, PartialEq, prost::Message)]
struct NoRequest {
    #[prost(int64, tag = "1")]
    idempotency_key: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_decoded_is_the_callers_mistake() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        for method in ["Credit", "GetAccount"] {
            grpc.ready().await.unwrap();
            let path = format!("/billing.v1.BillingService/{method}").parse().unwrap();
            let codec = ProstCodec::<NoRequest, CreditResponse>::default();
            let answer = grpc.unary(Request::new(NoRequest { idempotency_key: 7 }), path, codec).await;
            refused(answer, Code::InvalidArgument, "REQUEST_MALFORMED");
        }
    })
    .await;
}
