//! The fields of a form, each with its label, what is wrong with it, and what it holds already.

use maud::{Markup, html};

use super::{
    action::Action,
    link::{self, link},
    money,
    order::{Draft, Wrong},
    text, time, words,
};
use crate::grpc::proto::{Account, Entry, LegsPolicy, ShortfallPolicy};

/// What a form is about.
pub(super) struct About {
    /// The account as it is now.
    pub(super) account: Account,
    /// The entry that is to be undone.
    pub(super) entry: Option<Entry>,
    /// The credit that this entry itself takes back.
    pub(super) reversed: Option<Entry>,
}

/// The names and values of a form, as they stand in its address.
pub(super) fn values(draft: &Draft) -> [(&'static str, &str); 9] {
    [
        ("account", &draft.account),
        ("key", &draft.key),
        ("sequence", &draft.sequence),
        ("amount", &draft.amount),
        ("reason", &draft.reason),
        ("withdrawable", &draft.withdrawable),
        ("shortfall", &draft.shortfall),
        ("legs", &draft.legs),
        ("forfeit", &draft.forfeit),
    ]
}

/// The address of a form as it is filled in.
pub(super) fn address(action: Action, draft: &Draft) -> String {
    link(&action.path(), &values(draft))
}

/// The form.
pub(super) fn form(action: Action, draft: &Draft, about: &About, wrong: Option<&Wrong>) -> Markup {
    html! {
        p class="lead" { "Account " a href=(link::account(&draft.account)) { (text::whole(&draft.account)) } }
        @if let Some(entry) = &about.entry { (undone(entry)) }
        @if let Some(Wrong { field, why }) = wrong {
            div class="problem" role="alert" { p { a href={ "#" (field) } { "The " (field) } " " (why) "." } }
        }
        form class="fields" action=(action.path()) method="get" {
            @for name in ["account", "key", "sequence", "forfeit"] { (hidden(name, draft)) }
            (own_fields(action, draft, about, wrong))
            (reason(draft, wrong))
            button name="review" value="1" { "Go on" }
        }
    }
}

fn hidden(name: &str, draft: &Draft) -> Markup {
    let value = values(draft).into_iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value);
    html! { @if !value.is_empty() { input type="hidden" name=(name) value=(value); } }
}

fn undone(entry: &Entry) -> Markup {
    html! {
        p {
            "Entry " a href=(link::entry(&entry.account_id, entry.sequence)) { (entry.sequence) } ": "
            (words::entry_type(entry.entry_type)) " of " (time::short(entry.effective_time.as_ref())) ", "
            (money::change(entry.amount_micro_usd))
        }
    }
}

fn own_fields(action: Action, draft: &Draft, about: &About, wrong: Option<&Wrong>) -> Markup {
    let has_legs = about.entry.as_ref().is_some_and(|entry| !entry.legs.is_empty());
    match action {
        Action::Grant => html! {
            (amount("Amount in USD", "such as 12.50", draft, wrong))
            div class="check" {
                input id="withdrawable" name="withdrawable" type="checkbox" value="1"
                    checked[!draft.withdrawable.is_empty()];
                label for="withdrawable" { "It can be withdrawn" }
            }
        },
        Action::Refund => html! {
            (amount("Amount in USD", "at most what is left of the entry", draft, wrong))
            @if has_legs { (legs(draft, wrong)) }
        },
        Action::Reverse => html! {
            (amount("Amount in USD", "at most what is left of the entry", draft, wrong))
            (shortfall(draft, wrong))
        },
        Action::DebtLimit => {
            amount("Debt limit in USD", "empty for the limit of the service's configuration", draft, wrong)
        }
        Action::Freeze => {
            html! { p { "Nothing new is spent. Open reservations can still be captured, and credits apply." } }
        }
        Action::Reopen => html! { p { "Everything is possible again." } },
        Action::Close => close(draft),
    }
}

fn close(draft: &Draft) -> Markup {
    let forfeit = draft.forfeit.parse().unwrap_or(0_i64);
    html! {
        p {
            "Nothing is spent or credited any more; refunds and reversals still apply. "
            @if forfeit > 0 { "What is posted, " strong { (money::usd(forfeit)) } ", is forfeited." }
            @else if forfeit < 0 { "The debt of " strong { (money::usd(-i128::from(forfeit))) } " is written off." }
            @else { "Nothing is posted." }
        }
    }
}

fn amount(label: &str, hint: &str, draft: &Draft, wrong: Option<&Wrong>) -> Markup {
    html! {
        div {
            label for="amount" { (label) }
            input id="amount" name="amount" inputmode="decimal" autocomplete="off" value=(draft.amount) maxlength="24"
                aria-describedby="amount-hint" aria-invalid=[is_wrong("amount", wrong)];
            p class="hint" id="amount-hint" { (hint) }
        }
    }
}

fn reason(draft: &Draft, wrong: Option<&Wrong>) -> Markup {
    html! {
        div {
            label for="reason" { "Reason" }
            textarea id="reason" name="reason" rows="3" maxlength="1024" required aria-describedby="reason-hint"
                aria-invalid=[is_wrong("reason", wrong)] { "\n" (draft.reason) }
            p class="hint" id="reason-hint" { "Kept for ever, and shown to everybody who may read: no secrets, no personal data." }
        }
    }
}

fn shortfall(draft: &Draft, wrong: Option<&Wrong>) -> Markup {
    let policies = [
        (ShortfallPolicy::Reject, "refuse it if it is not all available"),
        (ShortfallPolicy::CollectAvailable, "take what is available, and no more"),
        (ShortfallPolicy::AllowDebt, "take all of it, into debt"),
    ];
    let options = policies.map(|(policy, text)| (policy.as_str_name(), text));
    choice("shortfall", "If it is not all available", &options, &draft.shortfall, wrong)
}

fn legs(draft: &Draft, wrong: Option<&Wrong>) -> Markup {
    let policies = [
        (LegsPolicy::TakeBack, "take them back, as far as payees have it"),
        (LegsPolicy::Keep, "payees keep them"),
    ];
    let options = policies.map(|(policy, text)| (policy.as_str_name(), text));
    choice("legs", "The legs of the entry", &options, &draft.legs, wrong)
}

fn choice(
    name: &'static str,
    label: &str,
    options: &[(&str, &str)],
    chosen: &str,
    wrong: Option<&Wrong>,
) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) required aria-invalid=[is_wrong(name, wrong)] {
                option value="" { "choose" }
                @for (value, text) in options { option value=(value) selected[*value == chosen] { (text) } }
            }
        }
    }
}

fn is_wrong(field: &str, wrong: Option<&Wrong>) -> Option<&'static str> {
    wrong.filter(|wrong| wrong.field == field).map(|_| "true")
}
