//! An entry before it has its place in the journal.

use super::{
    Account, AccountId, AccountSettings, Actor, Entry, EntryType, ExternalIds, GrantMoves, Grants,
    IdempotencyKey, MicroUsd, Original, PaidLeg, Reason, ReservationAfter, Source, Timestamp,
    envelope::Envelope,
    grants::{GrantStep, StepOf},
    movement::Movement,
};

/// An entry before it has its sequence, its balance and its time.
pub(super) struct Posting {
    pub(super) entry_type: EntryType,
    pub(super) amount: MicroUsd,
    pub(super) external_ids: ExternalIds,
    pub(super) actor: Option<Actor>,
    pub(super) reason: Option<Reason>,
    pub(super) refunded_sequence: Option<i64>,
    pub(super) reversed_sequence: Option<i64>,
    pub(super) held_delta: MicroUsd,
    /// Its own part of what is withdrawable, before other money is taken first.
    pub(super) withdrawable_delta: MicroUsd,
    pub(super) reservation: Option<ReservationAfter>,
    pub(super) uncollected: MicroUsd,
    pub(super) settings: Option<AccountSettings>,
    /// When it took effect, if that was before it is written.
    pub(super) effective_time: Option<Timestamp>,
    /// What it moves in the accounts of others.
    pub(super) legs: Vec<LegPosting>,
    /// How much its legs could share.
    pub(super) funded: MicroUsd,
    /// What it does to grants.
    pub(super) grants: GrantStep,
}

/// What an operation moves in the account of another.
pub(super) struct LegPosting {
    pub(super) account_id: AccountId,
    /// `None` if it moves nothing.
    pub(super) posting: Option<Posting>,
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
            reversed_sequence: None,
            held_delta: MicroUsd::ZERO,
            withdrawable_delta: MicroUsd::ZERO,
            reservation: None,
            uncollected: MicroUsd::ZERO,
            settings: None,
            effective_time: None,
            legs: Vec::new(),
            funded: MicroUsd::ZERO,
            grants: GrantStep::default(),
        }
    }

    /// A debit of what could be collected of what is wanted: at least zero, and at most all of it.
    pub(super) fn taking(entry_type: EntryType, collected: MicroUsd, wanted: MicroUsd) -> Self {
        let uncollected = MicroUsd::new(wanted.get() - collected.get());
        Self { uncollected, ..Self::new(entry_type, MicroUsd::new(-collected.get())) }
    }

    /// The same, as the reversal of so much of a credit, in an account with these grants and so much other money.
    pub(super) fn reversing(
        credit: &Original,
        (collected, wanted): (MicroUsd, MicroUsd),
        (grants, other): (&Grants, MicroUsd),
    ) -> Self {
        let sequence = credit.entry.sequence;
        let draws = grants.reversed_shares(sequence, collected, other);
        Self {
            reversed_sequence: Some(sequence),
            withdrawable_delta: MicroUsd::new(-credit.withdrawable_slice(collected).get()),
            grants: GrantStep { reverses: Some((sequence, collected)), ..GrantStep::drawing(draws) },
            ..Self::taking(EntryType::Reversal, collected, wanted)
        }
    }

    /// The end of so much of grants that have expired.
    pub(super) fn lapsing(amount: MicroUsd, effective_time: Timestamp) -> Self {
        Self {
            effective_time: Some(effective_time),
            grants: GrantStep { lapses: true, ..GrantStep::default() },
            ..Self::new(EntryType::GrantExpire, MicroUsd::new(-amount.get()))
        }
    }

    pub(super) fn moving(entry_type: EntryType, reservation_id: IdempotencyKey, movement: Movement) -> Self {
        let Movement { amount, held_delta, status, uncollected, grants } = movement;
        let reservation = Some(ReservationAfter { reservation_id, status });
        Self { held_delta, reservation, uncollected, grants, ..Self::new(entry_type, amount) }
    }

    /// The entry in its place, with the legs that were paid, or `None` if the balance would overflow int64. Changes the grants
    /// of the account by it.
    pub(super) fn entry(
        self,
        envelope: &Envelope,
        account: &Account,
        grants: &mut Grants,
        now: Timestamp,
        (legs, source): (Vec<PaidLeg>, Option<Source>),
    ) -> Option<Entry> {
        let create_time = account.time(now);
        let effective_time = self.effective_time.unwrap_or(create_time);
        let (before, sequence) = (account.balance, account.last_sequence.checked_add(1)?);
        let grant_expire_time = self.grants.opens;
        let mut balance_after = before.after(self.amount, self.held_delta, self.withdrawable_delta)?;
        let mut grant_moves = GrantMoves::default();
        if !grants.is_empty() || grant_expire_time.is_some() {
            let unheld = balance_after.available();
            let of = StepOf { sequence, amount: self.amount, time: effective_time, unheld };
            grant_moves = grants.apply(self.grants, of);
            balance_after = balance_after.beside(grants.totals(effective_time))?;
        }
        Some(Entry {
            account_id: envelope.account_id.clone(),
            sequence,
            entry_type: self.entry_type,
            amount: self.amount,
            held_delta: self.held_delta,
            withdrawable_delta: balance_after.withdrawable_since(before),
            balance_after,
            idempotency_key: Some(envelope.key.clone()),
            external_ids: self.external_ids,
            note: envelope.note.clone(),
            actor: self.actor,
            reason: self.reason,
            reservation: self.reservation,
            uncollected: self.uncollected,
            refunded_sequence: self.refunded_sequence,
            reversed_sequence: self.reversed_sequence,
            legs,
            funded: self.funded,
            grant_expire_time,
            grant_moves,
            source,
            settings: self.settings,
            create_time,
            effective_time,
            caller: envelope.caller.clone(),
        })
    }
}
