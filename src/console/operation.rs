//! What became of a key: the entry that it led to, or why it was refused.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    failure::Failure,
    layout::{facts, page_of},
    link, money,
    operator::Operator,
    problem, text, time, words,
};
use crate::grpc::proto::{Applied, GetOperationRequest, Refusal, get_operation_response::Outcome};

/// Which key of which account, and what has just been said of it: `now` if it has been done, `before` if it had been.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    account: String,
    key: String,
    said: String,
}

/// The page.
pub(super) async fn show(
    Operator { viewer, service, .. }: Operator,
    Query(which): Query<Which>,
) -> Result<Markup, Failure> {
    let request =
        GetOperationRequest { account_id: which.account.clone(), idempotency_key: which.key.clone() };
    let outcome = service.get_operation(request).await?.outcome;
    let body = html! {
        h1 { "Operation " (text::whole(&which.key)) }
        @match &outcome {
            Some(Outcome::Applied(applied)) => (done(applied, &which.said)),
            Some(Outcome::Refused(refusal)) => (refused(refusal)),
            None => p { "The service does not say what became of it." },
        }
        p class="ways" { a href=(link::account(&which.account)) { "Account " (text::clipped(&which.account)) } }
    };
    Ok(page_of(
        &which.account,
        &format!("Operation {} of account {}", which.key, which.account),
        &viewer,
        &body,
    ))
}

fn done(applied: &Applied, said: &str) -> Markup {
    let entry = applied.entry.clone().unwrap_or_default();
    let since = applied.since.clone().unwrap_or_default();
    let balance = entry.balance_after.unwrap_or_default();
    html! {
        @match said {
            "now" => p class="done" role="status" { strong { "Done." } },
            "before" => {
                p class="done" role="status" {
                    strong { "This had been done already" } ", at " (time::short(entry.create_time.as_ref()))
                    ". Nothing was done again."
                }
            },
            _ => p { "Applied." },
        }
        (facts(&[
            ("Entry", Some(html! {
                a href=(link::entry(&entry.account_id, entry.sequence)) { (entry.sequence) }
                ", " (words::entry_type(entry.entry_type))
            })),
            ("Posted changed by", Some(html! { (money::change(entry.amount_micro_usd)) })),
            ("Available after", Some(html! { (money::usd(balance.available_micro_usd)) })),
            ("Undone since", (since.undone_micro_usd != 0).then(|| html! { (money::usd(since.undone_micro_usd)) })),
            ("Written", Some(time::exact(entry.create_time.as_ref()))),
            ("Reason", (!entry.reason.is_empty()).then(|| text::whole(&entry.reason))),
        ]))
    }
}

fn refused(refusal: &Refusal) -> Markup {
    html! {
        div class="problem" role="alert" {
            p { strong { "Refused." } " Nothing has happened. Under this key it stays refused." }
            p { "The service says: " q { (text::whole(&refusal.message)) } }
            (facts(&[
                ("Reason", Some(html! { code { (refusal.reason) } })),
                ("Refused", Some(time::exact(refusal.create_time.as_ref()))),
            ]))
            (problem::figures(&refusal.metadata))
        }
    }
}
