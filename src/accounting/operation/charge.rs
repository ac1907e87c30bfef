//! Charge: takes money immediately.

use super::{Describe, References};
use crate::accounting::{
    Amount, EntryType, Fingerprint, Legs, MicroUsd, RefusalReason, ShortfallPolicy,
    fingerprint::Field,
    grants::GrantStep,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount: Amount,
    /// What to do with the part that is not available.
    pub shortfall_policy: ShortfallPolicy,
    /// What is passed on of it.
    pub legs: Legs,
}

impl Describe for Charge {
    fn method(&self) -> Method {
        Method::Charge
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, shortfall_policy, legs } = self;
        fingerprint
            .amount(*amount)
            .optional(Field::ShortfallPolicy, shortfall_policy.number())
            .text(Field::Legs, &legs.joined())
    }

    fn references(&self) -> References<'_> {
        References { legs: Some(&self.legs), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        match self.posting(situation) {
            Ok(posting) => Verdict::Post(posting),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}

impl Charge {
    fn posting(&self, situation: &Situation<'_>) -> Result<Posting, RefusalReason> {
        let collected = self.collect(situation)?;
        let grants = GrantStep::drawing(situation.grants().shares(collected));
        let posting =
            Posting { grants, ..Posting::taking(EntryType::Charge, collected, self.amount.credited()) };
        situation.with_legs(posting, &self.legs, situation.balance().funded(collected))
    }

    /// How much is taken. An unknown account has nothing, and cannot get into debt.
    fn collect(&self, situation: &Situation<'_>) -> Result<MicroUsd, RefusalReason> {
        situation.may_spend()?;
        let is_covered = situation.must_have_available(self.amount);
        match (is_covered, situation.known_account()) {
            (Ok(()), _) => Ok(self.amount.credited()),
            (Err(reason), None) => Err(reason),
            (Err(reason), Some(account)) => {
                let wanted = self.amount.credited();
                let debt_limit = Some(account.debt_limit(situation.limits));
                self.shortfall_policy.collect(wanted, account.balance, debt_limit, || reason)
            }
        }
    }
}
