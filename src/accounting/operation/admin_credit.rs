//! `AdminCredit`: adds money by decision of an operator.

use super::Describe;
use crate::accounting::{
    Actor, Amount, EntryType, Fingerprint, Limits, MicroUsd, Reason, RefusalReason,
    fingerprint::Field,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminCredit {
    /// How much.
    pub amount: Amount,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: Reason,
    /// Whether it may leave the account again.
    pub withdrawable: bool,
}

impl Describe for AdminCredit {
    fn method(&self) -> Method {
        Method::AdminCredit
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, actor, reason, withdrawable } = self;
        fingerprint
            .amount(*amount)
            .text(Field::Actor, actor.as_str())
            .text(Field::Reason, reason.as_str())
            .optional(Field::Withdrawable, withdrawable.then_some(1))
    }

    fn forbidden_by(&self, limits: &Limits) -> Option<RefusalReason> {
        let limit = limits.admin_credit_max;
        (self.amount.credited() > limit).then_some(RefusalReason::AdminCreditLimit { limit })
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        if let Err(reason) = situation.may_earn() {
            return Verdict::Refuse(reason);
        }
        let amount = self.amount.credited();
        Verdict::Post(Posting {
            actor: Some(self.actor.clone()),
            reason: Some(self.reason.clone()),
            withdrawable_delta: if self.withdrawable { amount } else { MicroUsd::ZERO },
            ..Posting::new(EntryType::AdminCredit, amount)
        })
    }
}
