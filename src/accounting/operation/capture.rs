//! Capture: charges what was used of a reservation.

use super::{Describe, References};
use crate::accounting::{
    Amount, Balance, EntryType, Fingerprint, IdempotencyKey, Limits, MicroUsd, RefusalReason,
    ReservationState, ReservationStatus, Timestamp,
    fingerprint::Field,
    method::Method,
    movement::Movement,
    verdict::{Situation, Verdict},
};

/// Money used of what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Of which reservation.
    pub reservation_id: IdempotencyKey,
    /// How much.
    pub amount: Amount,
    /// What becomes of the part that it does not hold.
    pub overage_policy: OveragePolicy,
    /// Whether the rest stays held.
    pub keep_open: bool,
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

impl Describe for Capture {
    fn method(&self) -> Method {
        Method::Capture
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id, amount, overage_policy, keep_open } = self;
        let mut fingerprint = fingerprint.reservation(reservation_id).amount(*amount);
        let policy = match overage_policy {
            OveragePolicy::Reject => None, // the default
            OveragePolicy::CollectAvailable => Some(2),
            OveragePolicy::AllowDebt => Some(3),
        };
        if let Some(policy) = policy {
            fingerprint = fingerprint.number(Field::OveragePolicy, policy);
        }
        if *keep_open { fingerprint.number(Field::KeepOpen, 1) } else { fingerprint }
    }

    fn references(&self) -> References<'_> {
        References { reservation_id: Some(&self.reservation_id), ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let limits = situation.limits;
        situation.move_reservation(EntryType::Capture, &self.reservation_id, |status, balance, now| {
            self.of(status, balance, now, limits)
        })
    }
}

impl Capture {
    /// What it does to a reservation: a part of it, all of it, or more has been used.
    fn of(
        &self,
        status: &ReservationStatus,
        balance: Balance,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Movement, RefusalReason> {
        let is_late = status.state == ReservationState::Expired;
        if !is_late || self.overage_policy == OveragePolicy::Reject {
            status.must_be_open()?;
        }
        let wanted = self.amount.credited();
        let from_hold = wanted.min(status.held);
        // Both are at least zero, and `from_hold` is at most `wanted`.
        let excess = MicroUsd::new(wanted.get() - from_hold.get());
        let collected = self.collect(excess, status.held, balance, limits)?;
        let charged = MicroUsd::new(from_hold.get() + collected.get()); // at most `wanted`
        let captured = status.captured.checked_add(charged).ok_or(RefusalReason::BalanceOverflow)?;
        let rest = MicroUsd::new(status.held.get() - from_hold.get());
        let after = if self.keep_open {
            ReservationStatus { held: rest, captured, ..*status }
        } else {
            ReservationStatus { captured, ..status.ended(ReservationState::Captured, now) }
        };
        Ok(Movement {
            amount: MicroUsd::new(-charged.get()),
            held_delta: MicroUsd::new(after.held.get() - status.held.get()),
            status: after,
            uncollected: MicroUsd::new(excess.get() - collected.get()),
        })
    }

    /// How much of what a capture asks for beyond the hold is collected. What other reservations hold is not touched.
    fn collect(
        &self,
        excess: MicroUsd,
        held: MicroUsd,
        balance: Balance,
        limits: &Limits,
    ) -> Result<MicroUsd, RefusalReason> {
        let available = balance.available();
        if excess == MicroUsd::ZERO {
            return Ok(excess);
        }
        match self.overage_policy {
            OveragePolicy::Reject => Err(RefusalReason::CaptureExceedsReservation { held }),
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
}
