//! Entries of the contract as entries of the journal, so that what is saved from a page has the columns of `billing export`.

use super::time;
use crate::{
    accounting::{
        AccountId, AccountSettings, AccountState, Actor, Balance, CallerName, Entry, EntryType, ExpiryPolicy,
        ExternalIds, GrantMoves, GrantShare, IdempotencyKey, Invalid, MicroUsd, Note, PaidLeg, Reason,
        Reference, ReservationAfter, ReservationState, ReservationStatus, Source,
    },
    grpc::proto,
};

/// What an entry has that this program does not know.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] Invalid),
    /// A number that stands for nothing.
    #[error("an entry has {0} that this program does not know")]
    Number(&'static str),
}

/// The entry of a message.
pub(super) fn entry(entry: &proto::Entry) -> Result<Entry, Unknown> {
    let key = &entry.idempotency_key;
    Ok(Entry {
        account_id: account_id(&entry.account_id)?,
        sequence: entry.sequence,
        entry_type: number(entry.entry_type, EntryType::from_number, "a type")?,
        amount: MicroUsd::new(entry.amount_micro_usd),
        held_delta: MicroUsd::new(entry.held_delta_micro_usd),
        withdrawable_delta: MicroUsd::new(entry.withdrawable_delta_micro_usd),
        balance_after: balance(entry.balance_after.unwrap_or_default(), entry.lapsed_micro_usd)?,
        idempotency_key: unless_empty(key, |key| IdempotencyKey::parse("idempotency_key", key))?,
        external_ids: ExternalIds::parse(&entry.external_ids)?,
        note: Note {
            reference: Reference::recorded(entry.reference.clone()),
            metadata: entry.metadata.clone(),
        },
        actor: unless_empty(&entry.actor, Actor::parse)?,
        reason: unless_empty(&entry.reason, Reason::parse)?,
        reservation: entry.reservation.as_ref().map(reservation).transpose()?,
        uncollected: MicroUsd::new(entry.uncollected_micro_usd),
        refunded_sequence: unless_zero(entry.refunded_sequence),
        reversed_sequence: unless_zero(entry.reversed_sequence),
        legs: entry.legs.iter().map(leg).collect::<Result<_, _>>()?,
        funded: MicroUsd::new(entry.funded_micro_usd),
        grant_expire_time: entry.grant_expire_time.as_ref().map(|at| time::of(Some(at))),
        grant_moves: GrantMoves {
            draws: shares(&entry.draws),
            unwinds: shares(&entry.unwinds),
            converted: shares(&entry.converted),
            lapses: shares(&entry.lapses),
            pins: shares(&entry.pins),
        },
        source: entry.source.as_ref().map(source).transpose()?,
        settings: entry.account_settings.as_ref().map(settings).transpose()?,
        create_time: time::of(entry.create_time.as_ref()),
        effective_time: time::of(entry.effective_time.as_ref()),
        caller: unless_empty(&entry.caller, |name| CallerName::parse("caller", name))?,
    })
}

fn account_id(text: &str) -> Result<AccountId, Invalid> {
    AccountId::parse("account_id", text)
}

fn unless_empty<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn unless_zero(sequence: i64) -> Option<i64> {
    (sequence != 0).then_some(sequence)
}

fn number<T>(number: i32, from: fn(i16) -> Option<T>, what: &'static str) -> Result<T, Unknown> {
    i16::try_from(number).ok().and_then(from).ok_or(Unknown::Number(what))
}

fn balance(balance: proto::Balance, lapsed_micro_usd: i64) -> Result<Balance, Unknown> {
    let [posted, held, withdrawable] =
        [balance.posted_micro_usd, balance.held_micro_usd, balance.withdrawable_micro_usd].map(MicroUsd::new);
    let [granted, lapsing] = [balance.granted_micro_usd, lapsed_micro_usd].map(MicroUsd::new);
    Balance::new(posted, held, withdrawable)
        .and_then(|balance| balance.with_grants(granted, lapsing))
        .ok_or(Unknown::Number("a balance"))
}

fn shares(shares: &[proto::GrantShare]) -> Vec<GrantShare> {
    let share = |share: &proto::GrantShare| GrantShare {
        sequence: share.grant_sequence,
        amount: MicroUsd::new(share.amount_micro_usd),
    };
    shares.iter().map(share).collect()
}

fn reservation(after: &proto::ReservationStatus) -> Result<ReservationAfter, Unknown> {
    let status = ReservationStatus {
        state: number(after.state, ReservationState::from_number, "a state of a reservation")?,
        held: MicroUsd::new(after.amount_micro_usd),
        captured: MicroUsd::new(after.captured_micro_usd),
        expire_time: time::of(after.expire_time.as_ref()),
        expiry_policy: number(after.expiry_policy, ExpiryPolicy::from_number, "a policy")?,
        close_time: after.close_time.as_ref().map(|at| time::of(Some(at))),
    };
    Ok(ReservationAfter {
        reservation_id: IdempotencyKey::parse("reservation_id", &after.reservation_id)?,
        status,
    })
}

fn leg(leg: &proto::PaidLeg) -> Result<PaidLeg, Invalid> {
    let amount = MicroUsd::new(leg.amount_micro_usd);
    Ok(PaidLeg { account_id: account_id(&leg.account_id)?, sequence: leg.sequence, amount })
}

fn source(source: &proto::EntrySource) -> Result<Source, Invalid> {
    Ok(Source { account_id: account_id(&source.account_id)?, sequence: source.sequence })
}

fn settings(settings: &proto::AccountSettings) -> Result<AccountSettings, Unknown> {
    let state = number(settings.state, AccountState::from_number, "a state of an account")?;
    Ok(AccountSettings { state, debt_limit: settings.debt_limit_micro_usd.map(MicroUsd::new) })
}
