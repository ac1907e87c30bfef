//! What a name leads to: an account, or some whose ids begin with it; a payment by its id elsewhere; and of one account a key or a
//! reservation, which belong to an account, so that it must be named, too.

use axum::{
    extract::Query,
    response::{IntoResponse, Redirect, Response},
};
use futures_util::future::{try_join, try_join3};
use maud::{Markup, html};
use serde::Deserialize;
use tonic::Code;

use super::{
    accounts,
    failure::Failure,
    layout::page,
    link,
    operator::Operator,
    service::{Service, ServiceError},
    statement, text,
};
use crate::grpc::proto::{
    Account, Entry, FindPaymentRequest, GetOperationRequest, GetReservationRequest, ListAccountsRequest,
    Reservation,
};

/// How many accounts are listed.
const ACCOUNTS_LISTED: i32 = 20;

/// What was typed, and the account of the page that it was typed on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    q: String,
    account: String,
}

/// What a name leads to.
#[derive(Default)]
struct Found {
    accounts: Vec<Account>,
    payment: Option<Entry>,
    /// The account and the key of an operation.
    operation: Option<(String, String)>,
    reservation: Option<Reservation>,
}

/// The page, or the only place that the name leads to.
pub(super) async fn find(
    Operator { viewer, service, .. }: Operator,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let words: Vec<&str> = wanted.q.split_whitespace().collect();
    let found = match words[..] {
        [name] => {
            let (one, own) =
                try_join(anywhere(&service, name), of_account(&service, &wanted.account, name)).await?;
            Found { operation: own.operation, reservation: own.reservation, ..one }
        }
        [account, name] => of_account(&service, account, name).await?,
        _ => Found::default(),
    };
    if let Some(place) = found.only_place(words.first().copied().unwrap_or_default()) {
        return Ok(Redirect::to(&place).into_response());
    }
    Ok(page("Find", Some(&viewer), &shown(&wanted, &found)).into_response())
}

impl Found {
    /// The address of what a name names exactly, if that is one thing alone.
    fn only_place(&self, name: &str) -> Option<String> {
        let account = self.accounts.iter().find(|account| account.account_id == name);
        let account = account.or(match &self.accounts[..] {
            [account] => Some(account),
            _ => None,
        });
        let reservation = self.reservation.as_ref();
        let operation = self.operation.as_ref().filter(|_| reservation.is_none());
        let mut places = [
            account.map(|account| link::account(&account.account_id)),
            self.payment.as_ref().map(|entry| link::entry(&entry.account_id, entry.sequence)),
            operation.map(|(account, key)| link::operation(account, key)),
            reservation.map(|of| link::reservation(&of.account_id, &of.reservation_id)),
        ]
        .into_iter()
        .flatten();
        let first = places.next();
        if places.next().is_some() { None } else { first }
    }

    fn is_empty(&self) -> bool {
        self.accounts.is_empty()
            && self.payment.is_none()
            && self.operation.is_none()
            && self.reservation.is_none()
    }
}

async fn anywhere(service: &Service, name: &str) -> Result<Found, ServiceError> {
    let accounts = ListAccountsRequest {
        page_size: ACCOUNTS_LISTED,
        account_id_prefix: name.to_owned(),
        ..Default::default()
    };
    let payment = FindPaymentRequest { external_id: name.to_owned() };
    let (accounts, payment) = try_join(async { named(service.list_accounts(accounts).await) }, async {
        named(service.find_payment(payment).await)
    })
    .await?;
    Ok(Found {
        accounts: accounts.map(|listed| listed.accounts).unwrap_or_default(),
        payment: payment.and_then(|found| found.entry),
        ..Found::default()
    })
}

async fn of_account(service: &Service, account: &str, name: &str) -> Result<Found, ServiceError> {
    if account.is_empty() {
        return Ok(Found::default());
    }
    let (account_id, key) = (account.to_owned(), name.to_owned());
    let operation = GetOperationRequest { account_id: account_id.clone(), idempotency_key: key.clone() };
    let reservation = GetReservationRequest { account_id: account_id.clone(), reservation_id: key.clone() };
    let payment = FindPaymentRequest { external_id: key.clone() };
    let (operation, reservation, payment) = try_join3(
        async { named(service.get_operation(operation).await) },
        async { named(service.get_reservation(reservation).await) },
        async { named(service.find_payment(payment).await) },
    )
    .await?;
    let payment = payment.and_then(|found| found.entry).filter(|entry| entry.account_id == account_id);
    Ok(Found {
        accounts: Vec::new(),
        payment: payment.filter(|_| operation.is_none()),
        operation: operation.map(|_| (account_id, key)),
        reservation: reservation.and_then(|found| found.reservation),
    })
}

/// What there may not be, also because what was typed cannot be such a name at all.
fn named<T>(answer: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if [Code::NotFound, Code::InvalidArgument].contains(&error.code) => Ok(None),
        Err(error) => Err(error),
    }
}

fn shown(wanted: &Wanted, found: &Found) -> Markup {
    html! {
        h1 { "Find " (text::whole(&wanted.q)) }
        @if found.is_empty() { (nothing()) }
        @if let Some(entry) = &found.payment {
            h2 { "Payment" }
            (statement::entries("The payment's entry", std::slice::from_ref(entry)))
        }
        @if let Some(reservation) = &found.reservation {
            h2 { "Reservation" }
            p {
                a href=(link::reservation(&reservation.account_id, &reservation.reservation_id)) {
                    (text::whole(&reservation.reservation_id))
                }
            }
        }
        @if let Some((account, key)) = &found.operation {
            h2 { "Operation" }
            p { a href=(link::operation(account, key)) { (text::whole(key)) } }
        }
        @if !found.accounts.is_empty() {
            h2 { "Accounts" }
            (accounts::accounts("Accounts whose ids begin so", &found.accounts))
        }
    }
}

fn nothing() -> Markup {
    html! {
        p { "Nothing has this name. What can be looked for:" }
        ul {
            li { "an account id, or its beginning;" }
            li { "a payment's id in another system, such as a Stripe Checkout session, payment intent or dispute;" }
            li { "an account id, a blank, and an idempotency key or a reservation of that account." }
        }
    }
}
