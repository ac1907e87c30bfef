//! What the rules say to an operation, and what they judge it by.

use std::sync::Arc;

use super::{
    Account, AccountId, Amount, Balance, Book, Entry, EntryType, Grants, IdempotencyKey, Invalid, Limits,
    MicroUsd, Original, RefusalReason, Reservation, Timestamp, envelope::Envelope, grants::GrantStep,
    movement::Movement, posting::Posting,
};

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The account.
    Account,
    /// The entry.
    Entry,
    /// The payment.
    Payment,
    /// The debit to refund.
    Charge,
    /// The credit to reverse.
    Credit,
    /// An operation under the key.
    Operation,
    /// The reservation.
    Reservation,
}

/// What the rules say to an operation under a new key.
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them become the larger one")]
pub(super) enum Verdict {
    /// It is applied, by this entry.
    Post(Posting),
    /// Its payment is known: this entry is the answer, and the ids that are not known yet become further names of it.
    PaidBefore(Arc<Entry>),
    /// It is refused.
    Refuse(RefusalReason),
    /// Something that it refers to does not exist.
    NotFound(NotFound),
    /// What it refers to needs a field that it does not have.
    Invalid(Invalid),
}

impl Verdict {
    /// The same, with more in the posting of what is applied, or a reason why it is refused.
    pub(super) fn and_post(self, more: impl FnOnce(Posting) -> Result<Posting, RefusalReason>) -> Self {
        match self {
            Self::Post(posting) => match more(posting) {
                Ok(posting) => Self::Post(posting),
                Err(reason) => Self::Refuse(reason),
            },
            Self::PaidBefore(_) | Self::Refuse(_) | Self::NotFound(_) | Self::Invalid(_) => self,
        }
    }
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

    /// The account, unless nothing has ever happened in it.
    pub(super) fn known_account(&self) -> Option<&'a Account> {
        self.account().filter(|account| account.last_sequence > 0)
    }

    /// The time in the account.
    pub(super) fn time(&self) -> Timestamp {
        self.account().map_or(self.now, |account| account.time(self.now))
    }

    /// Fails if an operator has forbidden the account to spend.
    pub(super) fn may_spend(&self) -> Result<(), RefusalReason> {
        self.account().map_or(Ok(()), Account::may_spend)
    }

    /// Fails if an operator has forbidden the account to take money in.
    pub(super) fn may_earn(&self) -> Result<(), RefusalReason> {
        self.account().map_or(Ok(()), Account::may_earn)
    }

    /// Fails if the account has less available. An unknown account has nothing.
    pub(super) fn must_have_available(&self, amount: Amount) -> Result<(), RefusalReason> {
        RefusalReason::unless_covered(self.balance(), amount.credited())
    }

    /// The account's balance. An unknown account has nothing.
    pub(super) fn balance(&self) -> Balance {
        self.account().map_or(Balance::default(), |account| account.balance)
    }

    /// The account's grants.
    pub(super) fn grants(&self) -> &'a Grants {
        self.book.grants(self.account_id())
    }

    /// What a credit does to grants that expires at a time, if it does.
    pub(super) fn grant(&self, expire_time: Option<Timestamp>) -> Result<GrantStep, RefusalReason> {
        if expire_time.is_some_and(|expire_time| expire_time <= self.time()) {
            return Err(RefusalReason::GrantExpired);
        }
        if expire_time.is_some() && self.grants().count_ahead(self.time()) >= Grants::AHEAD_MAX {
            return Err(RefusalReason::TooManyGrants);
        }
        Ok(GrantStep { opens: expire_time, ..GrantStep::default() })
    }

    /// What is left of a credit: what has lapsed of it has been taken back already.
    pub(super) fn left_of(&self, credit: &Original) -> MicroUsd {
        let lapsed = self.grants().get(credit.entry.sequence).map_or(MicroUsd::ZERO, |grant| grant.lapsed);
        MicroUsd::new((credit.left().get() - lapsed.get()).max(0)) // both are at least zero
    }

    /// Applies a movement to a reservation of the account.
    pub(super) fn move_reservation(
        &self,
        entry_type: EntryType,
        reservation_id: &IdempotencyKey,
        movement: impl FnOnce(&Reservation, &Account, Timestamp) -> Result<Movement, RefusalReason>,
    ) -> Verdict {
        let named = self.book.reservation(self.account_id(), reservation_id);
        let (Some(reservation), Some(account)) = (named, self.account()) else {
            return Verdict::NotFound(NotFound::Reservation);
        };
        match movement(reservation, account, account.time(self.now)) {
            Ok(movement) => Verdict::Post(Posting::moving(entry_type, reservation_id.clone(), movement)),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}
