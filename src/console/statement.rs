//! The statement of an account: its entries, newest first, by filters that stand in the address.

use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::table,
    link::{self, link},
    money, text, time, words,
};
use crate::{
    accounting::Timestamp,
    grpc::proto::{Entry, EntryType, ListEntriesRequest, ListEntriesResponse},
};

/// How many entries a page has.
const PAGE_SIZE: i32 = 50;

/// Which entries, as it stands in the address of a page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// The account.
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) entry_type: String,
    pub(super) from: String,
    pub(super) until: String,
    pub(super) reference: String,
    pub(super) page: String,
}

impl Filter {
    /// What the service is asked for, or which field is wrong.
    pub(super) fn request(&self) -> Result<ListEntriesRequest, String> {
        let entry_type = match self.entry_type.as_str() {
            "" => None,
            name => Some(EntryType::from_str_name(name).ok_or("There is no such type of entries.")?),
        };
        let day = |name: &str, text: &str| match text {
            "" => Ok(None),
            text => Timestamp::parse(text)
                .map(|at| Some(time::message(at)))
                .map_err(|why| format!("{name} {why}.")),
        };
        Ok(ListEntriesRequest {
            account_id: self.id.clone(),
            page_size: PAGE_SIZE,
            page_token: self.page.clone(),
            entry_types: entry_type.map(Into::into).into_iter().collect(),
            from_time: day("“From”", &self.from)?,
            until_time: day("“Before”", &self.until)?,
            reference: self.reference.clone(),
        })
    }

    /// The address of a page with the same filters.
    fn to(&self, path: &str, page: &str) -> String {
        link(
            path,
            &[
                ("id", &self.id),
                ("type", &self.entry_type),
                ("from", &self.from),
                ("until", &self.until),
                ("reference", &self.reference),
                ("page", page),
            ],
        )
    }
}

/// The statement, with the form of its filters.
pub(super) fn section(filter: &Filter, listed: &Result<ListEntriesResponse, String>) -> Markup {
    html! {
        section aria-labelledby="statement" {
            h2 id="statement" { "Statement" }
            (form(filter))
            @match listed {
                Ok(page) => (rows_and_ways_on(filter, page)),
                Err(why) => div class="problem" role="alert" { p { (why) } },
            }
        }
    }
}

fn form(filter: &Filter) -> Markup {
    html! {
        form class="filters" action="/account#statement" method="get" {
            input type="hidden" name="id" value=(filter.id);
            div {
                label for="type" { "Type" }
                select id="type" name="type" {
                    option value="" { "all types" }
                    @for entry_type in words::types() {
                        @let name = entry_type.as_str_name();
                        option value=(name) selected[name == filter.entry_type] { (words::name_of_type(entry_type)) }
                    }
                }
            }
            div { label for="from" { "From (UTC)" } input id="from" name="from" type="date" value=(filter.from); }
            div { label for="until" { "Before (UTC)" } input id="until" name="until" type="date" value=(filter.until); }
            div {
                label for="reference" { "Reference, exactly" }
                input id="reference" name="reference" value=(filter.reference) maxlength="1024" autocomplete="off";
            }
            button { "Show" }
        }
    }
}

fn rows_and_ways_on(filter: &Filter, page: &ListEntriesResponse) -> Markup {
    let next = &page.next_page_token;
    html! {
        @if page.entries.is_empty() {
            p { @if next.is_empty() { "No entries." } @else { "No entries up to here; there may be older ones." } }
        } @else {
            (entries("Entries, newest first", &page.entries))
        }
        p class="ways" {
            @if !filter.page.is_empty() { a href={ (filter.to("/account", "")) "#statement" } { "Newest" } }
            @if !next.is_empty() { a rel="next" href={ (filter.to("/account", next)) "#statement" } { "Older" } }
            a href=(filter.to("/entries.csv", "")) { "All of these as CSV" }
        }
    }
}

/// Entries as a table.
pub(super) fn entries(name: &str, entries: &[Entry]) -> Markup {
    let rows = html! {
        thead {
            tr {
                th scope="col" { "Entry" } th scope="col" { "Effective" } th scope="col" { "Type" }
                th scope="col" class="sum" { "Posted" } th scope="col" class="sum" { "Held" }
                th scope="col" class="sum" { "Available after" } th scope="col" { "What for" }
            }
        }
        tbody { @for entry in entries { (row(entry)) } }
    };
    table(name, &rows)
}

fn row(entry: &Entry) -> Markup {
    let available = entry.balance_after.map_or(0, |balance| balance.available_micro_usd);
    html! {
        tr {
            td { a href=(link::entry(&entry.account_id, entry.sequence)) { (entry.sequence) } }
            td { (time::short(entry.effective_time.as_ref())) }
            td { (words::entry_type(entry.entry_type)) }
            td class="sum" { (money::change(entry.amount_micro_usd)) }
            td class="sum" { @if entry.held_delta_micro_usd != 0 { (money::change(entry.held_delta_micro_usd)) } }
            td class="sum" { (money::usd(available)) }
            td { (text::clipped(what_for(entry))) }
        }
    }
}

/// What tells most about an entry in a few words.
fn what_for(entry: &Entry) -> &str {
    let external_id = entry.external_ids.first().map_or("", String::as_str);
    let texts = [&entry.reason, &entry.reference, external_id, &entry.idempotency_key];
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}
