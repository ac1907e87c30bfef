//! Withdraw: takes money that leaves the account for good, such as a payout.

use super::{Describe, References};
use crate::accounting::{
    Amount, EntryType, ExternalIds, Fingerprint, RefusalReason,
    fingerprint::Field,
    method::Method,
    payment::Paid,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdraw {
    /// How much.
    pub amount: Amount,
    /// The names of the payout in other systems.
    pub external_ids: ExternalIds,
}

impl Describe for Withdraw {
    fn method(&self) -> Method {
        Method::Withdraw
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, external_ids } = self;
        fingerprint.amount(*amount).text(Field::ExternalIds, &external_ids.joined())
    }

    fn references(&self) -> References<'_> {
        References { external_ids: Some(&self.external_ids), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let entry_type = EntryType::Withdrawal;
        let paid = Paid { entry_type, amount: self.amount.credited(), reversed_sequence: None };
        if let Some(verdict) = situation.paid_before(&self.external_ids, &paid) {
            return verdict;
        }
        if let Err(reason) = self.must_be_withdrawable(situation) {
            return Verdict::Refuse(reason);
        }
        Verdict::Post(Posting {
            external_ids: self.external_ids.clone(),
            withdrawable_delta: self.amount.debited(),
            ..Posting::new(entry_type, self.amount.debited())
        })
    }
}

impl Withdraw {
    fn must_be_withdrawable(&self, situation: &Situation<'_>) -> Result<(), RefusalReason> {
        situation.may_spend()?;
        let withdrawable = situation.balance().withdrawable();
        if self.amount.credited() > withdrawable {
            return Err(RefusalReason::NotWithdrawable { withdrawable });
        }
        Ok(())
    }
}
