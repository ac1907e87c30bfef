//! What the box that finds things leads to, and what an account's page shows of its parts.

use billing::grpc::proto::{CaptureRequest, CreditRequest, EntryType, Leg};

use super::in_a_browser;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn one_box_leads_to_accounts_payments_keys_and_reservations() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        let names = ["cs_test_1", "pi_1", "dp_1"].map(str::to_owned).to_vec();
        let paid = CreditRequest {
            external_ids: names,
            ..stripe_deposit("ann", "stripe-cs_test_1", 5_000_000, "cs_test_1")
        };
        client.credit(desk.call(paid)).await.answered();
        client.credit(desk.call(deposit("ann-2", "order-2", 1))).await.answered();
        client.reserve(desk.call(reserve("ann", "job-7", 900_000))).await.answered();
        client.charge(desk.call(charge("ann", "job-8", 9_000_000))).await.unwrap_err();

        let browser = desk.sit(&desk.reader).await;
        let find = async |what: &str| {
            browser.fill("#find", what).await;
            browser.click(".find button").await;
            browser.heading().await
        };
        for id in ["cs_test_1", "pi_1", " dp_1 "] {
            assert_eq!(find(id).await, "Entry 1 of account ann", "{id}");
        }
        assert_eq!(find("ann").await, "Account ann");
        assert_eq!(find("job-7").await, "Reservation job-7", "of the account whose page it is");
        browser.open(&desk.at("/")).await;
        assert_eq!(find("job-7").await, "Find job-7");
        assert!(browser.text().await.contains("an account id, a blank, and an idempotency key"));
        assert_eq!(find("ann job-7").await, "Reservation job-7");
        assert_eq!(find("ann stripe-cs_test_1").await, "Operation stripe-cs_test_1");
        assert_eq!(find("ann job-8").await, "Operation job-8");
        assert!(browser.text().await.contains("INSUFFICIENT_FUNDS"), "{}", browser.text().await);
        assert_eq!(find("an").await, "Find an");
        let found = browser.text().await;
        assert!(found.contains("ann\n") || found.contains("ann ") && found.contains("ann-2"), "{found}");
        assert_eq!(find("ann-").await, "Account ann-2", "the only one that begins so");
        assert_eq!(find("nobody at all ever").await, "Find nobody at all ever");
        assert_eq!(find("<b>é\u{202e}").await, "Find <b>éU+202E");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_says_what_holds_its_money_and_entries_lead_to_what_belongs_to_them() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        client.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        client.reserve(desk.call(reserve("ann", "job-1", 1_500_000))).await.answered();
        client.reserve(desk.call(reserve("ann", "job-2", 250_001))).await.answered();
        let leg = |to: &str, micro_usd, entry_type: EntryType| Leg {
            account_id: to.into(),
            amount_micro_usd: micro_usd,
            entry_type: entry_type.into(),
            grants_withdrawable: false,
        };
        let legs = vec![leg("bob", 600_000, EntryType::Earning), leg("fees", 400_000, EntryType::Fee)];
        let captured = CaptureRequest { legs, ..capture("ann", "job-1-capture", "job-1", 1_000_000) };
        client.capture(desk.call(captured)).await.answered();
        let back = billing::grpc::proto::RefundRequest {
            legs: 1,
            ..refund("ann", "refund-1", 300_000, "job-1-capture")
        };
        client.refund(desk.call(back)).await.answered();
        client.reverse(desk.call(reverse("ann", "reversal-1", 1_000_000, "order-1"))).await.answered();

        let browser = desk.sit(&desk.reader).await;
        browser.open(&desk.at("/account?id=ann")).await;
        let shown = browser.text().await;
        for part in [
            "Available: 3.049999 USD",
            "3.30 USD",
            "−0.250001 USD",
            "job-2",
            "freed",
            "as the service is configured",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let held = browser.text_of("#available ~ .scroll").await;
        assert!(held.contains("job-2") && !held.contains("job-1"), "it holds nothing any more: {held}");
        assert_eq!(browser.count("svg.chart path").await, 2);

        browser.open(&desk.at("/entry?account=ann&sequence=4")).await;
        let shown = browser.text().await;
        for part in [
            "capture, −1.00 USD",
            "Undone since",
            "0.30 USD",
            "Undone by",
            "job-1",
            "bob",
            "fees",
            "+0.60 USD",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        browser.click_link("job-1").await;
        assert_eq!(browser.heading().await, "Reservation job-1");
        assert_eq!(browser.count("main tbody tr").await, 2, "it was opened and captured");
        browser.back().await;
        browser.click("main a[href='/entry?account=bob&sequence=1']").await;
        assert_eq!(browser.heading().await, "Entry 1 of account bob");
        browser.click("main a[href='/entry?account=ann&sequence=4']").await;
        assert_eq!(browser.heading().await, "Entry 4 of account ann");
        browser.click("main a[href='/entry?account=ann&sequence=5']").await;
        assert!(browser.text().await.contains("Gives back"), "the refund leads back");
        browser.open(&desk.at("/entry?account=ann&sequence=1")).await;
        browser.click("main a[href='/entry?account=ann&sequence=6']").await;
        assert!(browser.text().await.contains("Takes back"), "so does the reversal");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_filtered_and_its_pages_stay_as_they_are_while_entries_are_written() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        for number in 1..=120 {
            client.credit(desk.call(deposit("ann", &format!("order-{number}"), number))).await.answered();
        }
        client.charge(desk.call(charge("ann", "job-1", 5))).await.answered();
        let browser = desk.sit(&desk.reader).await;
        let first_entry = async || browser.text_of("#statement ~ .scroll tbody td").await;
        browser.open(&desk.at("/account?id=ann")).await;
        assert_eq!(first_entry().await, "121");
        client.charge(desk.call(charge("ann", "job-2", 5))).await.answered();
        browser.click_link("Older").await;
        assert_eq!(first_entry().await, "71", "not moved by what came meanwhile");
        browser.click_link("Older").await;
        assert_eq!((first_entry().await.as_str(), browser.count("a[rel=next]").await), ("21", 0));
        browser.click_link("Newest").await;
        assert_eq!(first_entry().await, "122");

        browser.choose("#type", "ENTRY_TYPE_CHARGE").await;
        browser.click(".filters button").await;
        assert_eq!(browser.count("#statement ~ .scroll tbody tr").await, 2);
        browser.open(&desk.at("/account?id=ann&from=2026-02-30")).await;
        assert!(browser.text().await.contains("“From” must be a date"), "{}", browser.text().await);
        browser.open(&desk.at("/account?id=ann&until=2000-01-01")).await;
        assert!(browser.text().await.contains("No entries."), "{}", browser.text().await);
    })
    .await;
}
