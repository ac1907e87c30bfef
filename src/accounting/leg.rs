//! Legs: parts of what a charge or a capture takes that are passed on to other accounts, in the same operation.
//!
//! * Debt pays nobody: legs share what was really taken, which is *funded*. What an open hold covers is funded.
//! * They are filled in their order. What no leg takes is the operator's.
//! * A refund that takes back takes of each leg the same part as it gives back of the debit. Parts add up to the whole.

use std::collections::HashSet;

use super::{
    AccountId, Amount, CreditKind, EntryType, Invalid, MicroUsd, Original, PaidLeg, RefusalReason,
    posting::{LegPosting, Posting},
    verdict::Situation,
};

/// A part to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// To which account.
    pub account_id: AccountId,
    /// How much, if so much is funded.
    pub amount: Amount,
    /// As what.
    pub kind: LegKind,
    /// Whether what grants of the payer pay of it may leave the payee's account, too.
    pub grants_withdrawable: bool,
}

/// What a leg is to its payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegKind {
    /// Money earned.
    Earning,
    /// A reward for a referral.
    ReferralReward,
    /// A fee of a platform.
    Fee,
}

/// The legs of a debit, in the order in which they are filled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Legs(Vec<Leg>);

/// What a refund does with the legs of the debit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegsPolicy {
    /// The payees keep what they got.
    Keep,
    /// The payees' parts of what is refunded are taken back, as far as they have it.
    TakeBack,
}

impl LegKind {
    /// What the payee's entry is.
    fn credit_kind(self) -> CreditKind {
        match self {
            Self::Earning => CreditKind::Earning,
            Self::ReferralReward => CreditKind::ReferralReward,
            Self::Fee => CreditKind::Fee,
        }
    }

    /// The type of the payee's entry.
    fn entry_type(self) -> EntryType {
        EntryType::Credit(self.credit_kind())
    }

    /// The kind with a number in the proto.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Earning, Self::ReferralReward, Self::Fee]
            .into_iter()
            .find(|kind| kind.entry_type().number() == number)
    }
}

impl LegsPolicy {
    /// The number of the policy, in the proto and in fingerprints.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Keep => 1,
            Self::TakeBack => 2,
        }
    }
}

impl Legs {
    /// The most that an operation has.
    pub const MAX: usize = 8;

    /// The legs of an operation of `payer`.
    ///
    /// # Errors
    /// When there are too many, or an account is named twice, or the payer.
    pub fn new(payer: &AccountId, legs: Vec<Leg>) -> Result<Self, Invalid> {
        if legs.len() > Self::MAX {
            return Err(Invalid::field("legs", format!("must be at most {}, not {}", Self::MAX, legs.len())));
        }
        let mut named = HashSet::from([payer]);
        if let Some(leg) = legs.iter().find(|leg| !named.insert(&leg.account_id)) {
            let problem = format!("must name each account once, and not the payer: {}", leg.account_id);
            return Err(Invalid::field("legs", problem));
        }
        Ok(Self(legs))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The accounts that they pay.
    pub fn payees(&self) -> impl Iterator<Item = &AccountId> {
        self.0.iter().map(|leg| &leg.account_id)
    }

    /// All of them in one text, for fingerprints. Account ids have no spaces.
    pub(super) fn joined(&self) -> String {
        let one = |leg: &Leg| {
            let grants = if leg.grants_withdrawable { " grants" } else { "" };
            let (amount, name) = (leg.amount.credited().get(), leg.kind.entry_type().name());
            format!("{} {amount} {name}{grants}", leg.account_id)
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

impl Situation<'_> {
    /// A posting with its legs, which share what is funded of it.
    pub(super) fn with_legs(
        &self,
        posting: Posting,
        legs: &Legs,
        funded: MicroUsd,
    ) -> Result<Posting, RefusalReason> {
        if legs.is_empty() {
            return Ok(posting);
        }
        // Grants pay at most what is funded: they are a part of what was available or held.
        let other = MicroUsd::new(funded.get() - posting.grants.drawn().get());
        Ok(Posting { legs: self.fill(legs, funded, other)?, funded, ..posting })
    }

    /// Fills legs with what is funded, of which other money than that of grants comes first.
    fn fill(&self, legs: &Legs, funded: MicroUsd, other: MicroUsd) -> Result<Vec<LegPosting>, RefusalReason> {
        let (mut left, mut other) = (funded, other);
        let fill = |leg: &Leg| {
            self.must_take_in(&leg.account_id)?;
            let paid = leg.amount.credited().min(left);
            left = MicroUsd::new(left.get() - paid.get()); // at most what is left
            let paid_by_other = paid.min(other);
            other = MicroUsd::new(other.get() - paid_by_other.get());
            let earned = if leg.grants_withdrawable { paid } else { paid_by_other };
            let withdrawable_delta = leg.kind.credit_kind().withdrawable(earned);
            let part = Posting { withdrawable_delta, ..Posting::new(leg.kind.entry_type(), paid) };
            let posting = (paid > MicroUsd::ZERO).then_some(part);
            Ok(LegPosting { account_id: leg.account_id.clone(), posting })
        };
        legs.0.iter().map(fill).collect()
    }

    /// What a refund of so much takes back of the legs of a debit.
    pub(super) fn take_back(&self, debit: &Original, refunded: MicroUsd) -> Vec<LegPosting> {
        let share = |leg: &PaidLeg| {
            let credit = self.book.original(&leg.account_id, leg.sequence);
            let posting =
                credit.and_then(|credit| self.reversal(credit, debit.part_of(leg.amount, refunded)));
            LegPosting { account_id: leg.account_id.clone(), posting }
        };
        debit.entry.legs.iter().map(share).collect()
    }

    /// The reversal of a part of what a leg paid, as far as it is left and the payee has it.
    fn reversal(&self, credit: &Original, part: MicroUsd) -> Option<Posting> {
        let wanted = part.min(credit.left());
        if wanted == MicroUsd::ZERO {
            return None;
        }
        let payee = &credit.entry.account_id;
        let (balance, grants) = (self.book.account(payee)?.balance, self.book.grants(payee));
        Some(Posting::reversing(credit, (balance.funded(wanted), wanted), (grants, balance.other())))
    }

    /// Fails if an operator has closed the account of a payee.
    fn must_take_in(&self, payee: &AccountId) -> Result<(), RefusalReason> {
        let closed = |_| RefusalReason::PayeeClosed { account_id: payee.clone() };
        self.book.account(payee).map_or(Ok(()), |account| account.may_earn().map_err(closed))
    }
}
