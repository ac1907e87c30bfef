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
}
