//! Every page: for whoever sees well or does not, in the light and in the dark, wide and narrow, and whatever callers wrote.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use billing::grpc::proto::{
    ChargeRequest, CreditRequest, EntryType, ExpiryPolicy, Leg, RefundRequest, ReserveRequest,
    ReverseRequest, SetAccountRequest, ShortfallPolicy,
};

use super::{browser::Browser, desk::Desk, in_a_browser};
use crate::support::*;

/// Where pictures for the documentation go when the test is told to make them.
const PICTURES: &str = "BILLING_CONSOLE_PICTURES";
/// A phone.
const NARROW: (u32, u32) = (360, 740);
const WIDE: (u32, u32) = (1_200, 900);

/// An account in which everything has happened, and some more beside it.
async fn let_everything_happen(desk: &Desk) {
    let mut client = desk.client().await;
    let names = ["cs_test_a1B2", "pi_3QxY", "ch_3QxY"].map(str::to_owned).to_vec();
    let paid = CreditRequest {
        external_ids: names,
        reference: "Checkout of 25 USD".into(),
        ..stripe_deposit("ann", "stripe-cs_test_a1B2", 25_000_000, "x")
    };
    client.credit(desk.call(paid)).await.answered();
    let note = [("model", "llama-70b"), ("tokens", "18210")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let job = ChargeRequest {
        reference: "batch of the night".into(),
        metadata: BTreeMap::from(note),
        legs: vec![
            Leg {
                account_id: "provider-7".into(),
                amount_micro_usd: 2_400_000,
                entry_type: EntryType::Earning.into(),
                grants_withdrawable: false,
            },
            Leg {
                account_id: "platform".into(),
                amount_micro_usd: 600_000,
                entry_type: EntryType::Fee.into(),
                grants_withdrawable: false,
            },
        ],
        ..charge("ann", "job-1", 3_000_000)
    };
    client.charge(desk.call(job)).await.answered();
    let back = RefundRequest {
        legs: 2,
        reference: "half of it failed".into(),
        ..refund("ann", "refund-job-1", 1_000_000, "job-1")
    };
    client.refund(desk.call(back)).await.answered();
    client.admin_credit(desk.call(grant("ann", "goodwill-1", 5_000_000))).await.answered();
    for (number, micro_usd) in [(2, 900_000), (3, 1_250_000)] {
        let hold = ReserveRequest {
            expiry_policy: ExpiryPolicy::Capture.into(),
            ..reserve("ann", &format!("job-{number}"), micro_usd)
        };
        client.reserve(desk.call(hold)).await.answered();
    }
    client.capture(desk.call(capture("ann", "job-2-capture", "job-2", 812_345))).await.answered();
    client.charge(desk.call(charge("ann", "job-4", 99_000_000))).await.unwrap_err();
    client.credit(desk.call(deposit("bob", "order-1", 2_000_000))).await.answered();
    client.charge(desk.call(charge("bob", "job-1", 1_500_000))).await.answered();
    let dispute = ReverseRequest {
        external_ids: vec!["dp_1".into()],
        reason: "disputed".into(),
        shortfall_policy: ShortfallPolicy::AllowDebt.into(),
        ..reverse("bob", "stripe-dp_1", 2_000_000, "order-1")
    };
    client.reverse(desk.call(dispute)).await.answered();
    let freeze = SetAccountRequest {
        reason: "a dispute".into(),
        ..set_account("bob", "freeze-1", billing::grpc::proto::AccountState::Frozen)
    };
    client.set_account(desk.call(freeze)).await.answered();
}

/// Every page, by a name for its picture.
const PAGES: [(&str, &str); 17] = [
    ("overview", "/"),
    ("accounts", "/accounts"),
    ("account", "/account?id=ann"),
    ("frozen", "/account?id=bob"),
    ("entry", "/entry?account=ann&sequence=2"),
    ("reservations", "/reservations?id=ann"),
    ("reservation", "/reservation?account=ann&id=job-2"),
    ("month", "/month?account=ann&month=MONTH"),
    ("operation", "/operation?account=ann&key=goodwill-1&said=before"),
    ("refused", "/operation?account=ann&key=job-4"),
    ("find", "/find?q=job-9"),
    ("grant", "/act/grant?account=ann&key=console-1"),
    ("wrong", "/act/grant?account=ann&key=console-1&amount=ten&reason=r&review=1"),
    ("review", "/act/grant?account=ann&key=console-1&amount=2.5&reason=goodwill+after+an+outage&review=1"),
    ("refund", "/act/refund?account=ann&sequence=2&key=console-2&amount=2.00"),
    ("reverse", "/act/reverse?account=ann&sequence=1&key=console-3&amount=25.00"),
    ("missing", "/account?id=nobody"),
];

fn path_of(page: &str) -> String {
    page.replace("MONTH", &jiff::Timestamp::now().to_string()[..7])
}

/// Opens the page that says what the service refused.
async fn be_refused(browser: &Browser, desk: &Desk) {
    let legs = "LEGS_POLICY_KEEP";
    let form =
        format!("/act/refund?account=ann&sequence=2&key=console-4&amount=99&reason=r&legs={legs}&review=1");
    browser.open(&desk.at(&form)).await;
    browser.click("button.do").await;
    browser.sees("REFUND_EXCEEDS_CHARGE").await;
}

/// The check of accessibility, as a script.
fn axe() -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/node/node_modules/axe-core/axe.min.js");
    fs::read_to_string(&path).map_err(|_| "axe-core is missing: run `make tools`".into())
}

/// What the check finds wrong with a page.
async fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe).await;
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, { resultTypes: ['violations'] }).then(found => done(found.violations.map(
            found => found.id + ': ' + found.nodes.map(node => node.html + ' ' + node.failureSummary).join('; '))),
            error => done([String(error)]));";
    let found = browser.run_async(script).await;
    found.as_array().unwrap().iter().map(|violation| violation.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_keeps_anybody_out_in_the_light_or_in_the_dark() {
    let axe = match axe() {
        Ok(axe) => axe,
        Err(why) => return println!("skipped: {why}"),
    };
    in_a_browser(&[], async |_, desk| {
        let_everything_happen(desk).await;
        let browser = Browser::start(true).await;
        let mut pages = vec![("sign-in", "/sign-in".to_owned())];
        pages.extend(PAGES.map(|(name, path)| (name, path_of(path))));
        for (name, path) in pages {
            if name == "overview" {
                desk.sign_in(&browser, &desk.all).await;
            }
            browser.open(&desk.at(&path)).await;
            for scheme in ["light", "dark"] {
                browser.prefer(scheme).await;
                assert_eq!(violations(&browser, &axe).await, [""; 0], "{name} in the {scheme}");
            }
        }
        be_refused(&browser, desk).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            assert_eq!(violations(&browser, &axe).await, [""; 0], "a refusal in the {scheme}");
        }
        browser.prefer("light").await;
        browser.run("document.querySelector('h1').style.color = '#ccc'").await;
        assert_ne!(violations(&browser, &axe).await, [""; 0], "the check finds what is wrong");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_a_phone() {
    in_a_browser(&[], async |_, desk| {
        let_everything_happen(desk).await;
        let browser = desk.sit(&desk.all).await;
        browser.resize(NARROW).await;
        for (name, path) in PAGES {
            browser.open(&desk.at(&path_of(path))).await;
            fits(&browser, name).await;
        }
        be_refused(&browser, desk).await;
        fits(&browser, "a refusal").await;
        browser.click(".who button").await;
        fits(&browser, "sign-in").await;
    })
    .await;
}

/// Fails if a page is wider than a phone, or has what no finger hits.
async fn fits(browser: &Browser, name: &str) {
    let width = browser.run("return document.documentElement.scrollWidth").await;
    assert_eq!(width, NARROW.0, "{name}");
    let small = "return [...document.querySelectorAll('main a.button, button, input, select')]
        .filter(it => it.offsetParent && it.type !== 'hidden' && it.getBoundingClientRect().height < 24).length";
    assert_eq!(browser.run(small).await, 0, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_every_page_are_made() {
    in_a_browser(&[], async |_, desk| {
        let dir = env::var_os(PICTURES).map(PathBuf::from);
        let_everything_happen(desk).await;
        let browser = desk.sit(&desk.all).await;
        for (name, path) in PAGES {
            for (size, scheme, suffix) in [(WIDE, "light", ""), (NARROW, "dark", "-phone")] {
                browser.resize(size).await;
                browser.prefer(scheme).await;
                browser.open(&desk.at(&path_of(path))).await;
                browser.resize((size.0, browser.height().await.clamp(size.1 / 2, 1_600))).await;
                let picture = browser.picture().await;
                assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5_000, "{name}{suffix}");
                if let Some(dir) = &dir {
                    fs::write(dir.join(format!("{name}{suffix}.png")), picture).unwrap();
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monthly_statement_is_printed_whole_and_without_what_is_for_the_screen_alone() {
    in_a_browser(&[], async |_, desk| {
        let_everything_happen(desk).await;
        let browser = desk.sit(&desk.reader).await;
        browser.print().await;
        browser.open(&desk.at(&path_of("/month?account=ann&month=MONTH"))).await;
        let shown = browser.text().await;
        for part in
            ["Statement of account ann", "Opening balance", "Stripe deposit", "+25.00 USD", "27.187655 USD"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        for part in ["Sign out", "Month before", "Overview"] {
            assert!(!shown.contains(part), "{part}: {shown}");
        }
        if let Some(dir) = env::var_os(PICTURES) {
            fs::write(PathBuf::from(dir).join("month-printed.png"), browser.picture().await).unwrap();
        }
    })
    .await;
}

/// What callers may write, and what of it must be seen.
const HOSTILE: [(&str, &str); 6] = [
    ("<script>alert(1)</script><img src=x onerror=alert(2)>", "<script>alert(1)</script>"),
    ("\u{202e}gnp.exe\u{2066}\u{200f}", "U+202Egnp.exeU+2066U+200F"),
    ("👩‍💻 emoji 🇺🇦", "👩‍💻 emoji 🇺🇦"),
    ("=HYPERLINK(\"http://evil\",\"x\")", "=HYPERLINK(\"http://evil\",\"x\")"),
    ("\"'><svg onload=alert(3)>{{7*7}}${7*7}", "\"'><svg onload=alert(3)>{{7*7}}${7*7}"),
    ("LONG", "xxxxxxxxxxxx"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_callers_write_is_shown_as_text_and_nothing_else() {
    in_a_browser(&[], async |_, desk| {
        let mut client = desk.client().await;
        let browser = desk.sit(&desk.all).await;
        for (number, (text, seen)) in HOSTILE.into_iter().enumerate() {
            let long = "x".repeat(1_024);
            let text = if text == "LONG" { &long } else { text };
            let short: String = text.chars().take(500).collect();
            let visible: String = text.chars().filter(char::is_ascii_graphic).take(100).collect();
            let id = format!("{number}{visible}");
            let (key, external) = (format!("key-{visible}"), format!("x{number}-{visible}"));
            let metadata = BTreeMap::from([(short.chars().take(16).collect(), short.clone())]);
            let paid = CreditRequest {
                reference: text.into(),
                metadata: metadata.clone(),
                ..stripe_deposit(&id, &key, 9, &external)
            };
            client.credit(desk.call(paid)).await.answered();
            let actor: String = short.chars().take(60).collect();
            let granted = billing::grpc::proto::AdminCreditRequest {
                actor,
                reason: text.into(),
                ..grant(&id, "g-1", 5)
            };
            client.admin_credit(desk.call(granted)).await.answered();
            let held = ReserveRequest {
                reference: text.into(),
                metadata,
                ..reserve(&id, &format!("job{visible}"), 2)
            };
            client.reserve(desk.call(held)).await.answered();
            let account = encoded(&id);
            let (job, key) = (encoded(&format!("job{visible}")), encoded(&key));
            let pages = [
                format!("/account?id={account}"),
                format!("/account?id={account}&reference={}", encoded(text)),
                format!("/entry?account={account}&sequence=1"),
                format!("/entry?account={account}&sequence=2"),
                format!("/entry?account={account}&sequence=3"),
                format!("/reservation?account={account}&id={job}"),
                format!("/operation?account={account}&key={key}"),
                format!("/find?q={}", encoded(&format!("{account} {text}"))),
                format!("/act/grant?account={account}&key=k&amount=1&reason={}&review=1", encoded(text)),
                format!(
                    "/act/grant?account={account}&key=k&amount={}&reason={}&review=1",
                    encoded(text),
                    encoded(text)
                ),
                format!("/month?account={account}&month=2026-01"),
            ];
            browser.resize(NARROW).await;
            for page in pages {
                browser.open(&desk.at(&page)).await;
                assert!(!browser.has_dialogue().await, "{page}");
                assert_eq!(browser.count("main script, main img, svg[onload]").await, 0, "{page}");
                let width = browser.run("return document.documentElement.scrollWidth").await;
                assert_eq!(width, NARROW.0, "{page}");
                let mut shown = browser.text().await;
                for field in ["input#find", "textarea", "input#reference", "input#amount"] {
                    if browser.count(field).await > 0 {
                        shown += &browser.find(field).await.prop("value").await.unwrap().unwrap_or_default();
                    }
                }
                if !page.starts_with("/month") && !page.contains("amount=1&") {
                    let is_shown = [seen, text, &visible[..visible.len().min(8)]]
                        .iter()
                        .any(|part| shown.contains(part));
                    assert!(is_shown, "{page}: {shown}");
                }
            }
            browser.open(&desk.at(&format!("/entry?account={account}&sequence=2"))).await;
            if let Some(dir) = env::var_os(PICTURES) {
                browser.resize((NARROW.0, browser.height().await)).await;
                fs::write(PathBuf::from(dir).join(format!("hostile-{number}.png")), browser.picture().await)
                    .unwrap();
            }
            assert!(browser.text().await.contains(seen), "{seen}: {}", browser.text().await);
        }
    })
    .await;
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
