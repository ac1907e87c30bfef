//! What the rules say to an operation, and what they judge it by.

use std::sync::Arc;

use super::{
    Account, AccountId, Amount, Balance, Book, Entry, EntryType, IdempotencyKey, Limits, MicroUsd,
    RefusalReason, ReservationStatus, Timestamp, envelope::Envelope, movement::Movement, posting::Posting,
};

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The account.
    Account,
    /// The entry.
    Entry,
    /// The charge or capture to refund.
    Charge,
    /// An operation under the key.
    Operation,
    /// The reservation.
    Reservation,
}

/// What the rules say to an operation under a new key.
pub(super) enum Verdict {
    /// It is applied, by this entry.
    Post(Posting),
    /// Its payment was credited before, by this entry.
    CreditedBefore(Arc<Entry>),
    /// It is refused.
    Refuse(RefusalReason),
    /// Something that it refers to does not exist.
    NotFound(NotFound),
}

/// What an operation is judged by.
pub(super) struct Situation<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) book: &'a Book,
    pub(super) now: Timestamp,
    pub(super) limits: &'a Limits,
}

impl<'a> Situation<'a> {
    pub(super) fn account_id(&self) -> &'a AccountId {
        &self.envelope.account_id
    }

    pub(super) fn key(&self) -> &'a IdempotencyKey {
        &self.envelope.key
    }

    fn account(&self) -> Option<&'a Account> {
        self.book.account(self.account_id())
    }

    /// The time in the account.
    pub(super) fn time(&self) -> Timestamp {
        self.account().map_or(self.now, |account| account.time(self.now))
    }

    /// Fails if the account has less available. An unknown account has nothing.
    pub(super) fn must_have_available(&self, amount: Amount) -> Result<(), RefusalReason> {
        let available = self.account().map_or(MicroUsd::ZERO, |account| account.balance.available());
        let required = amount.credited();
        if required > available {
            return Err(RefusalReason::InsufficientFunds { available, required });
        }
        Ok(())
    }

    /// Applies a movement to a reservation of the account.
    pub(super) fn move_reservation(
        &self,
        entry_type: EntryType,
        reservation_id: &IdempotencyKey,
        movement: impl FnOnce(&ReservationStatus, Balance, Timestamp) -> Result<Movement, RefusalReason>,
    ) -> Verdict {
        let named = self.book.reservation(self.account_id(), reservation_id);
        let (Some(reservation), Some(account)) = (named, self.account()) else {
            return Verdict::NotFound(NotFound::Reservation);
        };
        match movement(&reservation.status, account.balance, account.time(self.now)) {
            Ok(movement) => Verdict::Post(Posting::moving(entry_type, reservation_id.clone(), movement)),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}
