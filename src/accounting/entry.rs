//! The journal's rows.

use super::{
    AccountId, Actor, Balance, CallerName, EntryType, ExternalId, IdempotencyKey, MicroUsd, Note, Reason,
    ReservationStatus, Timestamp,
};

/// One immutable row of the journal: one applied operation on one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account.
    pub account_id: AccountId,
    /// The number in the account: 1, 2, 3 … without gaps.
    pub sequence: i64,
    /// What the entry records.
    pub entry_type: EntryType,
    /// What was added to posted.
    pub amount: MicroUsd,
    /// What was added to held.
    pub held_delta: MicroUsd,
    /// The balance right after this entry.
    pub balance_after: Balance,
    /// The operation's key; `None` only on history from before this ledger.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The payment's id in another system.
    pub external_id: Option<ExternalId>,
    /// What the caller wrote beside it.
    pub note: Note,
    /// Who granted the money.
    pub actor: Option<Actor>,
    /// Why it was granted.
    pub reason: Option<Reason>,
    /// The reservation that it opened, changed or ended.
    pub reservation: Option<ReservationAfter>,
    /// The charge or capture that it gives back.
    pub refunded_sequence: Option<i64>,
    /// When it was written. Never earlier than the entry before it.
    pub create_time: Timestamp,
    /// Who asked for it; `None` where the service asked itself, and of callers without credentials.
    pub caller: Option<CallerName>,
}

/// A reservation right after an entry, so that the answer can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationAfter {
    /// The reservation.
    pub reservation_id: IdempotencyKey,
    /// How it stood.
    pub status: ReservationStatus,
    /// What a capture could not collect.
    pub uncollected: MicroUsd,
}
