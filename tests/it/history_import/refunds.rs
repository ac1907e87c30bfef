//! Refunds of charges from before: history gave back what it does not say of which charge, and nobody gives it back again.

use std::fmt::Write as _;

use billing::grpc::proto::{RefundRequest, refund_request::Charge};
use tonic::Code;

use super::{
    command::{audit, import},
    old_coordinator::OldCoordinator,
};
use crate::support::*;

/// A cent, in micro-USD.
const CENT: i64 = 10_000;

/// The rows of an account, by type and cents.
type Rows<'a> = &'a [(&'a str, i64)];

/// An account, its rows, what its balance has beside them, and how much of which entry can be refunded: all in cents.
type Case<'a> = (&'a str, Rows<'a>, i64, &'a [(i64, i64)]);

/// The book of an import of accounts, each with ten dollars and some rows after that; and then so many cents more or less than
/// these come to.
async fn imported(accounts: &[(&str, Rows<'_>, i64)]) -> TestBook {
    let old = OldCoordinator::with_history(100).await;
    let mut sql = String::new();
    for (account, rows, missing) in accounts {
        let mut balance = 0;
        for (kind, cents) in [("deposit", 1_000)].iter().chain(*rows) {
            let micro_usd = cents * CENT;
            balance += micro_usd;
            write!(
                sql,
                "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after)
                 VALUES ('{account}', '{kind}', {micro_usd}, {balance});"
            )
            .unwrap();
        }
        let balance = balance + missing * CENT;
        write!(sql, "INSERT INTO balances VALUES ('{account}', {balance}, 0, now());").unwrap();
    }
    old.run(&sql).await;
    let book = TestBook::create().await;
    import(&old, &book).await;
    book
}

fn refund_of(account: &str, key: &str, micro_usd: i64, sequence: i64) -> RefundRequest {
    let charge = Some(Charge::ChargeSequence(sequence));
    RefundRequest { charge, ..refund(account, key, micro_usd, "") }
}

/// What can be refunded of an imported charge, in micro-USD: what a refund of more is told.
async fn refundable(client: &mut Client, account: &str, sequence: i64) -> i64 {
    let key = format!("all-of-{sequence}-{:x}", fastrand::u64(..));
    let too_much = client.refund(refund_of(account, &key, 1_000_000 * CENT, sequence)).await;
    let metadata = refused(too_much, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
    metadata["refundable_micro_usd"].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_history_gave_back_counts_against_its_newest_charge_and_is_not_given_back_again() {
    let book = imported(&[("ann", &[("charge", -150), ("charge", -150), ("refund", 80)], 0)]).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    assert_eq!(refundable(&mut client, "ann", 2).await, 150 * CENT);
    assert_eq!(refundable(&mut client, "ann", 3).await, 70 * CENT);
    client.refund(refund_of("ann", "refund-1", 30 * CENT, 3)).await.answered();
    let beyond = client.refund(refund_of("ann", "refund-2", 40 * CENT + 1, 3)).await;
    let metadata = refused(beyond, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
    assert_eq!(metadata["refundable_micro_usd"], (40 * CENT).to_string());
    client.refund(refund_of("ann", "refund-3", 40 * CENT, 3)).await.answered();
    client.refund(refund_of("ann", "refund-4", 150 * CENT, 2)).await.answered();
    for sequence in [2, 3] {
        assert_eq!(refundable(&mut client, "ann", sequence).await, 0, "{sequence}");
    }
    assert_eq!(available(&mut client, "ann").await, 1_000 * CENT, "all that was ever taken is back, once");
    book.check().await;
    audit(&book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_at_once_of_all_charges_from_before_give_back_what_history_did_not() {
    let book = imported(&[("ann", &[("charge", -150), ("charge", -150), ("refund", 80)], 0)]).await;
    let servers = [book.serve().await, book.serve().await];
    let clients = [servers[0].client().await, servers[1].client().await];
    let answers = at_once(&clients, 48, |mut client, caller| async move {
        let sequence = if caller % 3 == 0 { 2 } else { 3 };
        client.refund(refund_of("ann", &format!("refund-{caller}"), 10 * CENT, sequence)).await
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 15 + 7);
    assert_eq!(available(&mut clients[0].clone(), "ann").await, 1_000 * CENT);
    book.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_charge_from_before_is_refundable_as_far_as_history_cannot_have_given_it_back() {
    let most = i64::MAX / CENT;
    let cases: &[Case<'_>] = &[
        ("nothing-back", &[("charge", -150), ("charge", -150)], 0, &[(2, 150), (3, 150)]),
        (
            "more-than-the-newest",
            &[("charge", -150), ("charge", -150), ("refund", 200)],
            0,
            &[(2, 100), (3, 0)],
        ),
        ("more-than-all", &[("charge", -150), ("refund", 500)], 0, &[(2, 0)]),
        ("in-parts", &[("charge", -150), ("refund", 30), ("refund", 50)], 0, &[(2, 70)]),
        ("taken-later", &[("charge", -150), ("refund", 80), ("charge", -150)], 0, &[(2, 150), (4, 70)]),
        ("of-another-type", &[("charge", -150), ("refund", 80), ("withdrawal", -50)], 0, &[(2, 120), (4, 0)]),
        // Nobody refunds an adjustment, or what an operator took: neither stands before a charge.
        ("adjusted", &[("charge", -150), ("refund", 80)], -200, &[(2, 70)]),
        ("by-an-operator", &[("charge", -150), ("refund", 80), ("admin_credit", -200)], 0, &[(2, 70)]),
        ("of-the-wrong-sign", &[("charge", -150), ("charge", 200), ("refund", 80)], 0, &[(2, 70), (3, 0)]),
        ("whole-range", &[("charge", 1_000 - most), ("refund", most - 1_000)], 0, &[(2, 0)]),
    ];
    let accounts: Vec<_> =
        cases.iter().map(|(account, rows, missing, _)| (*account, *rows, *missing)).collect();
    let book = imported(&accounts).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    for (account, _, _, expected) in cases {
        for (sequence, cents) in *expected {
            assert_eq!(
                refundable(&mut client, account, *sequence).await,
                cents * CENT,
                "{account}: {sequence}"
            );
        }
    }
    book.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_of_this_ledger_is_refundable_in_full_whatever_history_gave_back() {
    let book = imported(&[("ann", &[("charge", -150), ("refund", 80)], 0)]).await;
    let server = book.serve().await;
    let mut client = server.client().await;
    let (charged, _) = client.charge(charge("ann", "job-1", 100 * CENT)).await.answered();
    assert_eq!(refundable(&mut client, "ann", charged.sequence).await, 100 * CENT);
    assert_eq!(refundable(&mut client, "ann", 2).await, 70 * CENT, "it is no charge from before");
    book.check().await;
}
