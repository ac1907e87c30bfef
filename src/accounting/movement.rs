//! What an operation does to a reservation, in each of its states, and to its account.
//!
//! ```text
//!            ┌── keep_open ──┐
//!            ▼               │
//! Reserve ► OPEN ── Capture ─┴──────────► CAPTURED
//!            │ ├─── Release ────────────► RELEASED
//!            │ └─── its lease runs out ─► EXPIRED ── late Capture ──► CAPTURED
//!            └─ ExtendReservation: OPEN
//! ```
//!
//! Each end frees exactly what is still held. Once the lease has run out the hold is worth nothing: a late capture finds
//! all that it asks for in excess, and its overage policy says what becomes of it.

use super::{
    Amount, Balance, Capture, Extend, Limits, MicroUsd, OveragePolicy, RefusalReason, ReservationState,
    ReservationStatus, Timestamp,
};

/// What an operation on a reservation does to the account and to the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Movement {
    /// What it adds to posted.
    pub(super) amount: MicroUsd,
    /// What it adds to held.
    pub(super) held_delta: MicroUsd,
    /// The reservation after it.
    pub(super) status: ReservationStatus,
    /// What could not be collected.
    pub(super) uncollected: MicroUsd,
}

impl ReservationStatus {
    /// A reservation that has just been opened.
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

    /// Its lease has run out.
    pub(super) fn expire(&self) -> Movement {
        self.free(self.expired())
    }

    /// The caller needs it no more.
    pub(super) fn release(&self, now: Timestamp) -> Result<Movement, RefusalReason> {
        self.must_be_open()?;
        Ok(self.free(self.ended(ReservationState::Released, now)))
    }

    /// The caller needs more of it, or for longer. A lease is never made shorter.
    pub(super) fn extend(
        &self,
        extend: &Extend,
        balance: Balance,
        now: Timestamp,
    ) -> Result<Movement, RefusalReason> {
        self.must_be_open()?;
        let additional = match extend.additional().map(Amount::credited) {
            Some(required) if required > balance.available() => {
                let available = balance.available();
                return Err(RefusalReason::InsufficientFunds { available, required });
            }
            Some(additional) => additional,
            None => MicroUsd::ZERO, // renewing asks for no money, also of an account in debt
        };
        let expire_time = extend.ttl().map_or(self.expire_time, |ttl| self.expire_time.max(now.after(ttl)));
        let held = self.held.checked_add(additional).ok_or(RefusalReason::BalanceOverflow)?;
        let status = Self { held, expire_time, ..*self };
        Ok(Movement { amount: MicroUsd::ZERO, held_delta: additional, status, uncollected: MicroUsd::ZERO })
    }

    /// The caller has used a part of it, all of it, or more.
    pub(super) fn capture(
        &self,
        capture: &Capture,
        balance: Balance,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Movement, RefusalReason> {
        let is_late = self.state == ReservationState::Expired;
        if !is_late || capture.overage_policy == OveragePolicy::Reject {
            self.must_be_open()?;
        }
        let wanted = capture.amount.credited();
        let from_hold = wanted.min(self.held);
        // Both are at least zero, and `from_hold` is at most `wanted`.
        let excess = MicroUsd::new(wanted.get() - from_hold.get());
        let collected = self.collect(excess, capture.overage_policy, balance, limits)?;
        let charged = MicroUsd::new(from_hold.get() + collected.get()); // at most `wanted`
        let captured = self.captured.checked_add(charged).ok_or(RefusalReason::BalanceOverflow)?;
        let rest = MicroUsd::new(self.held.get() - from_hold.get());
        let status = if capture.keep_open {
            Self { held: rest, captured, ..*self }
        } else {
            Self { captured, ..self.ended(ReservationState::Captured, now) }
        };
        Ok(Movement {
            amount: MicroUsd::new(-charged.get()),
            held_delta: MicroUsd::new(status.held.get() - self.held.get()),
            status,
            uncollected: MicroUsd::new(excess.get() - collected.get()),
        })
    }

    /// How much of what a capture asks for beyond the hold is collected. What other reservations hold is not touched.
    fn collect(
        &self,
        excess: MicroUsd,
        policy: OveragePolicy,
        balance: Balance,
        limits: &Limits,
    ) -> Result<MicroUsd, RefusalReason> {
        let available = balance.available();
        if excess == MicroUsd::ZERO {
            return Ok(excess);
        }
        match policy {
            OveragePolicy::Reject => Err(RefusalReason::CaptureExceedsReservation { held: self.held }),
            OveragePolicy::CollectAvailable => Ok(excess.min(available.max(MicroUsd::ZERO))),
            OveragePolicy::AllowDebt => {
                let floor = MicroUsd::new(-limits.debt_max.get()); // a limit is at least zero
                match available.checked_sub(excess) {
                    Some(after) if after >= floor => Ok(excess),
                    Some(_) | None => Err(RefusalReason::DebtLimit { limit: limits.debt_max }),
                }
            }
        }
    }

    fn must_be_open(&self) -> Result<(), RefusalReason> {
        match self.state {
            ReservationState::Open => Ok(()),
            ReservationState::Expired => Err(RefusalReason::ReservationExpired),
            ReservationState::Captured | ReservationState::Released => {
                Err(RefusalReason::ReservationClosed { state: self.state })
            }
        }
    }

    fn free(&self, status: Self) -> Movement {
        let held_delta = MicroUsd::new(-self.held.get());
        Movement { amount: MicroUsd::ZERO, held_delta, status, uncollected: MicroUsd::ZERO }
    }
}
