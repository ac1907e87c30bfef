//! Credit: adds money.

use std::sync::Arc;

use super::{Describe, References};
use crate::accounting::{
    Amount, CreditKind, Entry, EntryType, ExternalIds, Fingerprint, Invalid, RefusalReason,
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
        match self.paid_before(situation) {
            Ok(Some(entry)) => return Verdict::PaidBefore(entry),
            Ok(None) => {}
            Err(reason) => return Verdict::Refuse(reason),
        }
        if let Err(reason) = situation.may_earn() {
            return Verdict::Refuse(reason);
        }
        Verdict::Post(Posting {
            external_ids: self.external_ids.clone(),
            ..Posting::new(EntryType::Credit(self.kind), self.amount.credited())
        })
    }
}

impl Credit {
    /// The entry of an earlier credit of the same payment, to the same account and of the same amount. If an id is known
    /// otherwise, it is a conflict.
    fn paid_before(&self, situation: &Situation<'_>) -> Result<Option<Arc<Entry>>, RefusalReason> {
        let mut found: Option<&Arc<Entry>> = None;
        for external_id in self.external_ids.iter() {
            let Some(payment) = situation.book.payment(external_id) else { continue };
            let conflict = match (&payment.entry, found) {
                (Some(entry), _) if entry.account_id != *situation.account_id() => "account_id",
                (None, _) => "account_id",
                (Some(entry), Some(other)) if entry.sequence != other.sequence => "external_ids",
                (Some(entry), _) if entry.amount != self.amount.credited() => "amount_micro_usd",
                (Some(entry), _) => {
                    found = Some(entry);
                    continue;
                }
            };
            return Err(RefusalReason::ExternalIdConflict { external_id: external_id.to_string(), conflict });
        }
        Ok(found.cloned())
    }
}
