//! Money held for work in progress: a reservation, and its states.

use super::{AccountId, ExpiryPolicy, GrantShare, IdempotencyKey, MicroUsd, Note, Timestamp};

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// It holds money until its lease expires.
    Open,
    /// Ended by a final capture.
    Captured,
    /// Ended by the caller.
    Released,
    /// Ended because its lease expired, and what it held was freed.
    Expired,
}

/// A reservation.
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
    /// What changes during its life.
    pub status: ReservationStatus,
    /// What it holds of grants.
    pub pins: Vec<GrantShare>,
    /// The sequence of the entry that ended it; `None` while it is open, or while that is not recorded.
    pub close_sequence: Option<i64>,
}

/// What changes during a reservation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservationStatus {
    /// Its state.
    pub state: ReservationState,
    /// What it holds.
    pub held: MicroUsd,
    /// What has been captured of it so far.
    pub captured: MicroUsd,
    /// When its lease expires or expired.
    pub expire_time: Timestamp,
    /// What becomes of what it holds when its lease expires.
    pub expiry_policy: ExpiryPolicy,
    /// When it ended. If its lease expired: the time of expiry, however much later that was recorded.
    pub close_time: Option<Timestamp>,
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
    /// The reservation at a point in time: if its lease has expired by then, it has ended, whether or not that is recorded.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        if !self.status.is_lapsed(now) {
            return self;
        }
        Self { status: self.status.lapsed(), pins: Vec::new(), ..self }
    }
}

impl ReservationStatus {
    /// Whether its lease has expired, but the expiry is not recorded.
    pub(super) fn is_lapsed(&self, now: Timestamp) -> bool {
        self.state == ReservationState::Open && self.expire_time <= now
    }

    /// The same, ended because its lease expired: what it holds is captured or freed, as its policy says.
    pub(super) fn lapsed(self) -> Self {
        if !self.is_captured_on_expiry() {
            return self.ended(ReservationState::Expired, self.expire_time);
        }
        // Cannot overflow: every operation that changes it makes sure of the sum.
        let captured = MicroUsd::new(self.captured.get().saturating_add(self.held.get()));
        Self { captured, ..self.ended(ReservationState::Captured, self.expire_time) }
    }

    /// Whether the end of its lease charges what it holds.
    pub(super) fn is_captured_on_expiry(&self) -> bool {
        self.expiry_policy == ExpiryPolicy::Capture && self.held > MicroUsd::ZERO
    }

    /// The same, ended: it holds nothing.
    pub(super) fn ended(self, state: ReservationState, close_time: Timestamp) -> Self {
        Self { state, held: MicroUsd::ZERO, close_time: Some(close_time), ..self }
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
