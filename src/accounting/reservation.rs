//! Money held for work in progress: a reservation, its states, and what may happen to it in each.
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
    AccountId, Amount, Balance, Capture, Extend, IdempotencyKey, Limits, MicroUsd, Note, RefusalReason,
    Timestamp,
};

/// Where a reservation stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// Money is held until the lease runs out.
    Open,
    /// Ended by a final capture.
    Captured,
    /// Ended by the caller.
    Released,
    /// Ended because its lease ran out.
    Expired,
}

/// What becomes of the part of a capture that the reservation does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OveragePolicy {
    /// The capture is refused.
    #[default]
    Reject,
    /// What the account has available is charged; the rest is reported as uncollected.
    CollectAvailable,
    /// What is available may go below zero, down to the configured limit.
    AllowDebt,
}

/// A reservation, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The account.
    pub account_id: AccountId,
    /// The key under which it was reserved.
    pub reservation_id: IdempotencyKey,
    /// The sequence of the entry that opened it.
    pub sequence: i64,
    /// When it was opened.
    pub create_time: Timestamp,
    /// What the caller wrote beside it.
    pub note: Note,
    /// What changes in the course of its life.
    pub status: ReservationStatus,
}

/// What changes in the course of a reservation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservationStatus {
    /// Where it stands.
    pub state: ReservationState,
    /// What it holds.
    pub held: MicroUsd,
    /// What has been captured of it so far.
    pub captured: MicroUsd,
    /// When its lease runs out, or ran out.
    pub expire_time: Timestamp,
    /// When it ended. If its lease ran out: the moment it did, however much later that was written down.
    pub close_time: Option<Timestamp>,
}

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

impl ReservationState {
    /// Every state, in the order of the numbers.
    pub const ALL: [Self; 4] = [Self::Open, Self::Captured, Self::Released, Self::Expired];

    /// The number of the state, in SQL and in the proto.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Open => 1,
            Self::Captured => 2,
            Self::Released => 3,
            Self::Expired => 4,
        }
    }

    /// The state with a number, or `None` if there is none.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name of the state, as in the proto without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Captured => "CAPTURED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }
}

impl Reservation {
    /// The reservation as it is at a moment: if its lease has run out by then, it has ended, whether or not that was
    /// written down.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let status = if self.status.is_lapsed(now) { self.status.expired() } else { self.status };
        Self { status, ..self }
    }
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

    /// Whether its lease has run out, and it does not know yet.
    fn is_lapsed(&self, now: Timestamp) -> bool {
        self.state == ReservationState::Open && self.expire_time <= now
    }

    /// Its lease has run out.
    pub(super) fn expire(&self) -> Movement {
        self.free(self.expired())
    }

    fn expired(self) -> Self {
        self.ended(ReservationState::Expired, self.expire_time)
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

    fn ended(self, state: ReservationState, close_time: Timestamp) -> Self {
        Self { state, held: MicroUsd::ZERO, close_time: Some(close_time), ..self }
    }

    fn free(&self, status: Self) -> Movement {
        let held_delta = MicroUsd::new(-self.held.get());
        Movement { amount: MicroUsd::ZERO, held_delta, status, uncollected: MicroUsd::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_states_are_one_to_one() {
        for state in ReservationState::ALL {
            assert_eq!(ReservationState::from_number(state.number()), Some(state));
        }
        assert_eq!(ReservationState::from_number(0), None);
        assert_eq!(ReservationState::from_number(5), None);
    }
}
