//! What an operation does to a reservation, in each of its states, and to its account.
//!
//! ```text
//!            ┌── keep_open ──┐
//!            ▼               │
//! Reserve ► OPEN ── Capture ─┴──────────► CAPTURED
//!            │ ├─── Release ────────────► RELEASED ─┬─ late Capture ──► CAPTURED
//!            │ ├─── its lease expires ─► EXPIRED ───┘
//!            │ └─── or, by its policy ─► CAPTURED
//!            └─ ExtendReservation: OPEN
//! ```
//!
//! Each end frees exactly what is still held. Afterwards nothing is held: the whole amount of a late capture is in excess of
//! the hold, and follows its shortfall policy.

use super::{
    Amount, EntryType, ExpiryPolicy, MicroUsd, RefusalReason, Reservation, ReservationState,
    ReservationStatus, Timestamp,
};

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

impl Reservation {
    /// Fails unless it is open.
    pub(super) fn must_be_open(&self) -> Result<(), RefusalReason> {
        match self.status.state {
            ReservationState::Open => Ok(()),
            ReservationState::Expired => Err(RefusalReason::ReservationExpired),
            state @ (ReservationState::Captured | ReservationState::Released) => {
                Err(RefusalReason::ReservationClosed { state, sequence: self.close_sequence })
            }
        }
    }
}

impl ReservationStatus {
    /// Opens a reservation.
    pub(super) fn opened(amount: Amount, expire_time: Timestamp, expiry_policy: ExpiryPolicy) -> Movement {
        let held = amount.credited();
        let status = Self {
            state: ReservationState::Open,
            held,
            captured: MicroUsd::ZERO,
            expire_time,
            expiry_policy,
            close_time: None,
        };
        Movement { amount: MicroUsd::ZERO, held_delta: held, status, uncollected: MicroUsd::ZERO }
    }

    /// Ends it, because its lease has expired, and tells what that is to the journal.
    pub(super) fn lapse(&self) -> (EntryType, Movement) {
        let freed = self.free(self.lapsed());
        if self.is_captured_on_expiry() {
            return (EntryType::Capture, Movement { amount: freed.held_delta, ..freed });
        }
        (EntryType::Expire, freed)
    }

    /// Fails if what was captured and what is held would not fit together: it could not be captured on expiry.
    pub(super) fn must_fit(self) -> Result<Self, RefusalReason> {
        let total = self.captured.checked_add(self.held);
        total.map(|_| self).ok_or(RefusalReason::BalanceOverflow)
    }

    /// Ends it, which frees what it holds.
    pub(super) fn free(&self, status: Self) -> Movement {
        let held_delta = MicroUsd::new(-self.held.get());
        Movement { amount: MicroUsd::ZERO, held_delta, status, uncollected: MicroUsd::ZERO }
    }
}
