//! What a statement shows, saved as CSV.

use billing::grpc::proto::{CaptureRequest, CreditRequest, EntryType, Leg, RefundRequest};

use super::{http::get, on_a_desk, signing_in::signed_in};
use crate::support::{process::billing, waiting::printed, *};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_line_by_line_what_billing_export_writes() {
    on_a_desk(&[], async |book, desk| {
        let mut client = desk.client().await;
        let formula = CreditRequest {
            reference: "=HYPERLINK(\"http://evil\")".into(),
            metadata: [("+1".to_owned(), "\u{202e}\n\"".to_owned())].into(),
            ..stripe_deposit("ann", "stripe-1", 5_000_000, "cs_1")
        };
        client.credit(desk.call(formula)).await.answered();
        client.reserve(desk.call(reserve("ann", "job-1", 2_000_000))).await.answered();
        let leg = Leg {
            account_id: "bob".into(),
            amount_micro_usd: 600_000,
            entry_type: EntryType::Earning.into(),
            grants_withdrawable: false,
        };
        let captured =
            CaptureRequest { legs: vec![leg], ..capture("ann", "job-1-capture", "job-1", 1_000_000) };
        client.capture(desk.call(captured)).await.answered();
        let back = RefundRequest { legs: 2, ..refund("ann", "refund-1", 300_000, "job-1-capture") };
        client.refund(desk.call(back)).await.answered();
        client.reverse(desk.call(reverse("ann", "reversal-1", 1_000_000, "stripe-1"))).await.answered();
        client.admin_credit(desk.call(grant("ann", "grant-1", 5))).await.answered();
        let frozen = billing::grpc::proto::AccountState::Frozen;
        client.set_account(desk.call(set_account("ann", "freeze-1", frozen))).await.answered();
        client.withdraw(desk.call(withdraw("bob", "payout-1", 1))).await.answered();

        let (cookie, _) = signed_in(&desk.console, &desk.reader).await;
        for account in ["ann", "bob"] {
            let saved = get(&desk.at(&format!("/entries.csv?id={account}")), Some(&cookie), &[]).await;
            assert_eq!(saved.header("content-disposition"), Some("attachment; filename=\"entries.csv\""));
            let exported = ["export", "--format", "csv", "--account", account, "--database-url", &book.url];
            let exported = printed(billing(&exported).await);
            assert_eq!(lines(&saved.body), lines(&exported), "{account}");
        }
        let charges = get(&desk.at("/entries.csv?id=ann&type=ENTRY_TYPE_CAPTURE"), Some(&cookie), &[]).await;
        assert_eq!(charges.body.lines().count(), 2, "{charges:?}");
    })
    .await;
}

/// The lines of a table: its names first, then its rows in any order. No field has a line break here but one in metadata.
fn lines(table: &str) -> Vec<&str> {
    let (names, rows) = table.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.split('\n').collect();
    rows.sort_unstable();
    [vec![names], rows].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_is_saved_to_its_end_or_cut_off_so_that_it_is_seen() {
    on_a_desk(&[], async |book, desk| {
        let columns = [("entry_type", "2"), ("create_time", "now()"), ("effective_time", "now()")];
        book.import("ann", 5_000, 7, &columns).await;
        let (cookie, _) = signed_in(&desk.console, &desk.reader).await;
        let saved = get(&desk.at("/entries.csv?id=ann"), Some(&cookie), &[]).await;
        assert_eq!(saved.body.lines().count(), 5_001);
        let missing = get(&desk.at("/entries.csv?id=nobody"), Some(&cookie), &[]).await;
        assert_eq!(missing.status, 404, "{missing:?}");
    })
    .await;
}
