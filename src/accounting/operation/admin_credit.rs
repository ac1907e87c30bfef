//! `AdminCredit`: adds money by decision of an operator.

use super::{Describe, References};
use crate::accounting::{
    Actor, Amount, EntryType, Fingerprint, Invalid, Limits, MicroUsd, Reason, RefusalReason, Timestamp,
    fingerprint::Field,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminCredit {
    amount: Amount,
    actor: Actor,
    reason: Reason,
    withdrawable: bool,
    expire_time: Option<Timestamp>,
}

impl AdminCredit {
    /// Money granted by an operator, who says whether it may leave the account again, and when it expires, if it does.
    ///
    /// # Errors
    /// When it would do both.
    pub fn new(
        amount: Amount,
        (actor, reason): (Actor, Reason),
        withdrawable: bool,
        expire_time: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        if withdrawable && expire_time.is_some() {
            return Err(Invalid::field("withdrawable", "is not possible with expire_time"));
        }
        Ok(Self { amount, actor, reason, withdrawable, expire_time })
    }

    /// How much.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// By whom.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Describe for AdminCredit {
    fn method(&self) -> Method {
        Method::AdminCredit
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, actor, reason, withdrawable, expire_time } = self;
        fingerprint
            .amount(*amount)
            .text(Field::Actor, actor.as_str())
            .text(Field::Reason, reason.as_str())
            .optional(Field::Withdrawable, withdrawable.then_some(1))
            .optional(Field::ExpireTime, expire_time.map(Timestamp::unix_micros))
    }

    fn references(&self) -> References<'_> {
        References { opens_grant: self.expire_time.is_some(), ..References::default() }
    }

    fn forbidden_by(&self, limits: &Limits) -> Option<RefusalReason> {
        let limit = limits.admin_credit_max;
        (self.amount.credited() > limit).then_some(RefusalReason::AdminCreditLimit { limit })
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let grants = match situation.may_earn().and_then(|()| situation.grant(self.expire_time)) {
            Ok(grants) => grants,
            Err(reason) => return Verdict::Refuse(reason),
        };
        let amount = self.amount.credited();
        Verdict::Post(Posting {
            actor: Some(self.actor.clone()),
            reason: Some(self.reason.clone()),
            withdrawable_delta: if self.withdrawable { amount } else { MicroUsd::ZERO },
            grants,
            ..Posting::new(EntryType::AdminCredit, amount)
        })
    }
}
