//! Reserve: holds money for work in progress.

use super::{Describe, References};
use crate::accounting::{
    Amount, EntryType, Fingerprint, ReservationStatus, Ttl,
    method::Method,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// How much.
    pub amount: Amount,
    /// For how long; by default as configured.
    pub ttl: Option<Ttl>,
}

impl Describe for Reserve {
    fn method(&self) -> Method {
        Method::Reserve
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, ttl } = self;
        fingerprint.amount(*amount).ttl(*ttl)
    }

    fn references(&self) -> References<'_> {
        References { ttl: self.ttl, opens_reservation: true, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        if let Err(reason) = situation.must_have_available(self.amount) {
            return Verdict::Refuse(reason);
        }
        let lease = self.ttl.unwrap_or(situation.limits.lease_default);
        let movement = ReservationStatus::opened(self.amount, situation.time().after(lease));
        Verdict::Post(Posting::moving(EntryType::Reserve, situation.key().clone(), movement))
    }
}
