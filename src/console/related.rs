//! What belongs to an entry or a reservation, but only says so itself: looked for among the entries that came after, as far as a
//! page may look.

use maud::{Markup, html};
use prost_types::Timestamp;

use super::{
    link::link,
    service::{Service, ServiceError},
    statement,
};
use crate::grpc::proto::{Entry, EntryType, ListEntriesRequest};

/// How many pages of entries are looked through.
const PAGES_MAX: usize = 4;
/// How many entries are looked for on one page. It is the most that the service gives.
const PAGE_SIZE: i32 = 1_000;

/// Where entries are looked for.
pub(super) struct Search<'a> {
    /// In which account.
    pub(super) account: &'a str,
    /// Of which types.
    pub(super) types: &'a [EntryType],
    /// From when on.
    pub(super) from: Option<Timestamp>,
    /// Before when.
    pub(super) until: Option<Timestamp>,
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
        let mut request = ListEntriesRequest {
            account_id: self.account.to_owned(),
            page_size: PAGE_SIZE,
            entry_types: self.types.iter().copied().map(Into::into).collect(),
            from_time: self.from,
            until_time: self.until,
            ..Default::default()
        };
        let mut entries = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = service.list_entries(request.clone()).await?;
            entries.extend(page.entries.into_iter().filter(&belongs));
            if page.next_page_token.is_empty() || is_enough(&entries) {
                return Ok(Related { entries, is_all: true });
            }
            request.page_token = page.next_page_token;
        }
        Ok(Related { entries, is_all: false })
    }
}

impl Related {
    /// What was found, under a heading; nothing if there is nothing.
    pub(super) fn section(&self, heading: &str, account: &str) -> Markup {
        html! {
            @if !self.entries.is_empty() || !self.is_all {
                section {
                    h2 { (heading) }
                    @if !self.entries.is_empty() { (statement::entries(heading, &self.entries)) }
                    @if !self.is_all {
                        p {
                            "Only the newest entries were looked through; there may be more in the "
                            a href=(link("/account", &[("id", account)])) { "statement" } "."
                        }
                    }
                }
            }
        }
    }
}
