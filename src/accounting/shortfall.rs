//! What becomes of the part of a charge or a capture that is not covered.

use super::{Balance, MicroUsd, RefusalReason};

/// What to do with the part of a charge or a reversal above what is available, and of a capture above what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortfallPolicy {
    /// The operation is refused.
    #[default]
    Reject,
    /// What the account has available is taken; the rest is reported as uncollected.
    CollectAvailable,
    /// What is available may go below zero, down to the account's debt limit.
    AllowDebt,
}

impl ShortfallPolicy {
    /// The number of the policy, in the proto and in fingerprints. `None` for the default, which adds nothing to a fingerprint.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Reject => None,
            Self::CollectAvailable => Some(2),
            Self::AllowDebt => Some(3),
        }
    }

    /// How much of an amount is taken from what the account has available. What reservations hold is not touched. Without a
    /// limit, any debt is allowed.
    pub(super) fn collect(
        self,
        wanted: MicroUsd,
        balance: Balance,
        debt_limit: Option<MicroUsd>,
        rejection: impl FnOnce() -> RefusalReason,
    ) -> Result<MicroUsd, RefusalReason> {
        match self {
            Self::Reject => Err(rejection()),
            Self::CollectAvailable => Ok(balance.funded(wanted)),
            Self::AllowDebt => {
                let Some(limit) = debt_limit else { return Ok(wanted) };
                let floor = MicroUsd::new(-limit.get()); // a limit is at least zero
                match balance.available().checked_sub(wanted) {
                    Some(after) if after >= floor => Ok(wanted),
                    Some(_) | None => Err(RefusalReason::DebtLimit { limit }),
                }
            }
        }
    }
}
