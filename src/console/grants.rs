//! Money that expires: what is left of an account's grants until when, and what an entry did to them.

use maud::{Markup, html};

use super::{
    layout::table,
    link, money,
    service::{Service, ServiceError},
    time,
};
use crate::grpc::proto::{Account, Entry, Grant, GrantShare, ListGrantsRequest, ListGrantsResponse};

/// More than an account has that have not expired; of others only what a reservation still holds is left.
const LISTED: i32 = 100;

/// The grants of an account of which something is left, if any of what it has expires.
pub(super) async fn open(service: &Service, account: &Account) -> Result<ListGrantsResponse, ServiceError> {
    let request = ListGrantsRequest {
        account_id: account.account_id.clone(),
        page_size: LISTED,
        page_token: String::new(),
        only_open: true,
    };
    service.list_grants(request).await
}

/// What is granted until when; nothing if nothing is.
pub(super) fn section(account: &Account, open: &ListGrantsResponse) -> Markup {
    html! {
        @if !open.grants.is_empty() {
            h3 { "Granted until" }
            (grants(&account.account_id, &open.grants))
        }
    }
}

fn grants(account: &str, grants: &[Grant]) -> Markup {
    let rows = html! {
        thead {
            tr {
                th scope="col" { "Credit" } th scope="col" { "Expires" } th scope="col" class="sum" { "Left" }
                th scope="col" class="sum" { "Of it held" } th scope="col" class="sum" { "Granted" }
            }
        }
        tbody {
            @for grant in grants {
                tr {
                    td { a href=(link::entry(account, grant.sequence)) { (grant.sequence) } }
                    td { (time::short(grant.expire_time.as_ref())) }
                    td class="sum" { (money::usd(grant.remaining_micro_usd)) }
                    td class="sum" { (money::usd(grant.pinned_micro_usd)) }
                    td class="sum" { (money::usd(grant.amount_micro_usd)) }
                }
            }
        }
    };
    table("Grants of which something is left, newest first", &rows)
}

/// What an entry did to grants, by what that is called on its page.
pub(super) fn moves(entry: &Entry) -> Vec<(&'static str, Option<Markup>)> {
    let account = &entry.account_id;
    let lapsed = (entry.lapsed_micro_usd != 0).then(|| html! { (money::usd(entry.lapsed_micro_usd)) });
    vec![
        ("Expires", entry.grant_expire_time.as_ref().map(|at| time::exact(Some(at)))),
        ("Taken of grants", shares(account, &entry.draws)),
        ("Brought back into grants", shares(account, &entry.unwinds)),
        ("Became other money", shares(account, &entry.converted)),
        ("Expired", shares(account, &entry.lapses)),
        ("Held of grants", shares(account, &entry.pins)),
        ("Expired at once, by the next entry", lapsed),
    ]
}

fn shares(account: &str, shares: &[GrantShare]) -> Option<Markup> {
    let share = |share: &GrantShare| {
        html! {
            (money::usd(share.amount_micro_usd)) " of "
            a href=(link::entry(account, share.grant_sequence)) { "entry " (share.grant_sequence) }
        }
    };
    let all = || html! { @for (n, one) in shares.iter().enumerate() { @if n > 0 { ", " } (share(one)) } };
    (!shares.is_empty()).then(all)
}
