//! Credit: adds money.

use std::sync::Arc;

use super::{Describe, References};
use crate::accounting::{
    Amount, CreditKind, EntryType, ExternalCredit, ExternalId, Fingerprint, Invalid, RefusalReason,
    fingerprint::Field,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    amount: Amount,
    kind: CreditKind,
    external_id: Option<ExternalId>,
}

impl Credit {
    /// A credit of some kind.
    ///
    /// # Errors
    /// When a Stripe deposit has no external id: the one thing that tells a second payment from a second delivery.
    pub fn new(amount: Amount, kind: CreditKind, external_id: Option<ExternalId>) -> Result<Self, Invalid> {
        if kind == CreditKind::StripeDeposit && external_id.is_none() {
            let problem = "is required for ENTRY_TYPE_STRIPE_DEPOSIT: send the Checkout session's id";
            return Err(Invalid::field("external_id", problem));
        }
        Ok(Self { amount, kind, external_id })
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

    /// The payment's id in another system.
    #[must_use]
    pub fn external_id(&self) -> Option<&ExternalId> {
        self.external_id.as_ref()
    }
}

impl Describe for Credit {
    fn method(&self) -> Method {
        Method::Credit
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, kind, external_id } = self;
        let entry_type = EntryType::Credit(*kind).number();
        let fingerprint = fingerprint.amount(*amount).number(Field::EntryType, entry_type.into());
        match external_id {
            Some(external_id) => fingerprint.text(Field::ExternalId, external_id.as_str()),
            None => fingerprint,
        }
    }

    fn references(&self) -> References<'_> {
        let payment = self.external_id.as_ref().map(|id| (self.kind, id));
        References { payment, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        if let Some(external_id) = &self.external_id
            && let Some(before) = situation.book.external_credit(self.kind, external_id)
        {
            return self.judge_credited_before(before, external_id, situation);
        }
        Verdict::Post(Posting {
            external_id: self.external_id.clone(),
            ..Posting::new(EntryType::Credit(self.kind), self.amount.credited())
        })
    }
}

impl Credit {
    /// The payment was credited under another key: the same answer for the same account and amount, else a conflict.
    fn judge_credited_before(
        &self,
        before: &ExternalCredit,
        external_id: &ExternalId,
        situation: &Situation<'_>,
    ) -> Verdict {
        let conflict = match &before.entry {
            Some(entry) if before.account_id == *situation.account_id() => {
                if entry.amount == self.amount.credited() {
                    return Verdict::CreditedBefore(Arc::clone(entry));
                }
                "amount_micro_usd"
            }
            Some(_) | None => "account_id",
        };
        Verdict::Refuse(RefusalReason::ExternalIdConflict { external_id: external_id.to_string(), conflict })
    }
}
