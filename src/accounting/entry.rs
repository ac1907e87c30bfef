//! Entries: the rows of the journal.

use super::{
    AccountId, AccountSettings, Actor, Balance, CallerName, EntryType, ExternalIds, GrantMoves,
    IdempotencyKey, MicroUsd, Note, Reason, ReservationStatus, Timestamp,
};

/// One immutable row of the journal: one applied operation on one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account.
    pub account_id: AccountId,
    /// Its number in the account: 1, 2, 3 … without gaps.
    pub sequence: i64,
    /// What the entry records.
    pub entry_type: EntryType,
    /// The change of posted.
    pub amount: MicroUsd,
    /// The change of held.
    pub held_delta: MicroUsd,
    /// The change of what is withdrawable.
    pub withdrawable_delta: MicroUsd,
    /// The balance right after this entry.
    pub balance_after: Balance,
    /// The operation's key; `None` only on imported history.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The payment's ids in other systems, as its first call gave them.
    pub external_ids: ExternalIds,
    /// What the caller wrote beside it.
    pub note: Note,
    /// The operator who decided on the credit.
    pub actor: Option<Actor>,
    /// The operator's reason.
    pub reason: Option<Reason>,
    /// The reservation that it opened, changed or ended.
    pub reservation: Option<ReservationAfter>,
    /// The part of a charge, capture or reversal that could not be collected.
    pub uncollected: MicroUsd,
    /// The debit that a refund gives back.
    pub refunded_sequence: Option<i64>,
    /// The credit that a reversal takes back; of the refund of a reversal, the credit that it restores.
    pub reversed_sequence: Option<i64>,
    /// The legs of a debit, or what a refund took back of them, in their order.
    pub legs: Vec<PaidLeg>,
    /// Of a debit with legs, how much of it they could share: what was really taken, without what went into debt.
    pub funded: MicroUsd,
    /// When the money expires that it adds: then it is a grant.
    pub grant_expire_time: Option<Timestamp>,
    /// How it changes the grants of the account.
    pub grant_moves: GrantMoves,
    /// The entry of another account that this one is a leg of.
    pub source: Option<Source>,
    /// What an operator decided about the account: its settings right after this entry.
    pub settings: Option<AccountSettings>,
    /// When it was written. Never earlier than the entry before it.
    pub create_time: Timestamp,
    /// When it took effect: the end of a lease, if it records that; otherwise when it was written. Never earlier than of the
    /// entry before it.
    pub effective_time: Timestamp,
    /// The caller; `None` for entries of the service's own, and for callers without credentials.
    pub caller: Option<CallerName>,
}

/// A reservation right after an entry: part of the answer, which a replay repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationAfter {
    /// The reservation.
    pub reservation_id: IdempotencyKey,
    /// Its status.
    pub status: ReservationStatus,
}

/// What a leg moved, as the payer's entry lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidLeg {
    /// The payee.
    pub account_id: AccountId,
    /// The payee's entry; 0 if nothing was left for it.
    pub sequence: i64,
    /// The amount of that entry.
    pub amount: MicroUsd,
}

/// The payer's entry that an entry is a leg of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The payer.
    pub account_id: AccountId,
    /// The payer's entry.
    pub sequence: i64,
}
