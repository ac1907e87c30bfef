//! Capture: charges what was used of a reservation.

use super::{Describe, References};
use crate::accounting::{
    Account, Amount, EntryType, Fingerprint, Grants, IdempotencyKey, Legs, Limits, MicroUsd, RefusalReason,
    Reservation, ReservationState, ReservationStatus, ShortfallPolicy, Timestamp,
    fingerprint::Field,
    grants::GrantStep,
    method::Method,
    movement::Movement,
    posting::Posting,
    verdict::{Situation, Verdict},
};

/// Money used of what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Of which reservation.
    pub reservation_id: IdempotencyKey,
    /// How much.
    pub amount: Amount,
    /// What to do with the part that it does not hold.
    pub shortfall_policy: ShortfallPolicy,
    /// Whether the rest stays held.
    pub keep_open: bool,
    /// What is passed on of it.
    pub legs: Legs,
}

impl Describe for Capture {
    fn method(&self) -> Method {
        Method::Capture
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id, amount, shortfall_policy, keep_open, legs } = self;
        fingerprint
            .reservation(reservation_id)
            .amount(*amount)
            .optional(Field::ShortfallPolicy, shortfall_policy.number())
            .optional(Field::KeepOpen, keep_open.then_some(1))
            .text(Field::Legs, &legs.joined())
    }

    fn references(&self) -> References<'_> {
        References {
            reservation_id: Some(&self.reservation_id),
            legs: Some(&self.legs),
            ..References::default()
        }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        situation
            .move_reservation(EntryType::Capture, &self.reservation_id, |reservation, account, now| {
                self.must_be_in_time(reservation, account)?;
                self.of(reservation, (account, situation.grants()), now, situation.limits)
            })
            .and_post(|posting| {
                let funded = self.funded(&posting, situation);
                situation.with_legs(posting, &self.legs, funded)
            })
    }
}

impl Capture {
    /// How much of what it charges its legs can share: all that was held, since a hold is a promise, and of the rest what was
    /// available.
    fn funded(&self, posting: &Posting, situation: &Situation<'_>) -> MicroUsd {
        let reservation = situation.book.reservation(situation.account_id(), &self.reservation_id);
        let held = reservation.map_or(MicroUsd::ZERO, |reservation| reservation.status.held);
        let charged = MicroUsd::new(-posting.amount.get()); // at most the amount
        let from_hold = charged.min(held);
        let rest = MicroUsd::new(charged.get() - from_hold.get());
        MicroUsd::new(from_hold.get() + situation.balance().funded(rest).get())
    }

    /// What it does to a reservation: a part of it, all of it, or more has been used.
    fn of(
        &self,
        reservation: &Reservation,
        (account, grants): (&Account, &Grants),
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Movement, RefusalReason> {
        let status = &reservation.status;
        let wanted = self.amount.credited();
        let from_hold = wanted.min(status.held);
        // Both are at least zero, and `from_hold` is at most `wanted`.
        let excess = MicroUsd::new(wanted.get() - from_hold.get());
        let collected = self.collect(excess, status.held, account, limits)?;
        let charged = MicroUsd::new(from_hold.get() + collected.get()); // at most `wanted`
        let captured = status.captured.checked_add(charged).ok_or(RefusalReason::BalanceOverflow)?;
        let rest = MicroUsd::new(status.held.get() - from_hold.get());
        let after = if self.keep_open {
            ReservationStatus { held: rest, captured, ..*status }
        } else {
            ReservationStatus { captured, ..status.ended(ReservationState::Captured, now) }
        };
        let after = after.must_fit()?;
        let pins = reservation.capture_pins(from_hold, self.keep_open);
        Ok(Movement {
            amount: MicroUsd::new(-charged.get()),
            held_delta: MicroUsd::new(after.held.get() - status.held.get()),
            status: after,
            uncollected: MicroUsd::new(excess.get() - collected.get()),
            grants: GrantStep { draws: grants.shares(collected), ..pins },
        })
    }

    /// Fails if the reservation has ended. If that was without a capture, and the policy is not to reject, it takes what it can
    /// nevertheless, since the work was done; but that is spending anew.
    fn must_be_in_time(&self, reservation: &Reservation, account: &Account) -> Result<(), RefusalReason> {
        let may_come_late = match reservation.status.state {
            ReservationState::Open => return Ok(()),
            ReservationState::Expired | ReservationState::Released => {
                self.shortfall_policy != ShortfallPolicy::Reject
            }
            ReservationState::Captured => false,
        };
        account.may_spend()?;
        if may_come_late { Ok(()) } else { reservation.must_be_open() }
    }

    /// How much of what it asks for beyond the hold is collected.
    fn collect(
        &self,
        excess: MicroUsd,
        held: MicroUsd,
        account: &Account,
        limits: &Limits,
    ) -> Result<MicroUsd, RefusalReason> {
        if excess == MicroUsd::ZERO {
            return Ok(excess);
        }
        let rejection = || RefusalReason::CaptureExceedsReservation { held };
        let debt_limit = Some(account.debt_limit(limits));
        self.shortfall_policy.collect(excess, account.balance, debt_limit, rejection)
    }
}
