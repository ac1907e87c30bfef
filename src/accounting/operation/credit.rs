//! Credit: adds money.

use super::{Describe, References};
use crate::accounting::{
    Amount, CreditKind, EntryType, ExternalIds, Fingerprint, Invalid, MicroUsd, Timestamp,
    fingerprint::Field,
    method::Method,
    payment::Paid,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    amount: Amount,
    kind: CreditKind,
    external_ids: ExternalIds,
    expire_time: Option<Timestamp>,
}

impl Credit {
    /// A credit of some kind. With a time when it expires it is a grant.
    ///
    /// # Errors
    /// When a Stripe deposit has no external id: the one thing that tells a second payment from a second delivery; or when it
    /// would expire.
    pub fn new(
        amount: Amount,
        kind: CreditKind,
        external_ids: ExternalIds,
        expire_time: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        if kind == CreditKind::StripeDeposit && external_ids.is_empty() {
            let problem = "is required for ENTRY_TYPE_STRIPE_DEPOSIT: send the Checkout session's id";
            return Err(Invalid::field("external_ids", problem));
        }
        if kind == CreditKind::StripeDeposit && expire_time.is_some() {
            let problem =
                "is not possible for ENTRY_TYPE_STRIPE_DEPOSIT: what was paid for may be charged back";
            return Err(Invalid::field("expire_time", problem));
        }
        Ok(Self { amount, kind, external_ids, expire_time })
    }

    /// How much.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Which kind.
    #[must_use]
    pub fn kind(&self) -> CreditKind {
        self.kind
    }

    /// When it expires, if it does.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.expire_time
    }

    /// The payment's ids in other systems.
    #[must_use]
    pub fn external_ids(&self) -> &ExternalIds {
        &self.external_ids
    }
}

impl Describe for Credit {
    fn method(&self) -> Method {
        Method::Credit
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, kind, external_ids, expire_time } = self;
        let entry_type = EntryType::Credit(*kind).number();
        fingerprint
            .amount(*amount)
            .number(Field::EntryType, entry_type.into())
            .text(Field::ExternalIds, &external_ids.joined())
            .optional(Field::ExpireTime, expire_time.map(Timestamp::unix_micros))
    }

    fn references(&self) -> References<'_> {
        References {
            external_ids: Some(&self.external_ids),
            opens_grant: self.expire_time.is_some(),
            ..References::default()
        }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let (entry_type, amount) = (EntryType::Credit(self.kind), self.amount.credited());
        let paid = Paid { entry_type, amount, reversed_sequence: None };
        if let Some(verdict) = situation.paid_before(&self.external_ids, &paid) {
            return verdict;
        }
        let grants = match situation.may_earn().and_then(|()| situation.grant(self.expire_time)) {
            Ok(grants) => grants,
            Err(reason) => return Verdict::Refuse(reason),
        };
        let may_leave = self.expire_time.is_none();
        Verdict::Post(Posting {
            external_ids: self.external_ids.clone(),
            withdrawable_delta: if may_leave { self.kind.withdrawable(amount) } else { MicroUsd::ZERO },
            grants,
            ..Posting::new(entry_type, amount)
        })
    }
}
