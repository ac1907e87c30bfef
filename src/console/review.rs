//! What is about to be done, once more: the account before and after, and the button that does it.

use maud::{Markup, html};

use super::{
    action::Action,
    available::debt_limit,
    fields::{About, address, values},
    layout::{facts, form_token, page_of, table},
    link, money,
    order::{After, Draft},
    text,
    viewer::Viewer,
    words,
};

/// The page.
pub(super) fn page(action: Action, draft: &Draft, about: &About, after: &After, viewer: &Viewer) -> Markup {
    let title = format!("{}, account {}: look once more", action.title(), draft.account);
    let body = html! {
        h1 { (action.title()) ": look once more" }
        p class="lead" { "Account " a href=(link::account(&draft.account)) { (text::whole(&draft.account)) } }
        (facts(&[
            ("Entry", (!draft.sequence.is_empty()).then(|| html! { (draft.sequence) })),
            ("Amount", money::parse(&draft.amount).ok().map(|amount| html! { (money::usd(amount)) })),
            ("Withdrawable", (!draft.withdrawable.is_empty()).then(|| html! { "yes" })),
            ("If not all is available", chosen(&draft.shortfall)),
            ("Legs", chosen(&draft.legs)),
            ("Reason", Some(text::whole(&draft.reason))),
            ("Decided by", Some(text::whole(viewer.actor()))),
        ]))
        (before_and_after(about, after))
        (confirm(action, draft, action.title(), viewer))
        p class="ways" { a href=(address(action, draft)) { "Change the form" } a href=(link::account(&draft.account)) { "Leave it" } }
    };
    page_of(&draft.account, &title, viewer, &body)
}

fn chosen(name: &str) -> Option<Markup> {
    let short = name.rsplit_once("_POLICY_").map_or(name, |(_, short)| short);
    (!name.is_empty()).then(|| html! { (short.to_lowercase().replace('_', " ")) })
}

fn before_and_after(about: &About, after: &After) -> Markup {
    let account = &about.account;
    let balance = account.balance.unwrap_or_default();
    let held = i128::from(balance.held_micro_usd);
    let rows = html! {
        thead { tr { th scope="col" { "" span class="unseen" { "What" } } th scope="col" class="sum" { "Before" } th scope="col" class="sum" { "After" } } }
        tbody {
            tr { th scope="row" { "Posted" } td class="sum" { (money::usd(balance.posted_micro_usd)) } td class="sum" { (money::usd(after.posted)) } }
            tr { th scope="row" { "Held" } td class="sum" { (money::usd(held)) } td class="sum" { (money::usd(held)) } }
            tr class="total" {
                th scope="row" { "Available" }
                td class="sum" { (money::usd(balance.available_micro_usd)) } td class="sum" { (money::usd(after.posted - held)) }
            }
            tr { th scope="row" { "State" } td class="sum" { (words::account_state(account.state)) } td class="sum" { (words::account_state(after.state)) } }
            tr { th scope="row" { "Debt limit" } td class="sum" { (debt_limit(account.debt_limit_micro_usd)) } td class="sum" { (debt_limit(after.debt_limit)) } }
        }
    };
    html! {
        (table("The account before and after", &rows))
        p class="hint" { "As the account is now. What others do meanwhile is added." }
    }
}

/// The button that does it, with all that the form says.
pub(super) fn confirm(action: Action, draft: &Draft, label: &str, viewer: &Viewer) -> Markup {
    html! {
        form class="confirm" action=(action.path()) method="post" {
            (form_token(viewer))
            @for (name, value) in values(draft) {
                @if !value.is_empty() { input type="hidden" name=(name) value=(value); }
            }
            button class="do" { (label) }
        }
    }
}
