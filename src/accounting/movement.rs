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
    Amount, EntryType, ExpiryPolicy, Grants, MicroUsd, RefusalReason, Reservation, ReservationState,
    ReservationStatus, Timestamp,
    grant::add_share,
    grants::{GrantStep, first_of},
};

/// What an operation on a reservation does to the account and to the reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    /// The change of posted.
    pub(super) amount: MicroUsd,
    /// The change of held.
    pub(super) held_delta: MicroUsd,
    /// The reservation after it.
    pub(super) status: ReservationStatus,
    /// What could not be collected.
    pub(super) uncollected: MicroUsd,
    /// What it does to grants.
    pub(super) grants: GrantStep,
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

    /// Ends it, because its lease has expired, and tells what that is to the journal.
    pub(super) fn lapse(&self) -> (EntryType, Movement) {
        let freed = self.free(self.status.lapsed());
        if self.status.is_captured_on_expiry() {
            let grants = GrantStep { spends: self.pins.clone(), ..GrantStep::default() };
            return (EntryType::Capture, Movement { amount: freed.held_delta, grants, ..freed });
        }
        (EntryType::Expire, freed)
    }

    /// Ends it, which frees what it holds.
    pub(super) fn free(&self, status: ReservationStatus) -> Movement {
        Movement {
            amount: MicroUsd::ZERO,
            held_delta: MicroUsd::new(-self.status.held.get()),
            status,
            uncollected: MicroUsd::ZERO,
            grants: GrantStep { frees: self.pins.clone(), ..GrantStep::default() },
        }
    }

    /// What a capture of so much of what it holds does to grants: it spends what is pinned first. If nothing stays held, the
    /// rest is pinned no longer.
    pub(super) fn capture_pins(&self, captured: MicroUsd, keeps_rest: bool) -> GrantStep {
        let spends = first_of(&self.pins, captured);
        let mut frees = if keeps_rest { Vec::new() } else { self.pins.clone() };
        for spent in spends.iter().filter(|_| !keeps_rest) {
            add_share(&mut frees, spent.sequence, MicroUsd::new(-spent.amount.get()));
        }
        GrantStep { spends, frees, ..GrantStep::default() }
    }
}

impl ReservationStatus {
    /// Opens a reservation.
    pub(super) fn opened(
        amount: Amount,
        expire_time: Timestamp,
        expiry_policy: ExpiryPolicy,
        grants: &Grants,
    ) -> Movement {
        let held = amount.credited();
        let status = Self {
            state: ReservationState::Open,
            held,
            captured: MicroUsd::ZERO,
            expire_time,
            expiry_policy,
            close_time: None,
        };
        let grants = GrantStep::pinning(grants.shares(held));
        Movement { amount: MicroUsd::ZERO, held_delta: held, status, uncollected: MicroUsd::ZERO, grants }
    }

    /// Fails if what was captured and what is held would not fit together: it could not be captured on expiry.
    pub(super) fn must_fit(self) -> Result<Self, RefusalReason> {
        let total = self.captured.checked_add(self.held);
        total.map(|_| self).ok_or(RefusalReason::BalanceOverflow)
    }
}
