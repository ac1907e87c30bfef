//! The money of an account at one point in time.

use super::{GrantTotals, MicroUsd};

/// The balance of an account at one point in time. `held` is at least zero, `available` fits in int64, what is withdrawable is
/// a part of what is posted, and what is granted a part of what is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    posted: MicroUsd,
    held: MicroUsd,
    withdrawable: MicroUsd,
    granted: MicroUsd,
    /// What lapses right behind.
    lapsing: MicroUsd,
}

impl Balance {
    /// A balance, or `None` if it is impossible.
    #[must_use]
    pub fn new(posted: MicroUsd, held: MicroUsd, withdrawable: MicroUsd) -> Option<Self> {
        posted.checked_sub(held)?;
        let is_part = (MicroUsd::ZERO..=posted.max(MicroUsd::ZERO)).contains(&withdrawable);
        let (granted, lapsing) = (MicroUsd::ZERO, MicroUsd::ZERO);
        (held >= MicroUsd::ZERO && is_part).then_some(Self { posted, held, withdrawable, granted, lapsing })
    }

    /// The same, with so much of it granted, and so much that lapses right behind; or `None` if that is impossible.
    #[must_use]
    pub fn with_grants(self, granted: MicroUsd, lapsing: MicroUsd) -> Option<Self> {
        if granted < MicroUsd::ZERO || lapsing < MicroUsd::ZERO {
            return None;
        }
        self.posted.checked_sub(self.held)?.checked_sub(lapsing)?;
        let with_grants = Self { granted, lapsing, ..self };
        (granted <= with_grants.available().max(MicroUsd::ZERO)).then_some(with_grants)
    }

    /// The sum of all entries' amounts.
    #[must_use]
    pub fn posted(self) -> MicroUsd {
        self.posted
    }

    /// The sum of open, unexpired reservations.
    #[must_use]
    pub fn held(self) -> MicroUsd {
        self.held
    }

    /// What can be charged or reserved.
    #[must_use]
    pub fn available(self) -> MicroUsd {
        MicroUsd::new(self.posted.get() - self.held.get() - self.lapsing.get()) // cannot overflow: checked when it was made
    }

    /// The part of available that expires: what is left of grants and is not held.
    #[must_use]
    pub fn granted(self) -> MicroUsd {
        self.granted
    }

    /// What lapses in the entry right behind: it is posted, but not available any more.
    #[must_use]
    pub fn lapsing(self) -> MicroUsd {
        self.lapsing
    }

    /// The part of available that does not expire; 0 in debt.
    pub(super) fn other(self) -> MicroUsd {
        MicroUsd::new(self.available().get().max(0) - self.granted.get()) // a part
    }

    /// The part of posted that may leave, whether or not reservations hold it.
    #[must_use]
    pub fn withdrawable_posted(self) -> MicroUsd {
        self.withdrawable
    }

    /// What a Withdraw would take: what may leave, as far as it is available and does not expire.
    #[must_use]
    pub fn withdrawable(self) -> MicroUsd {
        self.withdrawable.min(self.other())
    }

    /// How much of what is taken is paid by what is available, and not by debt.
    #[must_use]
    pub fn funded(self, taken: MicroUsd) -> MicroUsd {
        taken.min(self.available().max(MicroUsd::ZERO))
    }

    /// What has been added to what is withdrawable since an earlier balance. Cannot overflow: both are at least zero.
    #[must_use]
    pub fn withdrawable_since(self, before: Self) -> MicroUsd {
        MicroUsd::new(self.withdrawable.get() - before.withdrawable.get())
    }

    /// The balance after an entry, or `None` on overflow. Other money is spent first: what is withdrawable changes by the
    /// entry's own part of it, and is then at most what is left. As much is granted as before.
    #[must_use]
    pub fn after(self, amount: MicroUsd, held_delta: MicroUsd, withdrawable_delta: MicroUsd) -> Option<Self> {
        let posted = self.posted.checked_add(amount)?;
        let withdrawable = self.withdrawable.checked_add(withdrawable_delta)?.min(posted).max(MicroUsd::ZERO);
        let after = Self::new(posted, self.held.checked_add(held_delta)?, withdrawable)?;
        Some(Self { granted: self.granted, ..after })
    }

    /// The same, of an account with these grants: what remains of them is not withdrawable.
    pub(super) fn beside(self, totals: GrantTotals) -> Option<Self> {
        let other = self.posted.checked_sub(totals.remaining)?.max(MicroUsd::ZERO);
        let withdrawable = self.withdrawable.min(other);
        Self { withdrawable, ..self }.with_grants(totals.granted, totals.lapsing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_never_leaves_int64() {
        let zero = MicroUsd::ZERO;
        let most = Balance::new(MicroUsd::new(i64::MAX), zero, zero).unwrap();
        assert_eq!(most.after(MicroUsd::new(1), zero, zero), None);
        assert_eq!(Balance::new(MicroUsd::new(i64::MIN), MicroUsd::new(1), zero), None);
        assert_eq!(Balance::new(MicroUsd::new(5), MicroUsd::new(-1), zero), None);
        assert_eq!(
            most.after(MicroUsd::new(-1), MicroUsd::new(3), zero).unwrap().available().get(),
            i64::MAX - 4
        );
    }

    #[test]
    fn what_is_withdrawable_is_a_part_of_what_is_posted_and_is_spent_last() {
        let sum = MicroUsd::new;
        for (posted, withdrawable) in [(5, 6), (5, -1), (-5, 1)] {
            assert_eq!(Balance::new(sum(posted), sum(0), sum(withdrawable)), None);
        }
        let balance = Balance::new(sum(100), sum(70), sum(60)).unwrap();
        assert_eq!(balance.withdrawable(), sum(30));
        let spent = balance.after(sum(-70), sum(-70), sum(0)).unwrap();
        assert_eq!((spent.withdrawable_posted(), spent.withdrawable()), (sum(30), sum(30)));
        let in_debt = spent.after(sum(-31), sum(0), sum(0)).unwrap();
        assert_eq!((in_debt.withdrawable_posted(), in_debt.withdrawable()), (sum(0), sum(0)));
        assert_eq!(in_debt.after(sum(10), sum(0), sum(10)).unwrap().withdrawable(), sum(9));
    }
}
