//! `ExtendReservation`: raises what a reservation holds, or renews its lease.

use super::{Describe, References};
use crate::accounting::{
    Amount, Balance, EntryType, ExpiryPolicy, Fingerprint, Grants, IdempotencyKey, Invalid, MicroUsd,
    RefusalReason, ReservationStatus, Timestamp, Ttl,
    fingerprint::Field,
    grants::GrantStep,
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
    expiry_policy: Option<ExpiryPolicy>,
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
        expiry_policy: Option<ExpiryPolicy>,
    ) -> Result<Self, Invalid> {
        if additional.is_none() && ttl.is_none() && expiry_policy.is_none() {
            let problem = "is required where additional_amount_micro_usd is 0 and there is no expiry_policy";
            return Err(Invalid::field("ttl", problem));
        }
        Ok(Self { reservation_id, additional, ttl, expiry_policy })
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

    /// What is to become of what it holds when its lease expires.
    #[must_use]
    pub fn expiry_policy(&self) -> Option<ExpiryPolicy> {
        self.expiry_policy
    }
}

impl Describe for Extend {
    fn method(&self) -> Method {
        Method::ExtendReservation
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { reservation_id, additional, ttl, expiry_policy } = self;
        let additional = additional.map(|amount| amount.credited().get());
        fingerprint
            .reservation(reservation_id)
            .ttl(*ttl)
            .optional(Field::AdditionalAmount, additional)
            .expiry_policy(*expiry_policy)
    }

    fn references(&self) -> References<'_> {
        References { reservation_id: Some(&self.reservation_id), ttl: self.ttl, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        situation.move_reservation(EntryType::Extend, &self.reservation_id, |reservation, account, now| {
            if self.additional.is_some() {
                account.may_spend()?;
            }
            reservation.must_be_open()?;
            self.of(&reservation.status, account.balance, situation.grants(), now)
        })
    }
}

impl Extend {
    /// What it does to a reservation. A lease is never shortened.
    fn of(
        &self,
        status: &ReservationStatus,
        balance: Balance,
        grants: &Grants,
        now: Timestamp,
    ) -> Result<Movement, RefusalReason> {
        let additional = match self.additional.map(Amount::credited) {
            Some(additional) => {
                RefusalReason::unless_covered(balance, additional)?;
                additional
            }
            None => MicroUsd::ZERO, // renewing asks for no money, also of an account in debt
        };
        let expire_time = self.ttl.map_or(status.expire_time, |ttl| status.expire_time.max(now.after(ttl)));
        let held = status.held.checked_add(additional).ok_or(RefusalReason::BalanceOverflow)?;
        let expiry_policy = self.expiry_policy.unwrap_or(status.expiry_policy);
        let status = ReservationStatus { held, expire_time, expiry_policy, ..*status }.must_fit()?;
        let grants = GrantStep::pinning(grants.shares(additional));
        let (amount, uncollected) = (MicroUsd::ZERO, MicroUsd::ZERO);
        Ok(Movement { amount, held_delta: additional, status, uncollected, grants })
    }
}
