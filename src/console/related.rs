//! What belongs to an entry or a reservation, but only says so itself: looked for among the entries that came after, as far as a
//! page may look.

use std::cmp::Reverse;

use maud::{Markup, html};
use prost_types::Timestamp;

use super::{
    link::link,
    service::{Service, ServiceError},
    statement, time,
};
use crate::{
    accounting::Timestamp as Micros,
    grpc::proto::{Entry, EntryType, ListEntriesRequest},
};

/// How many microseconds a day has.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// How long after something what belongs to it is looked for, one span after the other: most of it comes soon. Then whenever.
const SPANS: [Option<i64>; 4] = [Some(DAY / 24), Some(DAY), Some(30 * DAY), None];
/// How many pages of entries are looked through in each span.
const PAGES_MAX: usize = 2;
/// How many entries a page has. It is the most that the service gives.
const PAGE_SIZE: i32 = 1_000;

/// Where entries are looked for.
pub(super) struct Search<'a> {
    /// In which account.
    pub(super) account: &'a str,
    /// Of which types.
    pub(super) types: &'a [EntryType],
    /// From when on.
    pub(super) from: Option<Timestamp>,
}

/// What was found, newest first.
pub(super) struct Related {
    /// The entries.
    pub(super) entries: Vec<Entry>,
    /// Whether everything was looked through.
    pub(super) is_all: bool,
}

impl Search<'_> {
    /// Looks for entries, until `is_enough` of them have been found or the page has looked far enough.
    pub(super) async fn find(
        &self,
        service: &Service,
        belongs: impl Fn(&Entry) -> bool,
        is_enough: impl Fn(&[Entry]) -> bool,
    ) -> Result<Related, ServiceError> {
        let (begin, now) = (time::of(self.from.as_ref()).unix_micros(), time::now());
        let mut related = Related { entries: Vec::new(), is_all: true };
        let mut from_time = self.from;
        for span in SPANS {
            let until = span.map(|span| Micros::from_unix_micros(begin.saturating_add(span)));
            let until_time = until.filter(|until| *until < now).map(time::message);
            let request = ListEntriesRequest {
                account_id: self.account.to_owned(),
                page_size: PAGE_SIZE,
                entry_types: self.types.iter().copied().map(Into::into).collect(),
                from_time,
                until_time,
                ..Default::default()
            };
            related.look_through(service, request, &belongs).await?;
            if is_enough(&related.entries) {
                related.is_all = true;
                break;
            }
            if until_time.is_none() {
                break;
            }
            from_time = until_time;
        }
        related.entries.sort_by_key(|entry| Reverse(entry.sequence));
        Ok(related)
    }
}

impl Related {
    /// Adds what belongs from one span.
    async fn look_through(
        &mut self,
        service: &Service,
        mut request: ListEntriesRequest,
        belongs: impl Fn(&Entry) -> bool,
    ) -> Result<(), ServiceError> {
        for _ in 0..PAGES_MAX {
            let page = service.list_entries(request.clone()).await?;
            self.entries.extend(page.entries.into_iter().filter(&belongs));
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
        self.is_all = false;
        Ok(())
    }

    /// What was found, under a heading; nothing if there is nothing.
    pub(super) fn section(&self, heading: &str, account: &str) -> Markup {
        html! {
            @if !self.entries.is_empty() || !self.is_all {
                section {
                    h2 { (heading) }
                    @if !self.entries.is_empty() { (statement::entries(heading, &self.entries)) }
                    @if !self.is_all {
                        p {
                            "Not all entries were looked through; there may be more in the "
                            a href=(link("/account", &[("id", account)])) { "statement" } "."
                        }
                    }
                }
            }
        }
    }
}
