//! What an operator can do, and which of it a page offers: only what the service lets the operator's roles do.

use maud::{Markup, html};

use super::{link::link, viewer::Viewer};
use crate::{
    access::Role,
    grpc::proto::{Account, AccountState, Entry, EntryType},
};

/// What an operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Grant,
    Refund,
    Reverse,
    Freeze,
    Reopen,
    Close,
    DebtLimit,
}

impl Action {
    const ALL: [Self; 7] =
        [Self::Grant, Self::Refund, Self::Reverse, Self::Freeze, Self::Reopen, Self::Close, Self::DebtLimit];

    /// Its name in addresses and keys.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Refund => "refund",
            Self::Reverse => "reverse",
            Self::Freeze => "freeze",
            Self::Reopen => "reopen",
            Self::Close => "close",
            Self::DebtLimit => "debt-limit",
        }
    }

    /// The action with a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// What it is called on a page.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Grant => "Grant money",
            Self::Refund => "Refund",
            Self::Reverse => "Reverse",
            Self::Freeze => "Freeze",
            Self::Reopen => "Reopen",
            Self::Close => "Close",
            Self::DebtLimit => "Set debt limit",
        }
    }

    /// Whether it is about one entry of the account.
    pub(super) fn is_of_entry(self) -> bool {
        match self {
            Self::Refund | Self::Reverse => true,
            Self::Grant | Self::Freeze | Self::Reopen | Self::Close | Self::DebtLimit => false,
        }
    }

    /// The address of its form.
    pub(super) fn path(self) -> String {
        format!("/act/{}", self.name())
    }

    /// Whether a role may allow it at all. Of a refund and a reversal the entry says which.
    pub(super) fn is_open_to(self, viewer: &Viewer) -> bool {
        viewer.may(Role::Admin) || (self.is_of_entry() && viewer.may(Role::Coordinator))
    }
}

/// What an operator may do with an account.
pub(super) fn of_account(account: &Account, viewer: &Viewer) -> Vec<Action> {
    let actions: &[Action] = match account.state() {
        AccountState::Active | AccountState::Unspecified => {
            &[Action::Grant, Action::Freeze, Action::Close, Action::DebtLimit]
        }
        AccountState::Frozen => &[Action::Grant, Action::Reopen, Action::Close, Action::DebtLimit],
        AccountState::Closed => &[Action::Reopen],
    };
    actions.iter().copied().filter(|action| action.is_open_to(viewer)).collect()
}

/// What an operator may do with an entry: whose decision it was, decides who may undo it. `reversed` is the credit that a
/// reversal took back.
pub(super) fn of_entry(entry: &Entry, reversed: Option<&Entry>, viewer: &Viewer) -> Option<Action> {
    let (action, undone) = match entry.entry_type() {
        EntryType::Charge | EntryType::Capture | EntryType::Withdrawal => (Action::Refund, Some(entry)),
        EntryType::Reversal => (Action::Refund, reversed),
        EntryType::StripeDeposit
        | EntryType::Deposit
        | EntryType::Earning
        | EntryType::ReferralReward
        | EntryType::InviteCredit
        | EntryType::Fee
        | EntryType::AdminCredit => (Action::Reverse, Some(entry)),
        EntryType::Unspecified
        | EntryType::Refund
        | EntryType::Reserve
        | EntryType::Release
        | EntryType::Extend
        | EntryType::Expire
        | EntryType::AccountChange
        | EntryType::GrantExpire => return None,
    };
    let is_grant = undone.is_some_and(|entry| entry.entry_type() == EntryType::AdminCredit);
    viewer.may(if is_grant { Role::Admin } else { Role::Coordinator }).then_some(action)
}

/// Links to the forms of an account's actions.
pub(super) fn links_of_account(account: &Account, viewer: &Viewer) -> Markup {
    let actions = of_account(account, viewer);
    html! {
        @if !actions.is_empty() {
            nav class="actions" aria-label="Actions" {
                @for action in actions {
                    a class="button" href=(link(&action.path(), &[("account", &account.account_id)])) { (action.title()) "…" }
                }
            }
        }
    }
}

/// The link to the form of an entry's action.
pub(super) fn link_of_entry(entry: &Entry, reversed: Option<&Entry>, viewer: &Viewer) -> Markup {
    let sequence = entry.sequence.to_string();
    html! {
        @if let Some(action) = of_entry(entry, reversed, viewer) {
            nav class="actions" aria-label="Actions" {
                a class="button" href=(link(&action.path(), &[("account", &entry.account_id), ("sequence", &sequence)])) {
                    (action.title()) "…"
                }
            }
        }
    }
}
