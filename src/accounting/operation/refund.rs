//! Refund: gives back all or part of a charge or capture.

use super::{Describe, References};
use crate::accounting::{
    AccountId, Amount, Answer, Book, EntryType, Fingerprint, IdempotencyKey, Invalid, Original,
    RefusalReason,
    fingerprint::Field,
    method::Method,
    posting::Posting,
    verdict::{NotFound, Situation, Verdict},
};

/// Money given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// How much.
    pub amount: Amount,
    /// Of which charge or capture.
    pub charge: ChargeName,
}

/// How a refund names what it gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeName {
    /// By the entry's sequence, which is at least 1.
    Sequence(i64),
    /// By the key of the operation.
    Key(IdempotencyKey),
}

impl ChargeName {
    /// Parses the `charge_sequence` of a request.
    ///
    /// # Errors
    /// When it is not a sequence.
    pub fn parse_sequence(sequence: i64) -> Result<Self, Invalid> {
        if sequence < 1 {
            return Err(Invalid::field("charge_sequence", format!("must be at least 1, not {sequence}")));
        }
        Ok(Self::Sequence(sequence))
    }

    /// The sequence of the named entry. `None` if no entry was written under the key.
    #[must_use]
    pub fn sequence(&self, book: &Book, account_id: &AccountId) -> Option<i64> {
        match self {
            Self::Sequence(sequence) => Some(*sequence),
            Self::Key(key) => match &book.answer(account_id, key)?.answer {
                Answer::Applied(entry) => Some(entry.sequence),
                Answer::Refused(_) => None,
            },
        }
    }
}

impl Describe for Refund {
    fn method(&self) -> Method {
        Method::Refund
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, charge } = self;
        let fingerprint = fingerprint.amount(*amount);
        match charge {
            ChargeName::Sequence(sequence) => fingerprint.number(Field::ChargeSequence, *sequence),
            ChargeName::Key(key) => fingerprint.text(Field::ChargeKey, key.as_str()),
        }
    }

    fn references(&self) -> References<'_> {
        References { charge: Some(&self.charge), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let Some(charge) = self.find_charge(situation) else { return Verdict::NotFound(NotFound::Charge) };
        let entry_type = charge.entry.entry_type;
        if !entry_type.is_refundable() {
            return Verdict::Refuse(RefusalReason::NotRefundable { entry_type });
        }
        let left = charge.left();
        if self.amount.credited() > left {
            return Verdict::Refuse(RefusalReason::RefundExceedsCharge { refundable: left });
        }
        Verdict::Post(Posting {
            refunded_sequence: Some(charge.entry.sequence),
            ..Posting::new(EntryType::Refund, self.amount.credited())
        })
    }
}

impl Refund {
    fn find_charge<'book>(&self, situation: &Situation<'book>) -> Option<&'book Original> {
        let (book, account_id) = (situation.book, situation.account_id());
        book.original(account_id, self.charge.sequence(book, account_id)?)
    }
}
