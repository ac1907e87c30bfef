//! An account's page: why it has available what it has, its balance over time, its statement, and what can be done.

use axum::extract::Query;
use futures_util::future::try_join4;
use maud::{Markup, html};
use tonic::Code;

use super::{
    action, available, chart,
    failure::Failure,
    grants,
    layout::page_of,
    link::link,
    operator::Operator,
    service::{Service, ServiceError},
    statement::{self, Filter},
    text,
    time::{self, Month},
};
use crate::grpc::proto::{
    Account, AccountState, GetAccountRequest, ListEntriesResponse, ListReservationsRequest,
    ListReservationsResponse, ReservationState,
};

/// How many open reservations the page lists.
const OPEN_LISTED: i32 = 20;

/// The page.
pub(super) async fn show(
    Operator { viewer, service, .. }: Operator,
    Query(filter): Query<Filter>,
) -> Result<Markup, Failure> {
    let account = read(&service, &filter.id).await?;
    let (open, granted, points, listed) = try_join4(
        open(&service, &account),
        grants::open(&service, &account),
        chart::points(&service, &account),
        listed(&service, &filter),
    )
    .await?;
    let id = &account.account_id;
    let body = html! {
        h1 {
            "Account " (text::whole(id))
            @if account.state() != AccountState::Active { " " (available::state(&account)) }
        }
        (action::links_of_account(&account, &viewer))
        (available::section(&account, &open, &granted))
        (chart::section(&points))
        p class="ways" {
            @if let Some(month) = Month::containing(time::now()) {
                a href=(link("/month", &[("account", id), ("month", &month.to_string())])) { "Monthly statement" }
            }
        }
        (statement::section(&filter, &listed))
    };
    Ok(page_of(id, &format!("Account {id}"), &viewer, &body))
}

/// An account as it is now.
pub(super) async fn read(service: &Service, id: &str) -> Result<Account, ServiceError> {
    let answer = service.get_account(GetAccountRequest { account_id: id.to_owned(), as_of: None }).await?;
    Ok(answer.account.unwrap_or_default())
}

async fn open(service: &Service, account: &Account) -> Result<ListReservationsResponse, ServiceError> {
    let request = ListReservationsRequest {
        account_id: account.account_id.clone(),
        state: ReservationState::Open.into(),
        page_size: OPEN_LISTED,
        page_token: String::new(),
    };
    service.list_reservations(request).await
}

/// A page of the statement; or what is wrong with the filters, by this console or by the service.
async fn listed(
    service: &Service,
    filter: &Filter,
) -> Result<Result<ListEntriesResponse, String>, ServiceError> {
    let request = match filter.request() {
        Ok(request) => request,
        Err(why) => return Ok(Err(why)),
    };
    match service.list_entries(request).await {
        Ok(page) => Ok(Ok(page)),
        Err(error) if error.code == Code::InvalidArgument => Ok(Err(error.message)),
        Err(error) => Err(error),
    }
}
