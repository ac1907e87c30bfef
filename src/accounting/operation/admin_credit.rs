//! `AdminCredit`: adds money by decision of an operator.

use super::Describe;
use crate::accounting::{
    Actor, Amount, EntryType, Fingerprint, Limits, Reason, RefusalReason,
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
}

impl Describe for AdminCredit {
    fn method(&self) -> Method {
        Method::AdminCredit
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, actor, reason } = self;
        fingerprint.amount(*amount).text(Field::Actor, actor.as_str()).text(Field::Reason, reason.as_str())
    }

    fn forbidden_by(&self, limits: &Limits) -> Option<RefusalReason> {
        let limit = limits.admin_credit_max;
        (self.amount.credited() > limit).then_some(RefusalReason::AdminCreditLimit { limit })
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        if let Err(reason) = situation.may_earn() {
            return Verdict::Refuse(reason);
        }
        Verdict::Post(Posting {
            actor: Some(self.actor.clone()),
            reason: Some(self.reason.clone()),
            ..Posting::new(EntryType::AdminCredit, self.amount.credited())
        })
    }
}
