//! Release: frees what a reservation holds.

use super::{Describe, References};
use crate::accounting::{
    EntryType, Fingerprint, IdempotencyKey, ReservationState,
    method::Method,
    verdict::{Situation, Verdict},
};

/// A hold freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Of which reservation.
    pub reservation_id: IdempotencyKey,
}

impl Describe for Release {
    fn method(&self) -> Method {
        Method::Release
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id } = self;
        fingerprint.reservation(reservation_id)
    }

    fn references(&self) -> References<'_> {
        References { reservation_id: Some(&self.reservation_id), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        situation.move_reservation(EntryType::Release, &self.reservation_id, |reservation, _, now| {
            reservation.must_be_open()?;
            Ok(reservation.free(reservation.status.ended(ReservationState::Released, now)))
        })
    }
}
