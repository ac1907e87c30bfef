//! Money: whole micro-USD, checked arithmetic, never a float.

use std::fmt;

use super::{Invalid, Problem};

/// A signed sum in micro-USD (1 USD = 1,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroUsd(i64);

impl MicroUsd {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// A sum in micro-USD.
    #[must_use]
    pub const fn new(micro_usd: i64) -> Self {
        Self(micro_usd)
    }

    /// The number of micro-USD.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` on overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sum in micro-USD, displayed in USD with six decimals. Wide enough for the sum of all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usd(pub i128);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micro_usd = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
    }
}

impl From<MicroUsd> for Usd {
    fn from(sum: MicroUsd) -> Self {
        Self(sum.0.into())
    }
}

/// The amount of one operation: at least one micro-USD, at most [`Amount::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// A billion USD. Above it an amount is a mistake in the unit, not a payment.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// Parses the amount in `field`.
    ///
    /// # Errors
    /// When it is zero, negative, or above [`Amount::MAX`].
    pub fn parse(field: &'static str, micro_usd: i64) -> Result<Self, Invalid> {
        Self::in_range(micro_usd).ok_or_else(|| Self::out_of_range(field, 1, micro_usd))
    }

    /// Parses the optional amount in `field`; 0 means none.
    ///
    /// # Errors
    /// When it is negative, or above [`Amount::MAX`].
    pub fn parse_or_none(field: &'static str, micro_usd: i64) -> Result<Option<Self>, Invalid> {
        if micro_usd == 0 {
            return Ok(None);
        }
        Self::in_range(micro_usd).map(Some).ok_or_else(|| Self::out_of_range(field, 0, micro_usd))
    }

    fn in_range(micro_usd: i64) -> Option<Self> {
        (1..=Self::MAX.0).contains(&micro_usd).then_some(Self(micro_usd))
    }

    fn out_of_range(field: &'static str, least: i64, micro_usd: i64) -> Invalid {
        let problem = format!("must be {least}..={} micro-USD, not {micro_usd}", Self::MAX.0);
        Invalid { field, problem: Problem::Amount(problem) }
    }

    /// The amount as money put in.
    #[must_use]
    pub fn credited(self) -> MicroUsd {
        MicroUsd(self.0)
    }

    /// The amount as money taken out. Cannot overflow: an amount is positive.
    #[must_use]
    pub fn debited(self) -> MicroUsd {
        MicroUsd(-self.0)
    }
}

/// The balance of an account at one point in time. `held` is at least zero, `available` fits in int64, and what is
/// withdrawable is a part of what is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    posted: MicroUsd,
    held: MicroUsd,
    withdrawable: MicroUsd,
}

impl Balance {
    /// A balance, or `None` if it is impossible.
    #[must_use]
    pub fn new(posted: MicroUsd, held: MicroUsd, withdrawable: MicroUsd) -> Option<Self> {
        posted.checked_sub(held)?;
        let is_part = (MicroUsd::ZERO..=posted.max(MicroUsd::ZERO)).contains(&withdrawable);
        (held >= MicroUsd::ZERO && is_part).then_some(Self { posted, held, withdrawable })
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
        MicroUsd(self.posted.0 - self.held.0) // cannot overflow: checked in `new`
    }

    /// The part of posted that may leave, whether or not reservations hold it.
    #[must_use]
    pub fn withdrawable_posted(self) -> MicroUsd {
        self.withdrawable
    }

    /// What a Withdraw would take: what may leave, as far as it is available.
    #[must_use]
    pub fn withdrawable(self) -> MicroUsd {
        self.withdrawable.min(self.available()).max(MicroUsd::ZERO)
    }

    /// How much of what is taken is paid by what is available, and not by debt.
    #[must_use]
    pub fn funded(self, taken: MicroUsd) -> MicroUsd {
        taken.min(self.available().max(MicroUsd::ZERO))
    }

    /// What has been added to what is withdrawable since an earlier balance. Cannot overflow: both are at least zero.
    #[must_use]
    pub fn withdrawable_since(self, before: Self) -> MicroUsd {
        MicroUsd(self.withdrawable.0 - before.withdrawable.0)
    }

    /// The balance after an entry, or `None` on overflow. Other money is spent first: what is withdrawable changes by the
    /// entry's own part of it, and is then at most what is left.
    #[must_use]
    pub fn after(self, amount: MicroUsd, held_delta: MicroUsd, withdrawable_delta: MicroUsd) -> Option<Self> {
        let posted = self.posted.checked_add(amount)?;
        let withdrawable = self.withdrawable.checked_add(withdrawable_delta)?.min(posted).max(MicroUsd::ZERO);
        Self::new(posted, self.held.checked_add(held_delta)?, withdrawable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_at_least_one_and_at_most_a_billion_usd() {
        for bad in [0, -1, i64::MIN, i64::MAX, Amount::MAX.0 + 1] {
            let invalid = Amount::parse("amount_micro_usd", bad).unwrap_err();
            assert_eq!(invalid.field, "amount_micro_usd");
            assert!(matches!(invalid.problem, Problem::Amount(_)), "{bad}");
        }
        assert_eq!(Amount::parse("amount_micro_usd", 1).unwrap().debited().get(), -1);
        assert_eq!(Amount::parse("amount_micro_usd", Amount::MAX.0).unwrap(), Amount::MAX);
    }

    #[test]
    fn a_sum_is_written_in_usd_to_the_last_micro_usd() {
        for (micro_usd, text) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (-1, "-0.000001"),
            (-1_500_000, "-1.500000"),
            (i64::MIN, "-9223372036854.775808"),
        ] {
            assert_eq!(Usd::from(MicroUsd(micro_usd)).to_string(), text);
        }
    }

    #[test]
    fn a_balance_never_leaves_int64() {
        let zero = MicroUsd::ZERO;
        let most = Balance::new(MicroUsd(i64::MAX), zero, zero).unwrap();
        assert_eq!(most.after(MicroUsd(1), zero, zero), None);
        assert_eq!(Balance::new(MicroUsd(i64::MIN), MicroUsd(1), zero), None);
        assert_eq!(Balance::new(MicroUsd(5), MicroUsd(-1), zero), None);
        assert_eq!(most.after(MicroUsd(-1), MicroUsd(3), zero).unwrap().available().get(), i64::MAX - 4);
    }

    #[test]
    fn what_is_withdrawable_is_a_part_of_what_is_posted_and_is_spent_last() {
        let sum = MicroUsd;
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
