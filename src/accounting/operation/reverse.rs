//! Reverse: takes back all or part of a credit, as a bank does.

use super::{Describe, References};
use crate::accounting::{
    Amount, Authority, Book, EntryName, EntryType, ExternalIds, Fingerprint, MicroUsd, Original, Reason,
    RefusalReason, ShortfallPolicy,
    entry_name::EntryNameFields,
    envelope::Envelope,
    fingerprint::Field,
    method::Method,
    payment::Paid,
    posting::Posting,
    verdict::{NotFound, Situation, Verdict},
};

/// Money taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// How much.
    pub amount: Amount,
    /// Of which credit.
    pub credit: EntryName,
    /// The names of the reversal in other systems, such as that of a dispute.
    pub external_ids: ExternalIds,
    /// Why.
    pub reason: Option<Reason>,
    /// What to do with the part that is not available.
    pub shortfall_policy: ShortfallPolicy,
}

impl Describe for Reverse {
    fn method(&self) -> Method {
        Method::Reverse
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, credit, external_ids, reason, shortfall_policy } = self;
        credit
            .add_to(fingerprint.amount(*amount), &EntryNameFields::CREDIT)
            .text(Field::ExternalIds, &external_ids.joined())
            .text(Field::Reason, reason.as_ref().map_or("", Reason::as_str))
            .optional(Field::ShortfallPolicy, shortfall_policy.number())
    }

    fn references(&self) -> References<'_> {
        References {
            entry: Some(&self.credit),
            external_ids: Some(&self.external_ids),
            ..References::default()
        }
    }

    fn authority(&self, book: &Book, envelope: &Envelope) -> Option<Authority> {
        let credit = book.named(&envelope.account_id, &self.credit)?;
        Some(credit.entry.entry_type.authority())
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let Some(credit) = situation.book.named(situation.account_id(), &self.credit) else {
            return Verdict::NotFound(NotFound::Credit);
        };
        let paid = Paid {
            entry_type: EntryType::Reversal,
            amount: self.amount.credited(),
            reversed_sequence: Some(credit.entry.sequence),
        };
        if let Some(verdict) = situation.paid_before(&self.external_ids, &paid) {
            return verdict;
        }
        match self.collect(credit, situation) {
            Ok(collected) => Verdict::Post(Posting {
                external_ids: self.external_ids.clone(),
                reason: self.reason.clone(),
                ..Posting::reversing(
                    credit,
                    (collected, paid.amount),
                    (situation.grants(), situation.balance().other()),
                )
            }),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}

impl Reverse {
    /// How much is taken. A bank does not ask: a debt that it makes has no limit.
    fn collect(&self, credit: &Original, situation: &Situation<'_>) -> Result<MicroUsd, RefusalReason> {
        let entry_type = credit.entry.entry_type;
        if !entry_type.is_reversible() {
            return Err(RefusalReason::NotReversible { entry_type });
        }
        let (wanted, left) = (self.amount.credited(), situation.left_of(credit));
        if wanted > left {
            return Err(RefusalReason::ReversalExceedsCredit { reversible: left });
        }
        match situation.must_have_available(self.amount) {
            Ok(()) => Ok(wanted),
            Err(reason) => self.shortfall_policy.collect(wanted, situation.balance(), None, || reason),
        }
    }
}
