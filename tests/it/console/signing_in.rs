//! Signing in and out, sessions that are over, and forms of others.

use super::{
    browser::Browser,
    desk::Desk,
    http::{Reply, get, post},
    in_a_browser, on_a_desk,
};
use crate::support::{
    process::{Process, new_token},
    waiting::until,
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_with_a_token_that_is_shown_nowhere_and_signs_out() {
    in_a_browser(&[], async |_, desk| {
        let browser = Browser::start(true).await;
        browser.open(&desk.at("/account?id=ann")).await;
        assert_eq!(browser.heading().await, "Sign in");
        browser.fill("#token", &new_token("stranger", "admin").0).await;
        browser.click("main button").await;
        browser.sees("The service does not know this token.").await;
        browser.fill("#token", &desk.admin).await;
        browser.click("main button").await;
        browser.sees("There is no such thing").await; // no account yet: it goes on where it began
        assert!(browser.url().await.ends_with("/account?id=ann"), "{}", browser.url().await);
        browser.open(&desk.at("/")).await;
        assert!(browser.text().await.contains("admin (admin)"), "{}", browser.text().await);
        assert!(!browser.source().await.contains(&desk.admin));

        let cookies = browser.cookies().await;
        let [cookie] = &cookies[..] else { panic!("{cookies:?}") };
        assert_eq!((cookie.name(), cookie.http_only()), ("billing-console", Some(true)));
        assert_eq!(cookie.same_site().unwrap().to_string(), "Strict");
        assert!(!cookie.value().contains(&desk.admin[8..20]));

        browser.click(".who button").await;
        browser.sees("Bearer token").await;
        browser.open(&desk.at("/")).await;
        assert_eq!(browser.heading().await, "Sign in");
        for said in desk.console.log().all() {
            assert!(!said.contains(&desk.admin), "{said}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_nothing_is_signed_out_and_who_does_something_is_not() {
    in_a_browser(&["--idle-timeout", "3s"], async |_, desk| {
        let browser = Browser::start(false).await;
        desk.sign_in(&browser, &desk.reader).await;
        for _ in 0..4 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            browser.open(&desk.at("/accounts")).await;
            assert_eq!(browser.heading().await, "Accounts");
        }
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        browser.open(&desk.at("/accounts")).await;
        assert!(browser.text().await.contains("You have been signed out"), "{}", browser.text().await);
        desk.sign_in(&browser, &desk.reader).await;

        let scripted = desk.sit(&desk.reader).await;
        until("the page goes away by itself", async || {
            scripted.text().await.contains("You have been signed out").then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_token_is_taken_away_is_told_so_by_the_next_page() {
    on_a_desk(&[], async |_, desk| {
        let (cookie, _) = signed_in(&desk.console, &desk.admin).await;
        desk.credentials.write("credentials", &new_token("other", "reader").1);
        until("the service does not know the token any more", async || {
            let page = get(&desk.at("/accounts"), Some(&cookie), &[]).await;
            let is_told = page.body.contains("The service does not know your token");
            (page.status == 401 && is_told && page.body.contains("/sign-in")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_session_or_of_another_site_changes_nothing() {
    on_a_desk(&[], async |_, desk| {
        desk.client().await.credit(desk.call(deposit("ann", "order-1", 5))).await.answered();
        let (mine, form_token) = signed_in(&desk.console, &desk.admin).await;
        let (_, of_others) = signed_in(&desk.console, &desk.admin).await;
        let grant = "account=ann&key=grant-1&amount=1&reason=r&form_token=";
        for wrong in ["", "x", &of_others] {
            let sent = post(&desk.at("/act/grant"), Some(&mine), &format!("{grant}{wrong}")).await;
            assert_eq!(sent.status, 403, "{sent:?}");
            assert!(sent.body.contains("Nothing has happened"), "{sent:?}");
        }
        let sent = post(&desk.at("/act/grant"), None, &format!("{grant}{form_token}")).await;
        assert_eq!(sent.status, 403, "{sent:?}");
        let sent = post(&desk.at("/sign-out"), Some(&mine), "form_token=x").await;
        assert_eq!(sent.status, 403, "{sent:?}");
        let sent =
            post(&desk.at("/sign-in"), None, &format!("token={}&form_token={form_token}", desk.admin)).await;
        assert_eq!(sent.status, 403, "{sent:?}");
        let account = account_of(desk, "ann").await;
        assert_eq!(account.last_sequence, 1);

        let sent = post(&desk.at("/act/grant"), Some(&mine), &format!("{grant}{form_token}")).await;
        assert_eq!(sent.status, 303, "the right one is sent: {sent:?}");
        assert_eq!(account_of(desk, "ann").await.last_sequence, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_another_site_leads_to_its_page_after_all() {
    in_a_browser(&[], async |_, desk| {
        let elsewhere = get(&desk.at("/account?id=ann"), None, &[("Sec-Fetch-Site", "cross-site")]).await;
        assert_eq!((elsewhere.status, elsewhere.header("refresh")), (200, Some("0; url=/account?id=ann")));
        let here = get(&desk.at("/account?id=ann"), None, &[("Sec-Fetch-Site", "same-origin")]).await;
        assert_eq!(
            (here.status, here.header("location")),
            (303, Some("/sign-in?next=%2Faccount%3Fid%3Dann"))
        );

        let browser = Browser::start(false).await;
        let link = desk.at("/accounts");
        let ticket = format!("data:text/html,<a href='{link}'>the accounts of this ticket</a>");
        browser.open(&ticket).await;
        browser.click("a").await;
        browser.sees("Bearer token").await;
        browser.fill("#token", &desk.reader).await;
        browser.click("main button").await;
        browser.sees("No accounts.").await;
        browser.open(&ticket).await;
        browser.click("a").await;
        browser.sees("No accounts.").await; // still signed in
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_a_page_may_load_and_that_it_is_not_kept() {
    on_a_desk(&[], async |_, desk| {
        let (mine, _) = signed_in(&desk.console, &desk.reader).await;
        for path in
            ["/", "/accounts", "/sign-in", "/nowhere", "/account?id=nobody", "/console.css", "/console.js"]
        {
            let answer = get(&desk.at(path), Some(&mine), &[]).await;
            let policy =
                answer.header("content-security-policy").unwrap_or_else(|| panic!("{path}: {answer:?}"));
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
            assert!(
                policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"),
                "{policy}"
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            let kept = if path.contains('.') { "max-age=300" } else { "no-store" };
            assert_eq!(answer.header("cache-control"), Some(kept), "{path}");
            if path == "/nowhere" {
                let is_framed = answer.body.contains("id=\"find\"");
                assert!(
                    answer.status == 404 && is_framed && answer.body.contains("There is no such page"),
                    "{answer:?}"
                );
            }
            for loaded in ["src=\"http", "href=\"http", "style=\"", "onclick", "<style"] {
                assert!(!answer.body.contains(loaded), "{path} has {loaded}");
            }
        }
    })
    .await;
}

/// The cookie and the form token of a session.
pub async fn signed_in(console: &Process, token: &str) -> (String, String) {
    let at = |path: &str| format!("{}{path}", console.url());
    let form = get(&at("/sign-in"), None, &[]).await;
    let sent = format!("token={token}&form_token={}", form_token(&form));
    let answer = post(&at("/sign-in"), Some(&form.cookie().unwrap()), &sent).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.cookie().unwrap();
    let page = get(&at("/accounts"), Some(&cookie), &[]).await;
    let form_token = form_token(&page);
    (cookie, form_token)
}

fn form_token(page: &Reply) -> String {
    let (_, rest) =
        page.body.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("{page:?}"));
    rest.split('"').next().unwrap().to_owned()
}

async fn account_of(desk: &Desk, id: &str) -> billing::grpc::proto::Account {
    desk.client().await.get_account(desk.call(get_account(id))).await.unwrap().into_inner().account.unwrap()
}
