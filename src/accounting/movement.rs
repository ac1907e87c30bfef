//! What an operation does to a reservation, in each of its states, and to its account.
//!
//! ```text
//!            ┌── keep_open ──┐
//!            ▼               │
//! Reserve ► OPEN ── Capture ─┴──────────► CAPTURED
//!            │ ├─── Release ────────────► RELEASED
//!            │ └─── its lease expires ─► EXPIRED ── late Capture ──► CAPTURED
//!            └─ ExtendReservation: OPEN
//! ```
//!
//! Each end frees exactly what is still held. Once the lease has expired nothing is held: the whole amount of a late capture is
//! in excess of the hold, and follows its overage policy.

use super::{Amount, MicroUsd, RefusalReason, ReservationState, ReservationStatus, Timestamp};

/// What an operation on a reservation does to the account and to the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Movement {
    /// The change of posted.
    pub(super) amount: MicroUsd,
    /// The change of held.
    pub(super) held_delta: MicroUsd,
    /// The reservation after it.
    pub(super) status: ReservationStatus,
    /// What could not be collected.
    pub(super) uncollected: MicroUsd,
}

impl ReservationStatus {
    /// Opens a reservation.
    pub(super) fn opened(amount: Amount, expire_time: Timestamp) -> Movement {
        let held = amount.credited();
        let status = Self {
            state: ReservationState::Open,
            held,
            captured: MicroUsd::ZERO,
            expire_time,
            close_time: None,
        };
        Movement { amount: MicroUsd::ZERO, held_delta: held, status, uncollected: MicroUsd::ZERO }
    }

    /// Ends it, because its lease has expired.
    pub(super) fn expire(&self) -> Movement {
        self.free(self.expired())
    }

    /// Fails unless it is open.
    pub(super) fn must_be_open(&self) -> Result<(), RefusalReason> {
        match self.state {
            ReservationState::Open => Ok(()),
            ReservationState::Expired => Err(RefusalReason::ReservationExpired),
            ReservationState::Captured | ReservationState::Released => {
                Err(RefusalReason::ReservationClosed { state: self.state })
            }
        }
    }

    /// Ends it, which frees what it holds.
    pub(super) fn free(&self, status: Self) -> Movement {
        let held_delta = MicroUsd::new(-self.held.get());
        Movement { amount: MicroUsd::ZERO, held_delta, status, uncollected: MicroUsd::ZERO }
    }
}
