//! A row of the replaced system's journal, and what it means here.

use crate::accounting::{AccountId, CreditKind, EntryType, ExternalId, IdempotencyKey, MicroUsd, Timestamp};

/// What a Stripe session has in front of it in the reference of its deposit.
pub const SESSION_PREFIX: &str = "stripe:";
const STRIPE_DEPOSIT: EntryType = EntryType::Credit(CreditKind::StripeDeposit);

/// A row of the replaced system's `ledger_entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its number there. Numbers are given before rows are committed, so a lower one can appear later.
    pub id: i64,
    /// Its type, by the name it had there.
    pub entry_type: String,
    /// What was added to the balance.
    pub amount: MicroUsd,
    /// What the balance was afterwards, by what was written there.
    pub balance_after: Option<i64>,
    /// What was written beside it.
    pub reference: String,
    /// When the transaction began that wrote it.
    pub create_time: Timestamp,
    /// Whether an earlier row deposited the same Stripe session.
    pub repeats_payment: bool,
}

/// The place of a row in its account: rows are imported in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The row's time.
    pub create_time: Timestamp,
    /// The row's number.
    pub id: i64,
}

/// What a type of the replaced system is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// This type.
    Is(EntryType),
    /// Nothing of its own: money taken is a charge, and money given a deposit.
    BySign,
}

/// Which way money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the account: amounts are above zero.
    Given,
    /// From the account: amounts are below zero.
    Taken,
}

/// The types that the replaced system wrote.
pub const KNOWN_TYPES: [(&str, Meaning); 15] = [
    ("stripe_deposit", Meaning::Is(EntryType::Credit(CreditKind::StripeDeposit))),
    ("deposit", Meaning::Is(EntryType::Credit(CreditKind::Deposit))),
    ("payout", Meaning::Is(EntryType::Credit(CreditKind::Earning))),
    ("platform_fee", Meaning::Is(EntryType::Credit(CreditKind::Earning))),
    ("provider_floor_draw", Meaning::Is(EntryType::Credit(CreditKind::Earning))),
    ("referral_reward", Meaning::Is(EntryType::Credit(CreditKind::ReferralReward))),
    ("invite_credit", Meaning::Is(EntryType::Credit(CreditKind::InviteCredit))),
    ("charge", Meaning::Is(EntryType::Charge)),
    ("refund", Meaning::Is(EntryType::Refund)),
    ("admin_credit", Meaning::Is(EntryType::AdminCredit)),
    ("admin_reward", Meaning::Is(EntryType::AdminCredit)),
    ("withdrawal", Meaning::BySign),
    ("stripe_payout", Meaning::BySign),
    ("migration", Meaning::BySign),
    ("erasure_forfeit", Meaning::BySign),
];

impl Meaning {
    /// What a type of this name means. One that is not known means nothing of its own.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let known = KNOWN_TYPES.into_iter().find(|(known, _)| *known == name);
        known.map_or(Self::BySign, |(_, meaning)| meaning)
    }

    /// Which way money of this meaning goes; `None` where both are right.
    #[must_use]
    pub fn direction(self) -> Option<Direction> {
        match self {
            Self::Is(
                EntryType::Charge | EntryType::Capture | EntryType::Withdrawal | EntryType::Reversal,
            ) => Some(Direction::Taken),
            Self::Is(EntryType::Credit(_) | EntryType::Refund | EntryType::AdminCredit) => {
                Some(Direction::Given)
            }
            Self::Is(
                EntryType::Reserve
                | EntryType::Release
                | EntryType::Extend
                | EntryType::Expire
                | EntryType::AccountChange
                | EntryType::GrantExpire,
            )
            | Self::BySign => None,
        }
    }

    fn entry_type(self, amount: MicroUsd) -> EntryType {
        match self {
            Self::Is(entry_type) => entry_type,
            Self::BySign if amount < MicroUsd::ZERO => EntryType::Charge,
            Self::BySign => EntryType::Credit(CreditKind::Deposit),
        }
    }
}

impl HistoryRow {
    /// The type of its entry.
    #[must_use]
    pub fn entry_type(&self) -> EntryType {
        Meaning::of(&self.entry_type).entry_type(self.amount)
    }

    /// Its place in its account.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { create_time: self.create_time, id: self.id }
    }

    /// The payment that it credited: the Stripe session in a deposit's reference.
    #[must_use]
    pub fn payment(&self, account_id: &AccountId) -> Option<ExternalId> {
        if self.entry_type() != STRIPE_DEPOSIT {
            return None;
        }
        session(&self.reference, account_id)
    }
}

/// The Stripe session in the reference of a deposit into an account. `None` if there is none that can be told from others:
/// what could name many operations could name many payments.
pub(super) fn session(reference: &str, account_id: &AccountId) -> Option<ExternalId> {
    let session = reference.strip_prefix(SESSION_PREFIX).unwrap_or(reference);
    IdempotencyKey::parse_of_operation(session).ok()?.must_be_specific(account_id).ok()?;
    ExternalId::parse("reference", session).ok()
}

/// The types that were written for a Stripe deposit.
#[must_use]
pub fn stripe_deposit_types() -> Vec<&'static str> {
    types(|meaning| meaning == Meaning::Is(STRIPE_DEPOSIT))
}

/// The types whose money goes one way.
#[must_use]
pub fn types_of_direction(direction: Direction) -> Vec<&'static str> {
    types(|meaning| meaning.direction() == Some(direction))
}

fn types(is_one: impl Fn(Meaning) -> bool) -> Vec<&'static str> {
    KNOWN_TYPES.into_iter().filter(|(_, meaning)| is_one(*meaning)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entry_type: &str, amount: i64, reference: &str) -> HistoryRow {
        HistoryRow {
            id: 1,
            entry_type: entry_type.into(),
            amount: MicroUsd::new(amount),
            balance_after: None,
            reference: reference.into(),
            create_time: Timestamp::from_unix_micros(0),
            repeats_payment: false,
        }
    }

    #[test]
    fn what_has_no_type_of_its_own_is_a_deposit_or_a_charge() {
        for name in ["withdrawal", "migration", "stripe_payout", "erasure_forfeit", "brand_new", "CHARGE", ""]
        {
            assert_eq!(row(name, -1, "").entry_type(), EntryType::Charge, "{name}");
            assert_eq!(row(name, 0, "").entry_type(), EntryType::Credit(CreditKind::Deposit), "{name}");
        }
        assert_eq!(row("charge", 1, "").entry_type(), EntryType::Charge);
        assert_eq!(row("payout", -1, "").entry_type(), EntryType::Credit(CreditKind::Earning));
    }

    #[test]
    fn a_payment_is_the_session_in_a_stripe_deposits_reference() {
        let ann = AccountId::parse("account_id", "ann").unwrap();
        for (entry_type, reference, payment) in [
            ("stripe_deposit", "stripe:cs_live_a1", Some("cs_live_a1")),
            ("stripe_deposit", "cs_live_a1", Some("cs_live_a1")),
            ("stripe_deposit", "stripe:stripe:x", Some("stripe:x")),
            ("stripe_deposit", "", None),
            ("stripe_deposit", "stripe:", None),
            ("stripe_deposit", "stripe_deposit", None),
            ("stripe_deposit", "paid by card", None),
            ("stripe_deposit", &"x".repeat(256), None),
            ("deposit", "stripe:cs_live_a1", None),
        ] {
            let found = row(entry_type, 5, reference).payment(&ann);
            assert_eq!(found.as_ref().map(ExternalId::as_str), payment, "{entry_type} {reference}");
        }
    }
}
