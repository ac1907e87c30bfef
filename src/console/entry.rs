//! An entry's page: everything about it, and whatever it belongs to or belongs to it, linked both ways.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    action,
    available::debt_limit,
    failure::Failure,
    grants,
    layout::{facts, page_of, table},
    link, money,
    operator::Operator,
    related::{Related, Search},
    service::{Service, ServiceError, found},
    text, time, words,
};
use crate::grpc::proto::{
    Entry, EntryType, GetEntryRequest, GetOperationRequest, PaidLeg, Since, get_entry_request,
    get_operation_response::Outcome,
};

/// Which entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    account: String,
    sequence: String,
}

/// The page.
pub(super) async fn show(
    Operator { viewer, service, .. }: Operator,
    Query(which): Query<Which>,
) -> Result<Markup, Failure> {
    let sequence = which.sequence.parse().map_err(|_| Failure::Malformed("An entry has a number.".into()))?;
    let entry = read(&service, &which.account, sequence).await?;
    let since = since(&service, &entry).await?;
    let undoing = undoing(&service, &entry, since.as_ref()).await?;
    let reversed = match entry.reversed_sequence {
        0 => None,
        sequence => Some(read(&service, &entry.account_id, sequence).await?),
    };
    let title = format!("Entry {} of account {}", entry.sequence, entry.account_id);
    let body = html! {
        h1 {
            "Entry " (entry.sequence) " of account "
            a href=(link::account(&entry.account_id)) { (text::whole(&entry.account_id)) }
        }
        p class="lead" { (words::entry_type(entry.entry_type)) ", " (money::change(entry.amount_micro_usd)) }
        (action::link_of_entry(&entry, reversed.as_ref(), &viewer))
        (about(&entry, since.as_ref()))
        (links(&entry))
        (legs(&entry))
        (metadata(&entry.metadata))
        (undoing.section("Undone by", &entry.account_id))
    };
    Ok(page_of(&entry.account_id, &title, &viewer, &body))
}

/// An entry by its number.
pub(super) async fn read(service: &Service, account: &str, sequence: i64) -> Result<Entry, ServiceError> {
    let entry = Some(get_entry_request::Entry::Sequence(sequence));
    let answer = service.get_entry(GetEntryRequest { account_id: account.to_owned(), entry }).await?;
    Ok(answer.entry.unwrap_or_default())
}

/// What has happened since an entry was written; only a key tells, which imported history has not.
pub(super) async fn since(service: &Service, entry: &Entry) -> Result<Option<Since>, ServiceError> {
    if entry.idempotency_key.is_empty() {
        return Ok(None);
    }
    let request = GetOperationRequest {
        account_id: entry.account_id.clone(),
        idempotency_key: entry.idempotency_key.clone(),
    };
    let outcome = found(service.get_operation(request).await)?.and_then(|answer| answer.outcome);
    Ok(match outcome {
        Some(Outcome::Applied(applied)) => applied.since,
        Some(Outcome::Refused(_)) | None => None,
    })
}

/// The refunds and reversals of an entry.
async fn undoing(service: &Service, entry: &Entry, since: Option<&Since>) -> Result<Related, ServiceError> {
    let nothing = Related { entries: Vec::new(), is_all: true };
    let is_credit = entry.amount_micro_usd > 0;
    let types = if is_credit { [EntryType::Reversal, EntryType::Refund] } else { [EntryType::Refund; 2] };
    let undone = since.map(|since| since.undone_micro_usd);
    if entry.amount_micro_usd == 0 || (undone == Some(0) && !is_credit) {
        return Ok(nothing);
    }
    let search = Search { account: &entry.account_id, types: &types, from: entry.effective_time };
    let (number, sum) = (entry.sequence, |found: &[Entry]| -> i128 {
        found.iter().map(|entry| i128::from(entry.amount_micro_usd)).sum()
    });
    let belongs = |other: &Entry| other.refunded_sequence == number || other.reversed_sequence == number;
    search
        .find(service, belongs, |found| {
            !is_credit && undone.is_some_and(|undone| sum(found) == undone.into())
        })
        .await
}

fn about(entry: &Entry, since: Option<&Since>) -> Markup {
    let balance = entry.balance_after.unwrap_or_default();
    let sum = |micro_usd: i64| Some(html! { (money::usd(micro_usd)) });
    let unless_zero = |micro_usd: i64| (micro_usd != 0).then(|| html! { (money::change(micro_usd)) });
    let unless_empty = |content: &str| (!content.is_empty()).then(|| text::whole(content));
    let is_undone = since.filter(|since| since.undone_micro_usd != 0);
    let settings = entry.account_settings.as_ref();
    let mut about = vec![
        ("Took effect", Some(time::exact(entry.effective_time.as_ref()))),
        ("Written", Some(time::exact(entry.create_time.as_ref()))),
        ("Posted changed by", Some(html! { (money::change(entry.amount_micro_usd)) })),
        ("Held changed by", unless_zero(entry.held_delta_micro_usd)),
        ("Withdrawable changed by", unless_zero(entry.withdrawable_delta_micro_usd)),
        ("Posted after", sum(balance.posted_micro_usd)),
        ("Held after", sum(balance.held_micro_usd)),
        ("Available after", sum(balance.available_micro_usd)),
        ("Withdrawable after", sum(balance.withdrawable_micro_usd)),
        (
            "Granted after",
            (balance.granted_micro_usd != 0).then(|| html! { (money::usd(balance.granted_micro_usd)) }),
        ),
        ("Not collected", unless_zero(entry.uncollected_micro_usd)),
        ("Funded, for its legs", unless_zero(entry.funded_micro_usd)),
        ("Undone since", is_undone.map(|since| html! { (money::usd(since.undone_micro_usd)) })),
        ("Account then", settings.map(|settings| html! { (words::account_state(settings.state)) })),
        ("Debt limit then", settings.map(|settings| debt_limit(settings.debt_limit_micro_usd))),
        ("Reason", unless_empty(&entry.reason)),
        ("Decided by", unless_empty(&entry.actor)),
        ("Caller", unless_empty(&entry.caller)),
        ("Reference", unless_empty(&entry.reference)),
        ("Idempotency key", key(entry)),
        ("External ids", external_ids(&entry.external_ids)),
    ];
    about.extend(grants::moves(entry));
    facts(&about)
}

fn key(entry: &Entry) -> Option<Markup> {
    let to = link::operation(&entry.account_id, &entry.idempotency_key);
    (!entry.idempotency_key.is_empty())
        .then(|| html! { a href=(to) { (text::whole(&entry.idempotency_key)) } })
}

fn external_ids(ids: &[String]) -> Option<Markup> {
    (!ids.is_empty()).then(|| html! { ul class="plain" { @for id in ids { li { (text::whole(id)) } } } })
}

/// What it belongs to.
fn links(entry: &Entry) -> Markup {
    let to = |account: &str, sequence: i64| html! { a href=(link::entry(account, sequence)) { "entry " (sequence) } };
    let own = |sequence: i64| (sequence != 0).then(|| to(&entry.account_id, sequence));
    let reservation = entry.reservation.as_ref().map(|reservation| {
        html! {
            a href=(link::reservation(&entry.account_id, &reservation.reservation_id)) {
                (text::whole(&reservation.reservation_id))
            }
            ", " (words::reservation_state(reservation.state)) " then, holding " (money::usd(reservation.amount_micro_usd))
        }
    });
    let source = entry.source.as_ref().map(|source| {
        html! { (to(&source.account_id, source.sequence)) " of account " (text::whole(&source.account_id)) }
    });
    facts(&[
        ("Gives back", own(entry.refunded_sequence)),
        ("Takes back or restores", own(entry.reversed_sequence)),
        ("Reservation", reservation),
        ("Leg of", source),
    ])
}

fn legs(entry: &Entry) -> Markup {
    let row = |leg: &PaidLeg| {
        html! {
            tr {
                td { a href=(link::account(&leg.account_id)) { (text::whole(&leg.account_id)) } }
                td {
                    @if leg.sequence == 0 { "nothing was left for it" }
                    @else { a href=(link::entry(&leg.account_id, leg.sequence)) { "entry " (leg.sequence) } }
                }
                td class="sum" { (money::change(leg.amount_micro_usd)) }
            }
        }
    };
    let rows = html! {
        thead { tr { th scope="col" { "Payee" } th scope="col" { "Its entry" } th scope="col" class="sum" { "Amount" } } }
        tbody { @for leg in &entry.legs { (row(leg)) } }
    };
    html! {
        @if !entry.legs.is_empty() {
            section { h2 { "Legs" } (table("Legs", &rows)) }
        }
    }
}

/// The caller's own pairs.
pub(super) fn metadata<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Markup {
    let mut pairs = pairs.into_iter().peekable();
    html! {
        @if pairs.peek().is_some() {
            section {
                h2 { "Metadata" }
                dl { @for (name, value) in pairs { div { dt { (text::whole(name)) } dd { (text::whole(value)) } } } }
            }
        }
    }
}
