//! The list of accounts, by id, from a beginning on.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    failure::Failure,
    layout::{page, table},
    link::{self, link},
    money,
    operator::Operator,
    text, words,
};
use crate::grpc::proto::{Account, ListAccountsRequest};

/// How many accounts a page has.
const PAGE_SIZE: i32 = 50;

/// Which accounts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct List {
    prefix: String,
    page: String,
}

/// The page.
pub(super) async fn list(
    Operator { viewer, service, .. }: Operator,
    Query(list): Query<List>,
) -> Result<Markup, Failure> {
    let request = ListAccountsRequest {
        page_size: PAGE_SIZE,
        page_token: list.page,
        account_id_prefix: list.prefix.clone(),
    };
    let listed = service.list_accounts(request).await?;
    let next = &listed.next_page_token;
    let body = html! {
        h1 { "Accounts" }
        form class="filters" action="/accounts" method="get" {
            div {
                label for="prefix" { "Whose ids begin with" }
                input id="prefix" name="prefix" value=(list.prefix) maxlength="128" autocomplete="off" spellcheck="false";
            }
            button { "Show" }
        }
        @if listed.accounts.is_empty() { p { "No accounts." } } @else { (accounts("Accounts by id", &listed.accounts)) }
        p class="ways" {
            @if !next.is_empty() {
                a rel="next" href=(link("/accounts", &[("prefix", &list.prefix), ("page", next)])) { "More" }
            }
        }
    };
    Ok(page("Accounts", Some(&viewer), &body))
}

/// Accounts as a table.
pub(super) fn accounts(name: &str, accounts: &[Account]) -> Markup {
    let rows = html! {
        thead {
            tr {
                th scope="col" { "Account" } th scope="col" { "State" } th scope="col" class="sum" { "Posted" }
                th scope="col" class="sum" { "Held" } th scope="col" class="sum" { "Available" }
            }
        }
        tbody { @for account in accounts { (row(account)) } }
    };
    table(name, &rows)
}

fn row(account: &Account) -> Markup {
    let balance = account.balance.unwrap_or_default();
    html! {
        tr {
            td { a href=(link::account(&account.account_id)) { (text::clipped(&account.account_id)) } }
            td { (words::account_state(account.state)) }
            td class="sum" { (money::usd(balance.posted_micro_usd)) }
            td class="sum" { (money::usd(balance.held_micro_usd)) }
            td class="sum" { (money::usd(balance.available_micro_usd)) }
        }
    }
}
