//! `ExtendReservation`: raises what a reservation holds, or renews its lease.

use super::{Describe, References};
use crate::accounting::{
    Amount, Balance, EntryType, Fingerprint, IdempotencyKey, Invalid, MicroUsd, RefusalReason,
    ReservationStatus, Timestamp, Ttl,
    fingerprint::Field,
    method::Method,
    movement::Movement,
    verdict::{Situation, Verdict},
};

/// More money held, or for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    reservation_id: IdempotencyKey,
    additional: Option<Amount>,
    ttl: Option<Ttl>,
}

impl Extend {
    /// An extension of a reservation.
    ///
    /// # Errors
    /// When it would change nothing.
    pub fn new(
        reservation_id: IdempotencyKey,
        additional: Option<Amount>,
        ttl: Option<Ttl>,
    ) -> Result<Self, Invalid> {
        if additional.is_none() && ttl.is_none() {
            return Err(Invalid::field("ttl", "is required where additional_amount_micro_usd is 0"));
        }
        Ok(Self { reservation_id, additional, ttl })
    }

    /// How much more it is to hold.
    #[must_use]
    pub fn additional(&self) -> Option<Amount> {
        self.additional
    }

    /// How long its lease is to last from now on.
    #[must_use]
    pub fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }
}

impl Describe for Extend {
    fn method(&self) -> Method {
        Method::ExtendReservation
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id, additional, ttl } = self;
        let fingerprint = fingerprint.reservation(reservation_id).ttl(*ttl);
        match additional {
            Some(amount) => fingerprint.number(Field::AdditionalAmount, amount.credited().get()),
            None => fingerprint,
        }
    }

    fn references(&self) -> References<'_> {
        References { reservation_id: Some(&self.reservation_id), ttl: self.ttl, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        situation.move_reservation(EntryType::Extend, &self.reservation_id, |status, balance, now| {
            self.of(status, balance, now)
        })
    }
}

impl Extend {
    /// What it does to a reservation. A lease is never shortened.
    fn of(
        &self,
        status: &ReservationStatus,
        balance: Balance,
        now: Timestamp,
    ) -> Result<Movement, RefusalReason> {
        status.must_be_open()?;
        let additional = match self.additional.map(Amount::credited) {
            Some(required) if required > balance.available() => {
                let available = balance.available();
                return Err(RefusalReason::InsufficientFunds { available, required });
            }
            Some(additional) => additional,
            None => MicroUsd::ZERO, // renewing asks for no money, also of an account in debt
        };
        let expire_time = self.ttl.map_or(status.expire_time, |ttl| status.expire_time.max(now.after(ttl)));
        let held = status.held.checked_add(additional).ok_or(RefusalReason::BalanceOverflow)?;
        let status = ReservationStatus { held, expire_time, ..*status };
        Ok(Movement { amount: MicroUsd::ZERO, held_delta: additional, status, uncollected: MicroUsd::ZERO })
    }
}
