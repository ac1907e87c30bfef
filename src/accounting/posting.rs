//! An entry before it has its place in the journal.

use super::{
    Account, AccountSettings, Actor, Entry, EntryType, ExternalIds, IdempotencyKey, MicroUsd, Reason,
    ReservationAfter, Timestamp, envelope::Envelope, movement::Movement,
};

/// An entry before it has its sequence, its balance and its time.
pub(super) struct Posting {
    pub(super) entry_type: EntryType,
    pub(super) amount: MicroUsd,
    pub(super) external_ids: ExternalIds,
    pub(super) actor: Option<Actor>,
    pub(super) reason: Option<Reason>,
    pub(super) refunded_sequence: Option<i64>,
    pub(super) held_delta: MicroUsd,
    pub(super) reservation: Option<ReservationAfter>,
    pub(super) uncollected: MicroUsd,
    pub(super) settings: Option<AccountSettings>,
    /// When it took effect, if that was before it is written.
    pub(super) effective_time: Option<Timestamp>,
}

impl Posting {
    pub(super) fn new(entry_type: EntryType, amount: MicroUsd) -> Self {
        Self {
            entry_type,
            amount,
            external_ids: ExternalIds::default(),
            actor: None,
            reason: None,
            refunded_sequence: None,
            held_delta: MicroUsd::ZERO,
            reservation: None,
            uncollected: MicroUsd::ZERO,
            settings: None,
            effective_time: None,
        }
    }

    pub(super) fn moving(entry_type: EntryType, reservation_id: IdempotencyKey, movement: Movement) -> Self {
        let Movement { amount, held_delta, status, uncollected } = movement;
        let reservation = Some(ReservationAfter { reservation_id, status });
        Self { held_delta, reservation, uncollected, ..Self::new(entry_type, amount) }
    }

    /// The entry in its place, or `None` if the balance would overflow int64.
    pub(super) fn entry(self, envelope: &Envelope, account: &Account, now: Timestamp) -> Option<Entry> {
        let create_time = account.time(now);
        Some(Entry {
            account_id: envelope.account_id.clone(),
            sequence: account.last_sequence.checked_add(1)?,
            entry_type: self.entry_type,
            amount: self.amount,
            held_delta: self.held_delta,
            balance_after: account.balance.after(self.amount, self.held_delta)?,
            idempotency_key: Some(envelope.key.clone()),
            external_ids: self.external_ids,
            note: envelope.note.clone(),
            actor: self.actor,
            reason: self.reason,
            reservation: self.reservation,
            uncollected: self.uncollected,
            refunded_sequence: self.refunded_sequence,
            settings: self.settings,
            create_time,
            effective_time: self.effective_time.unwrap_or(create_time),
            caller: envelope.caller.clone(),
        })
    }
}
