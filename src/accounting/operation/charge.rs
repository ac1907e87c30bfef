//! Charge: takes money immediately.

use super::Describe;
use crate::accounting::{
    Amount, EntryType, Fingerprint,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount: Amount,
}

impl Describe for Charge {
    fn method(&self) -> Method {
        Method::Charge
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount } = self;
        fingerprint.amount(*amount)
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        match situation.must_have_available(self.amount) {
            Ok(()) => Verdict::Post(Posting::new(EntryType::Charge, self.amount.debited())),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}
