//! Refund: gives back all or part of a debit.

use super::{Describe, References};
use crate::accounting::{
    Amount, Authority, Book, EntryName, EntryType, Fingerprint, Invalid, LegsPolicy, RefusalReason,
    entry_name::EntryNameFields,
    envelope::Envelope,
    fingerprint::Field,
    grants::GrantStep,
    method::Method,
    posting::Posting,
    verdict::{NotFound, Situation, Verdict},
};

/// Money given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// How much.
    pub amount: Amount,
    /// Of which charge, capture, withdrawal or reversal.
    pub charge: EntryName,
    /// What to do with its legs; required if it has any.
    pub legs: Option<LegsPolicy>,
}

impl Describe for Refund {
    fn method(&self) -> Method {
        Method::Refund
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, charge, legs } = self;
        charge
            .add_to(fingerprint.amount(*amount), &EntryNameFields::CHARGE)
            .optional(Field::LegsPolicy, legs.map(LegsPolicy::number))
    }

    fn references(&self) -> References<'_> {
        let takes_back = self.legs == Some(LegsPolicy::TakeBack);
        References { entry: Some(&self.charge), takes_back, ..References::default() }
    }

    fn authority(&self, book: &Book, envelope: &Envelope) -> Option<Authority> {
        let account_id = &envelope.account_id;
        let charge = book.named(account_id, &self.charge)?;
        let credit = charge.entry.reversed_sequence.and_then(|credit| book.original(account_id, credit));
        Some(credit.unwrap_or(charge).entry.entry_type.authority())
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let Some(charge) = situation.book.named(situation.account_id(), &self.charge) else {
            return Verdict::NotFound(NotFound::Charge);
        };
        let entry_type = charge.entry.entry_type;
        let is_take_back = entry_type == EntryType::Reversal && charge.entry.source.is_some();
        if !entry_type.is_refundable() || is_take_back {
            return Verdict::Refuse(RefusalReason::NotRefundable { entry_type });
        }
        let (amount, left) = (self.amount.credited(), charge.left());
        if amount > left {
            return Verdict::Refuse(RefusalReason::RefundExceedsCharge { refundable: left });
        }
        let legs = match self.legs {
            None if !charge.entry.legs.is_empty() => {
                let problem = "must be KEEP or TAKE_BACK: what is refunded has legs";
                return Verdict::Invalid(Invalid::field("legs", problem));
            }
            Some(LegsPolicy::TakeBack) => situation.take_back(charge, amount),
            Some(LegsPolicy::Keep) | None => Vec::new(),
        };
        Verdict::Post(Posting {
            legs,
            refunded_sequence: Some(charge.entry.sequence),
            reversed_sequence: charge.entry.reversed_sequence,
            withdrawable_delta: charge.withdrawable_slice(amount),
            grants: GrantStep {
                reverses: charge.entry.reversed_sequence.map(|credit| (credit, self.amount.debited())),
                unwinds: charge.unwound(amount),
                ..GrantStep::default()
            },
            ..Posting::new(EntryType::Refund, amount)
        })
    }
}
