//! Reserve: holds money for work in progress.

use super::{Describe, References};
use crate::accounting::{
    Amount, EntryType, ExpiryPolicy, Fingerprint, ReservationStatus, Ttl,
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
    /// What becomes of what is held when the lease expires.
    pub expiry_policy: ExpiryPolicy,
}

impl Describe for Reserve {
    fn method(&self) -> Method {
        Method::Reserve
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { amount, ttl, expiry_policy } = self;
        let policy = Some(*expiry_policy).filter(|policy| *policy != ExpiryPolicy::default());
        fingerprint.amount(*amount).ttl(*ttl).expiry_policy(policy)
    }

    fn references(&self) -> References<'_> {
        References { ttl: self.ttl, opens_reservation: true, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let may_spend = situation.may_spend().and_then(|()| situation.must_have_available(self.amount));
        if let Err(reason) = may_spend {
            return Verdict::Refuse(reason);
        }
        let lease = self.ttl.unwrap_or(situation.limits.lease_default);
        let (expire_time, grants) = (situation.time().after(lease), situation.grants());
        let movement = ReservationStatus::opened(self.amount, expire_time, self.expiry_policy, grants);
        Verdict::Post(Posting::moving(EntryType::Reserve, situation.key().clone(), movement))
    }
}
