//! Grants: credits that expire. Each is a lot of its own, and entries say how they change it.

use super::{MicroUsd, Timestamp};

/// A credit that expires, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The sequence of the credit.
    pub sequence: i64,
    /// What was granted.
    pub amount: MicroUsd,
    /// What has been neither spent nor converted, and has not lapsed.
    pub remaining: MicroUsd,
    /// What open reservations hold of [`Self::remaining`].
    pub pinned: MicroUsd,
    /// What has lapsed.
    pub lapsed: MicroUsd,
    /// What reversals have taken back of the credit, less what was given back of these.
    pub reversed: MicroUsd,
    /// From when on it pays for nothing but what it is pinned for.
    pub expire_time: Timestamp,
}

/// A part of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantShare {
    /// The sequence of the grant.
    pub sequence: i64,
    /// How much of it.
    pub amount: MicroUsd,
}

/// How an entry changes the grants of its account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantMoves {
    /// What a debit took from grants, in the order of spending. The rest is other money.
    pub draws: Vec<GrantShare>,
    /// What a refund brought back into grants, in that order.
    pub unwinds: Vec<GrantShare>,
    /// What became other money.
    pub converted: Vec<GrantShare>,
    /// What lapsed.
    pub lapses: Vec<GrantShare>,
    /// What reservations hold more of grants, or less.
    pub pins: Vec<GrantShare>,
}

/// Sums over the grants of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrantTotals {
    /// What remains of all of them.
    pub remaining: MicroUsd,
    /// What remains of those that have not expired, and is not pinned.
    pub granted: MicroUsd,
    /// What is not pinned of those that have expired: it lapses right behind.
    pub lapsing: MicroUsd,
}

impl Grant {
    /// What remains of it and is not pinned.
    #[must_use]
    pub fn unpinned(&self) -> MicroUsd {
        MicroUsd::new(self.remaining.get() - self.pinned.get()) // a part of what remains
    }

    /// Whether it has expired.
    #[must_use]
    pub fn has_expired(&self, time: Timestamp) -> bool {
        self.expire_time <= time
    }

    /// What is left of its credit: neither reversed nor lapsed.
    pub(super) fn left(&self) -> MicroUsd {
        // Cannot overflow: both are parts of the amount.
        MicroUsd::new((self.amount.get() - self.reversed.get() - self.lapsed.get()).max(0))
    }
}

impl GrantMoves {
    /// Whether it changes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { draws, unwinds, converted, lapses, pins } = self;
        [draws, unwinds, converted, lapses, pins].into_iter().all(Vec::is_empty)
    }
}

/// The sum of shares. Cannot overflow: they are parts of what is in one account.
#[must_use]
pub fn sum_of(shares: &[GrantShare]) -> MicroUsd {
    MicroUsd::new(shares.iter().map(|share| share.amount.get()).sum())
}

/// Adds to the share of a grant. One that becomes nothing goes.
pub fn add_share(shares: &mut Vec<GrantShare>, sequence: i64, amount: MicroUsd) {
    match shares.iter_mut().find(|share| share.sequence == sequence) {
        Some(share) => share.amount = MicroUsd::new(share.amount.get() + amount.get()),
        None => shares.push(GrantShare { sequence, amount }),
    }
    shares.retain(|share| share.amount != MicroUsd::ZERO);
}
