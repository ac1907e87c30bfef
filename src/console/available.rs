//! Why an account has available what it has: each part of the sum by itself, and what limits it.

use maud::{Markup, html};

use super::{
    grants,
    layout::{facts, table},
    link::{self, link},
    money, text, time, words,
};
use crate::grpc::proto::{Account, Balance, ListGrantsResponse, ListReservationsResponse, Reservation};

/// The sum, its parts, and what limits it.
pub(super) fn section(
    account: &Account,
    open: &ListReservationsResponse,
    granted: &ListGrantsResponse,
) -> Markup {
    let balance = account.balance.unwrap_or_default();
    html! {
        section aria-labelledby="available" {
            h2 id="available" { "Available: " strong { (money::usd(balance.available_micro_usd)) } }
            (sum(&balance))
            (facts(&[
                ("Granted of it, which expires", Some(html! { (money::usd(balance.granted_micro_usd)) })),
                ("Withdrawable of it", Some(html! { (money::usd(balance.withdrawable_micro_usd)) })),
                ("Debt", Some(html! { (money::usd((-i128::from(balance.available_micro_usd)).max(0))) })),
                ("State", Some(html! { (state(account)) })),
                ("Debt limit", Some(debt_limit(account.debt_limit_micro_usd))),
                ("Entries", Some(html! { (account.last_sequence) })),
                ("First entry", Some(time::short(account.create_time.as_ref()))),
                ("Last entry", Some(time::short(account.update_time.as_ref()))),
            ]))
            (grants::section(account, granted))
            (held(account, open))
        }
    }
}

fn sum(balance: &Balance) -> Markup {
    html! {
        table class="sum" {
            caption class="unseen" { "What is available, as a sum" }
            tbody {
                tr { th scope="row" { "Posted: all entries together" } td class="sum" { (money::usd(balance.posted_micro_usd)) } }
                tr { th scope="row" { "Held by open reservations" } td class="sum" { (money::change(-balance.held_micro_usd)) } }
                tr class="total" { th scope="row" { "Available" } td class="sum" { (money::usd(balance.available_micro_usd)) } }
            }
        }
    }
}

/// The state of an account.
pub(super) fn state(account: &Account) -> Markup {
    let state = words::account_state(account.state);
    html! { span class={ "state " (state) } { (state) } }
}

/// A debt limit, or that there is none of the account's own.
pub(super) fn debt_limit(own: Option<i64>) -> Markup {
    html! {
        @match own {
            Some(limit) => (money::usd(limit)),
            None => "as the service is configured",
        }
    }
}

/// Which reservations hold what is held.
fn held(account: &Account, open: &ListReservationsResponse) -> Markup {
    let all = link("/reservations", &[("id", &account.account_id)]);
    html! {
        h3 { "Held by" }
        @if open.reservations.is_empty() {
            p { "No open reservation. " a href=(all) { "All reservations" } }
        } @else {
            (reservations("Open reservations, newest first", &open.reservations))
            p { @if !open.next_page_token.is_empty() { "There are more. " } a href=(all) { "All reservations" } }
        }
    }
}

/// Reservations of one account as a table.
pub(super) fn reservations(name: &str, reservations: &[Reservation]) -> Markup {
    listed(name, reservations, None)
}

/// Reservations of many accounts as a table.
pub(super) fn reservations_of_many(name: &str, reservations: &[Reservation]) -> Markup {
    listed(name, reservations, Some("Account"))
}

fn listed(name: &str, reservations: &[Reservation], account: Option<&str>) -> Markup {
    let rows = html! {
        thead {
            tr {
                @if let Some(account) = account { th scope="col" { (account) } }
                th scope="col" { "Reservation" } th scope="col" { "State" } th scope="col" class="sum" { "Holds" }
                th scope="col" class="sum" { "Captured" } th scope="col" { "Opened" } th scope="col" { "Until" }
                th scope="col" { "Then" }
            }
        }
        tbody { @for reservation in reservations { (row(reservation, account.is_some())) } }
    };
    table(name, &rows)
}

fn row(reservation: &Reservation, with_account: bool) -> Markup {
    let (account, ended) = (&reservation.account_id, reservation.close_time.as_ref());
    html! {
        tr {
            @if with_account { td { a href=(link::account(account)) { (text::clipped(account)) } } }
            td {
                a href=(link::reservation(account, &reservation.reservation_id)) {
                    (text::clipped(&reservation.reservation_id))
                }
            }
            td { (words::reservation_state(reservation.state)) }
            td class="sum" { (money::usd(reservation.amount_micro_usd)) }
            td class="sum" { (money::usd(reservation.captured_micro_usd)) }
            td { (time::short(reservation.create_time.as_ref())) }
            td { (time::short(ended.or(reservation.expire_time.as_ref()))) }
            td { @if ended.is_none() { (words::expiry_policy(reservation.expiry_policy)) } @else { "ended" } }
        }
    }
}
