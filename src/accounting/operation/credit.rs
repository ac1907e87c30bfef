//! Credit: adds money.

use super::{Describe, References};
use crate::accounting::{
    Amount, CreditKind, EntryType, ExternalIds, Fingerprint, Invalid,
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
}

impl Credit {
    /// A credit of some kind.
    ///
    /// # Errors
    /// When a Stripe deposit has no external id: the one thing that tells a second payment from a second delivery.
    pub fn new(amount: Amount, kind: CreditKind, external_ids: ExternalIds) -> Result<Self, Invalid> {
        if kind == CreditKind::StripeDeposit && external_ids.is_empty() {
            let problem = "is required for ENTRY_TYPE_STRIPE_DEPOSIT: send the Checkout session's id";
            return Err(Invalid::field("external_ids", problem));
        }
        Ok(Self { amount, kind, external_ids })
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
        let Self { amount, kind, external_ids } = self;
        let entry_type = EntryType::Credit(*kind).number();
        fingerprint
            .amount(*amount)
            .number(Field::EntryType, entry_type.into())
            .text(Field::ExternalIds, &external_ids.joined())
    }

    fn references(&self) -> References<'_> {
        References { external_ids: Some(&self.external_ids), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let (entry_type, amount) = (EntryType::Credit(self.kind), self.amount.credited());
        let paid = Paid { entry_type, amount, reversed_sequence: None };
        if let Some(verdict) = situation.paid_before(&self.external_ids, &paid) {
            return verdict;
        }
        if let Err(reason) = situation.may_earn() {
            return Verdict::Refuse(reason);
        }
        Verdict::Post(Posting {
            external_ids: self.external_ids.clone(),
            withdrawable_delta: self.kind.withdrawable(amount),
            ..Posting::new(entry_type, amount)
        })
    }
}
