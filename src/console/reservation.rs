//! A reservation's page, with the entries that opened, changed and ended it; and the list of an account's reservations.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    available, entry,
    failure::Failure,
    layout::{facts, page_of},
    link::{self, link},
    money,
    operator::Operator,
    related::{Related, Search},
    service::{Service, ServiceError},
    text, time, words,
};
use crate::grpc::proto::{
    EntryType, GetReservationRequest, ListReservationsRequest, Reservation, ReservationState,
};

/// How many reservations a page of the list has.
const PAGE_SIZE: i32 = 50;

/// Which reservation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    account: String,
    id: String,
}

/// A reservation's page.
pub(super) async fn show(
    Operator { viewer, service, .. }: Operator,
    Query(which): Query<Which>,
) -> Result<Markup, Failure> {
    let request = GetReservationRequest { account_id: which.account, reservation_id: which.id };
    let reservation = service.get_reservation(request).await?.reservation.unwrap_or_default();
    let (account, id) = (&reservation.account_id, &reservation.reservation_id);
    let entries = entries(&service, &reservation).await?;
    let body = html! {
        h1 { "Reservation " (text::whole(id)) }
        p class="lead" { "of account " a href=(link::account(account)) { (text::whole(account)) } }
        (about(&reservation))
        (entry::metadata(&reservation.metadata))
        (entries.section("Entries", account))
    };
    Ok(page_of(account, &format!("Reservation {id} of account {account}"), &viewer, &body))
}

fn about(reservation: &Reservation) -> Markup {
    let is_open = reservation.close_time.is_none();
    facts(&[
        ("State", Some(html! { (words::reservation_state(reservation.state)) })),
        ("Holds", Some(html! { (money::usd(reservation.amount_micro_usd)) })),
        ("Captured", Some(html! { (money::usd(reservation.captured_micro_usd)) })),
        ("Opened", Some(time::exact(reservation.create_time.as_ref()))),
        ("Lease until", Some(time::exact(reservation.expire_time.as_ref()))),
        ("Ended", reservation.close_time.as_ref().map(|at| time::exact(Some(at)))),
        (
            "Then what it holds is",
            is_open.then(|| html! { (words::expiry_policy(reservation.expiry_policy)) }),
        ),
        ("Reference", (!reservation.reference.is_empty()).then(|| text::whole(&reservation.reference))),
    ])
}

/// The entries of a reservation. Late captures may follow its end.
async fn entries(service: &Service, reservation: &Reservation) -> Result<Related, ServiceError> {
    let types =
        [EntryType::Reserve, EntryType::Capture, EntryType::Release, EntryType::Extend, EntryType::Expire];
    let search = Search { account: &reservation.account_id, types: &types, from: reservation.create_time };
    let id = &reservation.reservation_id;
    search
        .find(
            service,
            |entry| entry.reservation.as_ref().is_some_and(|of| of.reservation_id == *id),
            |_| false,
        )
        .await
}

/// Which reservations of an account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct List {
    id: String,
    state: String,
    page: String,
}

/// The list of an account's reservations.
pub(super) async fn list(
    Operator { viewer, service, .. }: Operator,
    Query(list): Query<List>,
) -> Result<Markup, Failure> {
    let state = match list.state.as_str() {
        "" => ReservationState::Unspecified,
        name => ReservationState::from_str_name(name)
            .ok_or_else(|| Failure::Malformed("There is no such state of reservations.".into()))?,
    };
    let request = ListReservationsRequest {
        account_id: list.id.clone(),
        state: state.into(),
        page_size: PAGE_SIZE,
        page_token: list.page.clone(),
    };
    let listed = service.list_reservations(request).await?;
    let next = &listed.next_page_token;
    let title = format!("Reservations of account {}", list.id);
    let body = html! {
        h1 { "Reservations of account " a href=(link::account(&list.id)) { (text::whole(&list.id)) } }
        (form(&list, state))
        @if listed.reservations.is_empty() { p { "No reservations." } }
        @else { (available::reservations("Reservations, newest first", &listed.reservations)) }
        p class="ways" {
            @if !next.is_empty() {
                a rel="next" href=(link("/reservations", &[("id", &list.id), ("state", &list.state), ("page", next)])) { "Older" }
            }
        }
    };
    Ok(page_of(&list.id, &title, &viewer, &body))
}

fn form(list: &List, chosen: ReservationState) -> Markup {
    let states = [
        ReservationState::Unspecified,
        ReservationState::Open,
        ReservationState::Captured,
        ReservationState::Released,
        ReservationState::Expired,
    ];
    html! {
        form class="filters" action="/reservations" method="get" {
            input type="hidden" name="id" value=(list.id);
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    @for state in states {
                        @let value = if state == ReservationState::Unspecified { "" } else { state.as_str_name() };
                        option value=(value) selected[state == chosen] { (words::name_of_reservation_state(state)) }
                    }
                }
            }
            button { "Show" }
        }
    }
}
