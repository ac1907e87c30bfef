//! The statement of an account over a calendar month, to be read or printed.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    failure::Failure,
    layout::{page_of, table},
    link::{self, link},
    money,
    operator::Operator,
    text,
    time::{self, Month},
    words,
};
use crate::grpc::proto::{Balance, GetStatementRequest, GetStatementResponse};

/// Which month of which account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    account: String,
    month: String,
}

/// The page.
pub(super) async fn show(
    Operator { viewer, service, .. }: Operator,
    Query(which): Query<Which>,
) -> Result<Markup, Failure> {
    let month = Month::parse(&which.month).ok_or_else(|| {
        Failure::Malformed("A month is written as a year and a month, such as 2026-11.".into())
    })?;
    let (begin, end) = (month.begin(), month.next().begin());
    let request = GetStatementRequest {
        account_id: which.account.clone(),
        from_time: Some(time::message(begin)),
        until_time: Some(time::message(end)),
    };
    let statement = service.get_statement(request).await?;
    let title = format!("Statement of account {} for {month}", which.account);
    let body = html! {
        h1 { "Statement of account " a href=(link::account(&which.account)) { (text::whole(&which.account)) } }
        p class="lead" { "From " (time::to_the_second(begin)) " until before " (time::to_the_second(end)) }
        @if time::now() < end { p { "This month is not over: the statement ends now." } }
        (sums(&statement))
        (ways(&which.account, month))
    };
    Ok(page_of(&which.account, &title, &viewer, &body))
}

fn sums(statement: &GetStatementResponse) -> Markup {
    let row = |name: &str, balance: Option<Balance>| {
        let balance = balance.unwrap_or_default();
        html! {
            tr class="total" {
                th scope="row" { (name) } td {} td class="sum" { (money::usd(balance.posted_micro_usd)) }
            }
            tr { th scope="row" { "of it held" } td {} td class="sum" { (money::usd(balance.held_micro_usd)) } }
        }
    };
    let rows = html! {
        thead {
            tr { th scope="col" { "What" } th scope="col" class="sum" { "Entries" } th scope="col" class="sum" { "Posted" } }
        }
        tbody {
            (row("Opening balance", statement.opening))
            @for total in &statement.totals {
                tr {
                    th scope="row" { (words::entry_type(total.entry_type)) }
                    td class="sum" { (total.count) }
                    td class="sum" { (money::change(total.amount_micro_usd)) }
                }
            }
            (row("Closing balance", statement.closing))
        }
    };
    table("Statement", &rows)
}

fn ways(account: &str, month: Month) -> Markup {
    let to = |month: Month| link("/month", &[("account", account), ("month", &month.to_string())]);
    let (from, until) = (month.first_day(), month.next().first_day());
    let period = [("id", account), ("from", from.as_str()), ("until", until.as_str())];
    html! {
        p class="ways" {
            a rel="prev" href=(to(month.previous())) { "Month before" }
            a rel="next" href=(to(month.next())) { "Month after" }
            a href={ (link("/account", &period)) "#statement" } { "Its entries" }
            a href=(link("/entries.csv", &period)) { "Its entries as CSV" }
        }
    }
}
