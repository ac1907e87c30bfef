//! Expire: the service's own operation, which records that a lease has expired.

use super::{Describe, References};
use crate::accounting::{
    Fingerprint, IdempotencyKey,
    method::Method,
    verdict::{NotFound, Situation, Verdict},
};

/// A lease expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expire {
    /// Of which reservation.
    pub reservation_id: IdempotencyKey,
}

impl Describe for Expire {
    fn method(&self) -> Method {
        Method::Expire
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id } = self;
        fingerprint.reservation(reservation_id)
    }

    fn references(&self) -> References<'_> {
        References { reservation_id: Some(&self.reservation_id), ..References::default() }
    }

    /// If its lease had expired, that would be recorded by now, and this would be a replay.
    fn judge(&self, _: &Situation<'_>) -> Verdict {
        Verdict::NotFound(NotFound::Reservation)
    }
}
