//! The service on an imported book: a deposit from before is known by its payment, and everything goes on from where it was.

use billing::grpc::proto::{
    AdminCreditRequest, CreditRequest, Entry, GetAccountRequest, GetEntryRequest, ListEntriesRequest,
    RefundRequest, get_entry_request, refund_request::Charge,
};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Code;

use super::command::{audit, imported};
use crate::support::*;

const USD: i64 = 1_000_000;
/// 2025-07-02T00:00:00Z, the day of the second row of `times-known`.
const JULY_2: i64 = 1_751_414_400;

async fn entry(client: &mut Client, account: &str, sequence: i64) -> Entry {
    let entry = Some(get_entry_request::Entry::Sequence(sequence));
    let request = GetEntryRequest { account_id: account.into(), entry };
    client.get_entry(request).await.unwrap().into_inner().entry.unwrap()
}

/// All entries of an account, the newest first.
async fn entries(client: &mut Client, account: &str) -> Vec<Entry> {
    let mut request = ListEntriesRequest { account_id: account.into(), page_size: 2, ..Default::default() };
    let mut entries = Vec::new();
    loop {
        let page = client.list_entries(request.clone()).await.unwrap().into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        request.page_token = page.next_page_token;
    }
}

/// What is posted in an account, and how many entries it has.
async fn account(client: &mut Client, account: &str, as_of: Option<Timestamp>) -> (i64, i64) {
    let request = GetAccountRequest { account_id: account.into(), as_of };
    let account = client.get_account(request).await.unwrap().into_inner().account.unwrap();
    (account.balance.unwrap().posted_micro_usd, account.last_sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_from_before_the_import_is_not_credited_again() {
    let (_, book) = imported(1_000).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    for (id, session) in
        [("stripe-once", "cs_test_once"), ("stripe-five", "cs_test_five"), ("stripe-bare", "cs_test_bare")]
    {
        let (before, old) = (account(&mut client, id, None).await, entry(&mut client, id, 1).await);
        assert_eq!((old.idempotency_key.as_str(), &old.external_ids[..]), ("", &[session.to_owned()][..]));
        assert!(old.metadata.contains_key("imported_id"), "{old:?}");
        for key in ["webhook-1", "webhook-1", "webhook-2"] {
            let (entry, replayed) = client.credit(stripe_deposit(id, key, 5 * USD, session)).await.answered();
            assert_eq!((&entry, replayed), (&old, true), "{key}");
        }
        let other_amount = client.credit(stripe_deposit(id, "webhook-3", 6 * USD, session)).await;
        assert_eq!(reason(other_amount), (Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT".into()));
        let other_account = client.credit(stripe_deposit("Case", &format!("{id}-4"), 5 * USD, session)).await;
        assert_eq!(reason(other_account), (Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT".into()));
        assert_eq!(account(&mut client, id, None).await, before);
    }
    let other =
        client.credit(stripe_deposit("stripe-once", "webhook-5", 5 * USD, "cs_test_new")).await.answered();
    assert_eq!((other.0.sequence, other.1), (3, false), "a payment that is new");
    book.check().await;
    audit(&book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_from_before_the_import_is_not_credited_again_by_many_at_once() {
    let (_, book) = imported(1_000).await;
    let server = book.serve().await;
    let old = entry(&mut server.client().await, "stripe-twice", 1).await;
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let mut client = server.client().await;
        callers.spawn(async move {
            let request =
                stripe_deposit("stripe-twice", &format!("webhook-{caller}"), 5 * USD, "cs_test_twice");
            client.credit(request).await.answered()
        });
    }
    for answer in callers.join_all().await {
        assert_eq!(answer, (old.clone(), true));
    }
    assert_eq!(account(&mut server.client().await, "stripe-twice", None).await, (10 * USD, 2));
    book.check().await;
    audit(&book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_from_before_the_import_is_read_as_any_other() {
    let (_, book) = imported(1_000).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    let known = entries(&mut client, "times-known").await;
    assert_eq!(known.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [3, 2, 1]);
    for listed in &known {
        assert_eq!(entry(&mut client, "times-known", listed.sequence).await, *listed);
    }
    let second = Timestamp { seconds: JULY_2, nanos: 1_000 };
    assert_eq!(known[1].create_time, Some(second));
    for (as_of, posted, last_sequence) in [
        (second, 20, 2),
        (Timestamp { nanos: 999, ..second }, 10, 1),
        (Timestamp { seconds: JULY_2 + 86_400, nanos: 0 }, 30, 3),
    ] {
        let found = account(&mut client, "times-known", Some(as_of)).await;
        assert_eq!(found, (posted, last_sequence), "{as_of}");
    }
    let long = entries(&mut client, "references-long").await;
    assert_eq!(long.iter().map(|entry| entry.reference.len()).collect::<Vec<_>>(), [32 * 1_024; 3]);
    for odd in
        ["references-odd", "types-other", "times-mixed", "amount-whole-range", "name\"x", "name\\x", "\\N"]
    {
        assert!(!entries(&mut client, odd).await.is_empty(), "{odd}");
    }
    assert_eq!(account(&mut client, "balance-only-most", None).await, (i64::MAX, 1));
    book.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_goes_on_after_its_history() {
    let (_, book) = imported(1_000).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    let (charged, _) = client.charge(charge("stripe-once", "job-1", USD)).await.answered();
    assert_eq!((charged.sequence, charged.balance_after.unwrap().posted_micro_usd), (3, 2 * USD));
    let too_much = client.charge(charge("stripe-once", "job-2", 2 * USD + 1)).await;
    assert_eq!(reason(too_much), (Code::FailedPrecondition, "INSUFFICIENT_FUNDS".into()));

    // The charge of two dollars from before is given back in two parts, and not more of it.
    let refund = |key: &str, micro_usd| RefundRequest {
        idempotency_key: key.into(),
        account_id: "stripe-once".into(),
        amount_micro_usd: micro_usd,
        charge: Some(Charge::ChargeSequence(2)),
        ..Default::default()
    };
    let (first, _) = client.refund(refund("refund-1", USD)).await.answered();
    assert_eq!((first.sequence, first.refunded_sequence), (4, 2));
    let too_much = client.refund(refund("refund-2", USD + 1)).await;
    assert_eq!(reason(too_much), (Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE".into()));
    let (second, _) = client.refund(refund("refund-3", USD)).await.answered();
    assert_eq!((second.sequence, second.balance_after.unwrap().posted_micro_usd), (5, 4 * USD));

    // A charge that gave money, as no charge should, has nothing to give back.
    let of_credit = RefundRequest { account_id: "types-ours-wrong-sign".into(), ..refund("refund-4", 1) };
    let nothing = client.refund(of_credit).await;
    assert_eq!(reason(nothing), (Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE".into()));
    // What is at its end cannot be passed, and what is in debt pays it first.
    let full: CreditRequest = deposit("amount-most", "order-1", 1);
    assert_eq!(reason(client.credit(full).await), (Code::FailedPrecondition, "BALANCE_OVERFLOW".into()));
    let debt: AdminCreditRequest = grant("balance-only-below-zero", "grant-1", USD);
    let (granted, _) = client.admin_credit(debt).await.answered();
    assert_eq!((granted.sequence, granted.balance_after.unwrap().posted_micro_usd), (2, -8 * USD));
    book.check().await;
    audit(&book).await;
}
