//! What an operator does, and that it is done once: pressed twice, sent again, after an answer that was lost.

use billing::grpc::proto::{Account, AccountState, Entry};
use rustix::process::Signal;

use super::{browser::Browser, desk::Desk, http::post, in_a_browser, signing_in::signed_in};
use crate::support::*;

async fn account(desk: &Desk, id: &str) -> Account {
    desk.client().await.get_account(desk.call(get_account(id))).await.unwrap().into_inner().account.unwrap()
}

async fn newest_entry(desk: &Desk, id: &str) -> Entry {
    let page = desk.client().await.list_entries(desk.call(list_entries(id))).await.unwrap().into_inner();
    page.entries[0].clone()
}

fn posted(account: &Account) -> i64 {
    account.balance.unwrap().posted_micro_usd
}

/// Fills in the form of a grant, up to the page before it is done.
async fn prepare_grant(browser: &Browser, desk: &Desk, amount: &str) {
    browser.open(&desk.at("/account?id=ann")).await;
    browser.click_link("Grant money…").await;
    browser.fill("#amount", amount).await;
    browser.fill("#reason", "goodwill after an outage").await;
    browser.click(".fields button").await;
    assert_eq!(browser.heading().await, "Grant money: look once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_clicked_twice_and_sent_again_is_one_entry_and_the_page_says_so() {
    in_a_browser(&[], async |_, desk| {
        desk.client().await.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        let rounds = [
            (true, ["5.00 USD", "7.50 USD"], (2, 7_500_000)),
            (false, ["7.50 USD", "10.00 USD"], (3, 10_000_000)),
        ];
        for (runs_scripts, before_and_after, expected) in rounds {
            let is = async || {
                let account = account(desk, "ann").await;
                (account.last_sequence, posted(&account))
            };
            let browser = Browser::start(runs_scripts).await;
            desk.sign_in(&browser, &desk.admin).await;
            prepare_grant(&browser, desk, "2.5").await;
            let shown = browser.text().await;
            for part in before_and_after.into_iter().chain(["Decided by", "admin"]) {
                assert!(shown.contains(part), "{part}: {shown}");
            }
            browser.double_click("button.do").await;
            browser.sees("Posted changed by").await;
            let key = browser.heading().await;
            assert_eq!(is().await, expected);

            browser.back().await;
            assert_eq!(browser.heading().await, "Grant money: look once more");
            browser.click("button.do").await;
            browser.sees("This had been done already").await;
            assert_eq!(browser.heading().await, key, "it is the same operation");
            assert_eq!(is().await, expected);
        }
        let entry = newest_entry(desk, "ann").await;
        assert_eq!((entry.actor.as_str(), entry.caller.as_str()), ("admin", "admin"));
        assert_eq!(entry.reason, "goodwill after an outage");
        assert!(entry.idempotency_key.starts_with("console-grant-"), "{}", entry.idempotency_key);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_beyond_the_rest_is_refused_in_the_words_of_the_service() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        client.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        client.charge(desk.call(charge("ann", "job-1", 3_000_000))).await.answered();
        client.refund(desk.call(refund("ann", "refund-1", 1_000_000, "job-1"))).await.answered();
        let browser = desk.sit(&desk.all).await;
        browser.open(&desk.at("/entry?account=ann&sequence=2")).await;
        browser.click_link("Refund…").await;
        assert_eq!(
            browser.find("#amount").await.prop("value").await.unwrap().unwrap(),
            "2.00",
            "what is left"
        );
        browser.fill("#amount", "2.000001").await;
        browser.fill("#reason", "the job failed").await;
        browser.click(".fields button").await;
        browser.click("button.do").await;
        browser.sees("REFUND_EXCEEDS_CHARGE").await;
        let said = client
            .refund(desk.call(refund("ann", "refund-2", 2_000_001, "job-1")))
            .await
            .unwrap_err()
            .message()
            .to_owned();
        let shown = browser.text().await;
        for part in
            [said.as_str(), "refundable", "2.00 USD", "Request id", "console-", "Nothing has happened"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let request_id = browser.text_of(".problem dl div:nth-child(2) dd").await;
        assert!(request_id.starts_with("console-"), "{request_id}");
        browser.click_link("Change the form").await;
        assert_eq!(browser.find("#amount").await.prop("value").await.unwrap().unwrap(), "2.000001");
        assert_eq!(account(desk, "ann").await.last_sequence, 3);

        assert_eq!(browser.find("#reason").await.prop("value").await.unwrap().unwrap(), "the job failed");
        browser.fill("#amount", "2").await;
        browser.click(".fields button").await;
        browser.click("button.do").await;
        browser.sees("Done.").await;

        browser.back().await; // to do something else under the key of what was done is refused, and leads to that
        browser.click_link("Change the form").await;
        browser.fill("#amount", "1").await;
        browser.click(".fields button").await;
        browser.click("button.do").await;
        browser.sees("IDEMPOTENCY_KEY_REUSED").await;
        browser.click_link("What was done before").await;
        browser.sees("Posted changed by").await;
        assert_eq!(posted(&account(desk, "ann").await), 5_000_000);
        let entry = newest_entry(desk, "ann").await;
        assert_eq!((entry.refunded_sequence, entry.reference.as_str()), (2, "the job failed"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_frozen_reopened_given_a_limit_reversed_and_closed_for_a_reason() {
    in_a_browser(&[], async |_, desk| {
        desk.client().await.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        let browser = desk.sit(&desk.all).await;
        let act = async |page: &str, link: &str, amount: Option<&str>, choice: Option<(&str, &str)>| {
            browser.open(&desk.at(page)).await;
            browser.click_link(link).await;
            if let Some(amount) = amount {
                browser.fill("#amount", amount).await;
            }
            if let Some((field, value)) = choice {
                browser.choose(field, value).await;
            }
            browser.fill("#reason", "a dispute").await;
            browser.click(".fields button").await;
            browser.click("button.do").await;
            browser.sees("Done.").await;
            account(desk, "ann").await
        };
        let page = "/account?id=ann";
        assert_eq!(act(page, "Freeze…", None, None).await.state(), AccountState::Frozen);
        assert!({
            browser.open(&desk.at(page)).await;
            browser.text().await.contains("frozen")
        });
        assert_eq!(act(page, "Reopen…", None, None).await.state(), AccountState::Active);
        assert_eq!(
            act(page, "Set debt limit…", Some("7.5"), None).await.debt_limit_micro_usd,
            Some(7_500_000)
        );
        assert_eq!(act(page, "Set debt limit…", Some(""), None).await.debt_limit_micro_usd, None);
        let policy = Some(("#shortfall", "SHORTFALL_POLICY_REJECT"));
        let reversed = act("/entry?account=ann&sequence=1", "Reverse…", Some("1.5"), policy).await;
        assert_eq!(posted(&reversed), 3_500_000);
        let closed = act(page, "Close…", None, None).await;
        assert_eq!((closed.state(), posted(&closed)), (AccountState::Closed, 0));
        browser.open(&desk.at(page)).await;
        assert_eq!(browser.count(".actions a").await, 1, "it can be reopened, and nothing else");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_closes_an_account_over_money_that_came_after_they_had_looked() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        client.credit(desk.call(deposit("ann", "order-1", 5))).await.answered();
        let browser = desk.sit(&desk.admin).await;
        browser.open(&desk.at("/act/close?account=ann")).await;
        browser.fill("#reason", "a wish").await;
        client.credit(desk.call(deposit("ann", "order-2", 5))).await.answered();
        browser.click(".fields button").await;
        browser.click("button.do").await;
        browser.sees("FORFEIT_MISMATCH").await;
        assert_eq!(account(desk, "ann").await.state(), AccountState::Active);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_offered_nothing_and_what_is_forged_is_refused_by_the_service() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        client.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        client.charge(desk.call(charge("ann", "job-1", 1))).await.answered();
        let browser = desk.sit(&desk.reader).await;
        for page in ["/account?id=ann", "/entry?account=ann&sequence=1", "/entry?account=ann&sequence=2"] {
            browser.open(&desk.at(page)).await;
            assert_eq!(browser.count(".actions, a[href^='/act']").await, 0, "{page}");
        }
        for action in ["grant", "freeze", "reopen", "close", "debt-limit", "refund", "reverse"] {
            browser.open(&desk.at(&format!("/act/{action}?account=ann&sequence=1"))).await;
            assert_eq!(browser.count("form.fields").await, 0, "{action}");
        }
        let (cookie, form_token) = signed_in(&desk.console, &desk.reader).await;
        let form = format!("account=ann&key=grant-1&amount=1&reason=r&forfeit=0&form_token={form_token}");
        for action in ["grant", "freeze", "reopen", "close", "debt-limit"] {
            let sent = post(&desk.at(&format!("/act/{action}")), Some(&cookie), &form).await;
            assert_eq!(sent.status, 403, "{action}: {sent:?}");
            assert!(
                sent.body.contains("PERMISSION_DENIED") && sent.body.contains("reader has reader"),
                "{sent:?}"
            );
        }
        assert_eq!(account(desk, "ann").await.last_sequence, 2);

        let grants = desk.sit(&desk.admin).await;
        grants.open(&desk.at("/entry?account=ann&sequence=1")).await;
        assert_eq!(grants.count(".actions").await, 0, "a deposit is a coordinator's to reverse");
        grants.open(&desk.at("/account?id=ann")).await;
        assert_eq!(grants.count(".actions a").await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_service_is_away_pages_say_so_and_when_it_is_back_the_same_form_is_done_once() {
    on_a_book(async |book| {
        if let Some(why) = super::browser::missing() {
            return println!("skipped: {why}");
        }
        let mut desk = Desk::set(book, &[]);
        desk.client().await.credit(desk.call(deposit("ann", "order-1", 5_000_000))).await.answered();
        let browser = Browser::start(false).await;
        desk.sign_in(&browser, &desk.admin).await;
        prepare_grant(&browser, &desk, "1").await;

        desk.service.signal(Signal::STOP); // the answer is lost; what was sent may be done all the same
        browser.click("button.do").await;
        browser.sees("Nobody knows yet whether it has happened").await;
        desk.service.signal(Signal::CONT);
        browser.click("button.do").await;
        browser.sees("Posted changed by").await;
        assert_eq!(posted(&account(&desk, "ann").await), 6_000_000);

        prepare_grant(&browser, &desk, "2").await;
        desk.stop_service();
        browser.click("button.do").await;
        browser.sees("Nobody knows yet whether it has happened").await;
        browser.open(&desk.at("/account?id=ann")).await;
        browser.sees("Nothing could be read. Try again in a moment.").await;
        browser.back().await;
        desk.start_service(book);
        browser.back().await;
        browser.click("button.do").await;
        browser.sees("Done.").await;
        let account = account(&desk, "ann").await;
        assert_eq!((account.last_sequence, posted(&account)), (3, 8_000_000));
    })
    .await;
}
