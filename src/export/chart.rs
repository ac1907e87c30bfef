//! The chart of accounts, and the postings of each entry.
//!
//! The service owes its customers their balances: a liability, which bookkeeping counts as negative. So the balance of
//! `Liabilities:Customers:<account>` is what is posted, with the opposite sign.
//!
//! | account                             | moved by                                                             |
//! | ----------------------------------- | -------------------------------------------------------------------- |
//! | `Liabilities:Customers:<account>`   | every entry that moves money                                         |
//! |  … `:Available`                     | what is not held. It can be spent, but for what the next entry ends  |
//! |                                     | of grants                                                            |
//! |  … `:Held`                          | what reservations hold; owed to the customer until it is captured    |
//! | `Assets:Stripe`, `Assets:Deposits`  | `STRIPE_DEPOSIT`, `DEPOSIT`                                          |
//! | `Expenses:Earnings`                 | `EARNING`                                                            |
//! | `Expenses:Referrals`                | `REFERRAL_REWARD`                                                    |
//! | `Expenses:Invites`                  | `INVITE_CREDIT`                                                      |
//! | `Expenses:Goodwill`                 | `ADMIN_CREDIT`                                                       |
//! | `Income:Usage`                      | `CHARGE` and `CAPTURE`, and their `REFUND`                           |
//! | `Equity:Legs`                       | what charges and captures pass on, and their legs; what refunds take |
//! |                                     | back of them. Zero once both sides are exported                      |
//! | `Assets:Payouts`                    | `WITHDRAWAL`, and its `REFUND`                                       |
//! | `Assets:Reversals`                  | `REVERSAL`, and its `REFUND`                                         |
//! | `Income:Forfeits`                   | `ACCOUNT_CHANGE`: what an account was closed with                    |
//! | `Income:Expired`                    | `GRANT_EXPIRE`: what was granted and not used in time                |
//! | `Equity:Imported`                   | money that history moved by entries which only hold                  |
//! | `Equity:Opening-Balances`           | the balance before the first exported entry                          |

use std::io;

use super::columns;
use crate::accounting::{CreditKind, Entry, EntryType, GrantMoves, MicroUsd};

/// All accounts except those of customers.
pub(super) const ACCOUNTS: [&str; 14] = [
    "Assets:Stripe",
    "Assets:Deposits",
    "Expenses:Earnings",
    "Expenses:Referrals",
    "Expenses:Invites",
    "Expenses:Goodwill",
    "Income:Usage",
    "Income:Forfeits",
    "Income:Expired",
    "Assets:Payouts",
    "Assets:Reversals",
    LEGS,
    IMPORTED,
    OPENING,
];

/// The parent of customers' accounts.
const CUSTOMERS: &str = "Liabilities:Customers";

const LEGS: &str = "Equity:Legs";
const IMPORTED: &str = "Equity:Imported";
const OPENING: &str = "Equity:Opening-Balances";

/// What a transaction adds to one account: 128 bits, since available may change by more than int64 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) account: Account,
    pub(super) micro_usd: i128,
}

/// An account of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Available to the customer.
    Available,
    /// Held for the customer.
    Held,
    /// One that all customers share.
    Shared(&'static str),
}

impl Account {
    /// Its full name, by the customer's name.
    pub(super) fn name(self, customer: &str) -> String {
        match self {
            Self::Available => format!("{CUSTOMERS}:{customer}:Available"),
            Self::Held => format!("{CUSTOMERS}:{customer}:Held"),
            Self::Shared(name) => name.to_owned(),
        }
    }
}

/// The balances of a customer's accounts, with the signs of bookkeeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) available: i128,
    pub(super) held: i128,
}

/// The postings of an entry, and for a refund by the type of what it refunds. They add up to zero.
pub(super) fn postings(entry: &Entry, refunded: Option<EntryType>) -> Vec<Posting> {
    let Owed { available, held } = owed_more(entry);
    let passed_on: i128 = entry.legs.iter().map(|leg| i128::from(leg.amount.get())).sum();
    let counter = match &entry.source {
        Some(_) => LEGS,
        None => counter_account(refunded.unwrap_or(entry.entry_type)),
    };
    moving([
        (Account::Shared(counter), passed_on - available - held),
        (Account::Shared(LEGS), -passed_on),
        (Account::Available, available),
        (Account::Held, held),
    ])
}

/// The postings that open with the balance before an entry.
pub(super) fn opening_postings(entry: &Entry) -> Vec<Posting> {
    let Owed { available, held } = owed_before(entry);
    let counter = Account::Shared(OPENING);
    moving([(counter, -available - held), (Account::Available, available), (Account::Held, held)])
}

/// What is owed after an entry. What lapses because of it is owed until the next entry, which ends it: an entry's postings move
/// its own amount and no other's.
pub(super) fn owed_after(entry: &Entry) -> Owed {
    let balance = entry.balance_after;
    let (posted, held) = (i128::from(balance.posted().get()), i128::from(balance.held().get()));
    Owed { available: held - posted, held: -held }
}

/// What was owed before an entry.
pub(super) fn owed_before(entry: &Entry) -> Owed {
    let (after, more) = (owed_after(entry), owed_more(entry));
    Owed { available: after.available - more.available, held: after.held - more.held }
}

/// What an entry adds to what is owed.
fn owed_more(entry: &Entry) -> Owed {
    let (amount, held_delta) = (i128::from(entry.amount.get()), i128::from(entry.held_delta.get()));
    Owed { available: held_delta - amount, held: -held_delta }
}

impl Owed {
    /// The balance of a customer's account; `None` for a shared account.
    pub(super) fn on(self, account: Account) -> Option<i128> {
        match account {
            Account::Available => Some(self.available),
            Account::Held => Some(self.held),
            Account::Shared(_) => None,
        }
    }
}

/// Further facts of an entry for bookkeeping, by name.
pub(super) fn facts(entry: &Entry) -> Vec<(&'static str, String)> {
    let Entry { account_id, note, reservation, .. } = entry;
    let mut facts = vec![("customer", account_id.to_string()), ("time", entry.effective_time.to_string())];
    let mut add = |name, text: Option<String>| facts.extend(text.map(|text| (name, text)));
    add("idempotency_key", entry.idempotency_key.as_ref().map(ToString::to_string));
    add("external_ids", Some(entry.external_ids.joined()).filter(|ids| !ids.is_empty()));
    add("reference", Some(note.reference.as_str().to_owned()).filter(|text| !text.is_empty()));
    add("actor", entry.actor.as_ref().map(|actor| actor.as_str().to_owned()));
    add("reason", entry.reason.as_ref().map(|reason| reason.as_str().to_owned()));
    add("caller", entry.caller.as_ref().map(ToString::to_string));
    add("refunded_sequence", entry.refunded_sequence.map(|sequence| sequence.to_string()));
    add("reservation_id", reservation.as_ref().map(|after| after.reservation_id.to_string()));
    add("reversed_sequence", entry.reversed_sequence.map(|sequence| sequence.to_string()));
    add("legs", columns::legs(entry));
    let source = entry.source.as_ref();
    add("source", source.map(|source| format!("{}:{}", source.sequence, source.account_id)));
    let unless_zero =
        |sum: MicroUsd| Some(sum).filter(|sum| *sum != MicroUsd::ZERO).map(|sum| sum.to_string());
    add("uncollected_micro_usd", unless_zero(entry.uncollected));
    add("grant_expire_time", entry.grant_expire_time.map(|time| time.to_string()));
    let GrantMoves { draws, unwinds, converted, lapses, pins } = &entry.grant_moves;
    add("draws", columns::shares(draws));
    add("unwinds", columns::shares(unwinds));
    add("converted", columns::shares(converted));
    add("lapses", columns::shares(lapses));
    add("pins", columns::shares(pins));
    add("lapsed_micro_usd", unless_zero(entry.balance_after.lapsing()));
    facts
}

/// The date of an entry in UTC.
pub(super) fn date(entry: &Entry) -> io::Result<String> {
    let Entry { account_id, sequence, effective_time, .. } = entry;
    let none = || io::Error::other(format!("entry {sequence} of {account_id} has no date: {effective_time}"));
    effective_time.date().map(|date| date.to_string()).ok_or_else(none)
}

/// The postings that move money, or one that moves nothing.
fn moving<const COUNT: usize>(postings: [(Account, i128); COUNT]) -> Vec<Posting> {
    let all = postings.map(|(account, micro_usd)| Posting { account, micro_usd });
    let mut moving: Vec<Posting> = all.into_iter().filter(|posting| posting.micro_usd != 0).collect();
    if moving.is_empty() {
        moving.push(Posting { account: Account::Available, micro_usd: 0 });
    }
    moving
}

/// Where the money of an entry came from or went to. A refund is posted as what it refunds is.
fn counter_account(entry_type: EntryType) -> &'static str {
    match entry_type {
        EntryType::Credit(CreditKind::StripeDeposit) => "Assets:Stripe",
        EntryType::Credit(CreditKind::Deposit) => "Assets:Deposits",
        EntryType::Credit(CreditKind::Earning) => "Expenses:Earnings",
        EntryType::Credit(CreditKind::ReferralReward) => "Expenses:Referrals",
        EntryType::Credit(CreditKind::InviteCredit) => "Expenses:Invites",
        EntryType::Credit(CreditKind::Fee) => LEGS,
        EntryType::AdminCredit => "Expenses:Goodwill",
        EntryType::Charge | EntryType::Capture | EntryType::Refund => "Income:Usage",
        EntryType::AccountChange => "Income:Forfeits",
        EntryType::GrantExpire => "Income:Expired",
        EntryType::Withdrawal => "Assets:Payouts",
        EntryType::Reversal => "Assets:Reversals",
        EntryType::Reserve | EntryType::Release | EntryType::Extend | EntryType::Expire => IMPORTED,
    }
}
