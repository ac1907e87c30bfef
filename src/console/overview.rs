//! The overview: whether the service can commit, what all accounts have, who is in debt, what is held for longest, what is refused
//! and how fast. The service has no totals, so the accounts are read through, so many on a page.

use axum::extract::{Query, State};
use futures_util::future::try_join_all;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    accounts, available,
    failure::Failure,
    layout::{facts, page},
    link::link,
    money,
    operator::{Operator, Shared},
    problem::{self, Doing},
    scrape::{Figures, Scraped},
    service::{Service, ServiceError},
    time,
};
use crate::grpc::proto::{
    Account, ListAccountsRequest, ListReservationsRequest, Reservation, ReservationState,
};

/// How many accounts are read at once. It is the most that the service gives.
const PAGE_SIZE: i32 = 500;
/// How many such pages are read.
const PAGES_MAX: usize = 10;
/// Of how many accounts that hold something the reservations are read: those that hold most.
const HOLDERS_MAX: usize = 20;
/// How many lines a table has.
const LISTED: usize = 10;

/// Where the accounts go on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    page: String,
}

/// The accounts that were read through.
#[derive(Default)]
struct Seen {
    count: usize,
    posted: i128,
    held: i128,
    debt: i128,
    in_debt: Vec<Account>,
    holders: Vec<Account>,
    next: String,
}

/// The page.
pub(super) async fn show(
    State(Shared { metrics, .. }): State<Shared>,
    Operator { viewer, service, .. }: Operator,
    Query(place): Query<Place>,
) -> Result<Markup, Failure> {
    let ready = service.is_ready().await;
    let seen = read_through(&service, &place.page).await?;
    let oldest = oldest(&service, &seen).await?;
    let body = html! {
        h1 { "Overview" }
        (readiness(&ready))
        (totals(&seen, !place.page.is_empty()))
        (in_debt(&seen))
        (open(&seen, &oldest))
        @if let Some(metrics) = metrics { (figures(&metrics, &metrics.figures().await)) }
    };
    Ok(page("Overview", Some(&viewer), &body))
}

fn readiness(ready: &Result<bool, ServiceError>) -> Markup {
    html! {
        @match ready {
            Ok(true) => p class="done" { "The service is ready: it can commit." },
            Ok(false) => div class="problem" role="alert" { p { strong { "The service is not ready: it cannot commit." } } },
            Err(error) => (problem::explained(error, Doing::Reading)),
        }
    }
}

async fn read_through(service: &Service, page: &str) -> Result<Seen, ServiceError> {
    let mut seen = Seen { next: page.to_owned(), ..Seen::default() };
    for _ in 0..PAGES_MAX {
        let request =
            ListAccountsRequest { page_size: PAGE_SIZE, page_token: seen.next, ..Default::default() };
        let listed = service.list_accounts(request).await?;
        seen.next = listed.next_page_token;
        seen.count += listed.accounts.len();
        for account in listed.accounts {
            let balance = account.balance.unwrap_or_default();
            seen.posted += i128::from(balance.posted_micro_usd);
            seen.held += i128::from(balance.held_micro_usd);
            seen.debt += i128::from(balance.available_micro_usd).min(0);
            if balance.held_micro_usd > 0 {
                seen.holders.push(account.clone());
            }
            if balance.available_micro_usd < 0 {
                seen.in_debt.push(account);
            }
        }
        if seen.next.is_empty() {
            break;
        }
    }
    let (available, held) = (
        |account: &Account| account.balance.map_or(0, |balance| balance.available_micro_usd),
        |account: &Account| account.balance.map_or(0, |balance| -balance.held_micro_usd),
    );
    seen.in_debt.sort_by_key(available);
    seen.holders.sort_by_key(held);
    Ok(seen)
}

fn totals(seen: &Seen, has_before: bool) -> Markup {
    html! {
        section {
            h2 { "Accounts" }
            (facts(&[
                ("Accounts", Some(html! { (seen.count) @if has_before || !seen.next.is_empty() { " of more" } })),
                ("Posted", Some(html! { (money::usd(seen.posted)) })),
                ("Held", Some(html! { (money::usd(seen.held)) })),
                ("Available", Some(html! { (money::usd(seen.posted - seen.held)) })),
                ("Debt", Some(html! { (money::usd(-seen.debt)) })),
            ]))
            @if has_before || !seen.next.is_empty() {
                p {
                    "These are some of the accounts, by id. "
                    @if has_before { a href="/" { "The first" } " " }
                    @if !seen.next.is_empty() { a rel="next" href=(link("/", &[("page", &seen.next)])) { "The next" } }
                }
            }
        }
    }
}

fn in_debt(seen: &Seen) -> Markup {
    html! {
        section {
            h2 { "In debt" }
            @if seen.in_debt.is_empty() { p { "No account is in debt." } }
            @else {
                (accounts::accounts("Accounts in debt, the deepest first", &seen.in_debt[..seen.in_debt.len().min(LISTED)]))
                @if seen.in_debt.len() > LISTED { p { "And " (seen.in_debt.len() - LISTED) " more." } }
            }
        }
    }
}

/// The open reservations of the accounts that hold most, oldest first.
async fn oldest(service: &Service, seen: &Seen) -> Result<Vec<Reservation>, ServiceError> {
    let listed = seen.holders.iter().take(HOLDERS_MAX).map(|account| async {
        let request = ListReservationsRequest {
            account_id: account.account_id.clone(),
            state: ReservationState::Open.into(),
            page_size: 1_000,
            page_token: String::new(),
        };
        service.list_reservations(request).await
    });
    let listed = try_join_all(listed).await?;
    let mut open: Vec<_> = listed.into_iter().flat_map(|page| page.reservations).collect();
    open.sort_by_key(|reservation| time::of(reservation.create_time.as_ref()));
    open.truncate(LISTED);
    Ok(open)
}

fn open(seen: &Seen, oldest: &[Reservation]) -> Markup {
    html! {
        section {
            h2 { "Oldest open reservations" }
            @if oldest.is_empty() { p { "No open reservation." } }
            @else { (available::reservations_of_many("Open reservations, oldest first", oldest)) }
            @if seen.holders.len() > HOLDERS_MAX {
                p { "Of the " (HOLDERS_MAX) " accounts that hold most, of " (seen.holders.len()) "." }
            }
        }
    }
}

fn figures(metrics: &Scraped, figures: &Result<Figures, String>) -> Markup {
    html! {
        section {
            h2 { "By the metrics of " (metrics.address()) }
            @match figures {
                Ok(figures) => (measured(figures)),
                Err(why) => div class="problem" { p { "They cannot be read: " (why) } },
            }
        }
    }
}

fn measured(figures: &Figures) -> Markup {
    let within = |per_mille| figures.commits.within(per_mille).map(|time| html! { (time) });
    html! {
        p { "Since this replica started." }
        (facts(&[
            ("Commits", Some(html! { (figures.commits.count) })),
            ("Half of them took at most", within(500)),
            ("99 of 100 took at most", within(990)),
            ("Open reservations, when last counted", Some(html! { (figures.open_reservations) })),
            ("The oldest is", Some(html! { (figures.oldest_reservation_seconds) " s old" })),
        ]))
        h3 { "Refusals by reason" }
        @if figures.refusals.is_empty() { p { "Nothing has been refused." } }
        @else { dl { @for (reason, count) in &figures.refusals { div { dt { code { (reason) } } dd { (count) } } } } }
    }
}
