//! An entry as a row of a table: the names and the order of its columns.

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    accounting::{
        Actor, CallerName, Entry, GrantMoves, GrantShare, IdempotencyKey, MicroUsd, PaidLeg, Reason,
        ReservationStatus, Timestamp,
    },
    json::Integer,
};

/// The names of the columns. Sums are whole micro-USD (1 USD = 1,000,000), times as in RFC 3339, in UTC.
pub(super) const NAMES: [&str; 43] = [
    "account_id",
    "sequence",
    "entry_type",
    "amount_micro_usd",
    "held_delta_micro_usd",
    "posted_after_micro_usd",
    "held_after_micro_usd",
    "available_after_micro_usd",
    "create_time",
    "effective_time",
    "idempotency_key",
    "external_ids",
    "reference",
    "metadata",
    "actor",
    "reason",
    "caller",
    "refunded_sequence",
    "reservation_id",
    "reservation_state",
    "reservation_held_micro_usd",
    "reservation_captured_micro_usd",
    "uncollected_micro_usd",
    "expire_time",
    "close_time",
    "expiry_policy",
    "account_state",
    "debt_limit_micro_usd",
    "reversed_sequence",
    "withdrawable_delta_micro_usd",
    "withdrawable_after_micro_usd",
    "legs",
    "funded_micro_usd",
    "source_account_id",
    "source_sequence",
    "grant_expire_time",
    "draws",
    "unwinds",
    "converted",
    "lapses",
    "pins",
    "granted_after_micro_usd",
    "lapsed_micro_usd",
];

/// An entry's row.
#[derive(Serialize)]
pub(super) struct Columns<'a, Metadata> {
    account_id: Cow<'a, str>,
    sequence: Integer,
    entry_type: &'static str,
    amount_micro_usd: Integer,
    held_delta_micro_usd: Integer,
    posted_after_micro_usd: Integer,
    held_after_micro_usd: Integer,
    available_after_micro_usd: Integer,
    create_time: String,
    effective_time: String,
    idempotency_key: Option<Cow<'a, str>>,
    external_ids: Option<String>,
    reference: Cow<'a, str>,
    metadata: Metadata,
    actor: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
    caller: Option<Cow<'a, str>>,
    refunded_sequence: Option<Integer>,
    reservation_id: Option<Cow<'a, str>>,
    reservation_state: Option<&'static str>,
    reservation_held_micro_usd: Option<Integer>,
    reservation_captured_micro_usd: Option<Integer>,
    uncollected_micro_usd: Option<Integer>,
    expire_time: Option<String>,
    close_time: Option<String>,
    expiry_policy: Option<&'static str>,
    account_state: Option<&'static str>,
    debt_limit_micro_usd: Option<Integer>,
    reversed_sequence: Option<Integer>,
    withdrawable_delta_micro_usd: Integer,
    withdrawable_after_micro_usd: Integer,
    legs: Option<String>,
    funded_micro_usd: Option<Integer>,
    source_account_id: Option<Cow<'a, str>>,
    source_sequence: Option<Integer>,
    grant_expire_time: Option<String>,
    draws: Option<String>,
    unwinds: Option<String>,
    converted: Option<String>,
    lapses: Option<String>,
    pins: Option<String>,
    granted_after_micro_usd: Integer,
    lapsed_micro_usd: Option<Integer>,
}

impl<'a, Metadata> Columns<'a, Metadata> {
    /// The row of an entry; texts of callers pass through `text`.
    pub(super) fn of(entry: &'a Entry, metadata: Metadata, text: fn(&'a str) -> Cow<'a, str>) -> Self {
        let reservation = entry.reservation.as_ref();
        let status: Option<&ReservationStatus> = reservation.map(|after| &after.status);
        let GrantMoves { draws, unwinds, converted, lapses, pins } = &entry.grant_moves;
        let balance = entry.balance_after;
        Self {
            account_id: text(entry.account_id.as_str()),
            sequence: Integer(entry.sequence),
            entry_type: entry.entry_type.name(),
            amount_micro_usd: micro_usd(entry.amount),
            held_delta_micro_usd: micro_usd(entry.held_delta),
            posted_after_micro_usd: micro_usd(balance.posted()),
            held_after_micro_usd: micro_usd(balance.held()),
            available_after_micro_usd: micro_usd(balance.available()),
            create_time: entry.create_time.to_string(),
            effective_time: entry.effective_time.to_string(),
            idempotency_key: entry.idempotency_key.as_ref().map(IdempotencyKey::as_str).map(text),
            external_ids: Some(entry.external_ids.joined()).filter(|ids| !ids.is_empty()),
            reference: text(entry.note.reference.as_str()),
            metadata,
            actor: entry.actor.as_ref().map(Actor::as_str).map(text),
            reason: entry.reason.as_ref().map(Reason::as_str).map(text),
            caller: entry.caller.as_ref().map(CallerName::as_str).map(text),
            refunded_sequence: entry.refunded_sequence.map(Integer),
            reservation_id: reservation.map(|after| text(after.reservation_id.as_str())),
            reservation_state: status.map(|status| status.state.name()),
            reservation_held_micro_usd: status.map(|status| status.held).map(micro_usd),
            reservation_captured_micro_usd: status.map(|status| status.captured).map(micro_usd),
            uncollected_micro_usd: unless_zero(entry.uncollected),
            expire_time: status.map(|status| status.expire_time.to_string()),
            close_time: status.and_then(|status| status.close_time).as_ref().map(Timestamp::to_string),
            expiry_policy: status.map(|status| status.expiry_policy.name()),
            account_state: entry.settings.map(|settings| settings.state.name()),
            debt_limit_micro_usd: entry.settings.and_then(|settings| settings.debt_limit).map(micro_usd),
            reversed_sequence: entry.reversed_sequence.map(Integer),
            withdrawable_delta_micro_usd: micro_usd(entry.withdrawable_delta),
            withdrawable_after_micro_usd: micro_usd(balance.withdrawable()),
            legs: legs(entry),
            funded_micro_usd: Some(entry.funded).filter(|_| has_funds(entry)).map(micro_usd),
            source_account_id: entry.source.as_ref().map(|source| text(source.account_id.as_str())),
            source_sequence: entry.source.as_ref().map(|source| Integer(source.sequence)),
            grant_expire_time: entry.grant_expire_time.as_ref().map(Timestamp::to_string),
            draws: shares(draws),
            unwinds: shares(unwinds),
            converted: shares(converted),
            lapses: shares(lapses),
            pins: shares(pins),
            granted_after_micro_usd: micro_usd(balance.granted()),
            lapsed_micro_usd: unless_zero(balance.lapsing()),
        }
    }
}

/// The legs with a blank between them: of each the payee's sequence, the amount and the payee, with colons between.
pub(super) fn legs(entry: &Entry) -> Option<String> {
    let leg = |leg: &PaidLeg| format!("{}:{}:{}", leg.sequence, leg.amount, leg.account_id);
    (!entry.legs.is_empty()).then(|| entry.legs.iter().map(leg).collect::<Vec<_>>().join(" "))
}

/// Parts of grants with a blank between them: of each the sequence of the grant and the amount, with a colon between.
pub(super) fn shares(shares: &[GrantShare]) -> Option<String> {
    let share = |share: &GrantShare| format!("{}:{}", share.sequence, share.amount);
    (!shares.is_empty()).then(|| shares.iter().map(share).collect::<Vec<_>>().join(" "))
}

/// Whether legs share a part of it.
fn has_funds(entry: &Entry) -> bool {
    !entry.legs.is_empty() && entry.refunded_sequence.is_none()
}

fn unless_zero(sum: MicroUsd) -> Option<Integer> {
    Some(sum).filter(|sum| *sum != MicroUsd::ZERO).map(micro_usd)
}

fn micro_usd(sum: MicroUsd) -> Integer {
    Integer(sum.get())
}
