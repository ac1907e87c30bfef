//! Converts between the rows of the book and the domain's types.

use std::sync::Arc;

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Binary, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use super::times::{pg_timestamp, timestamp};
use super::{
    LedgerError,
    grant_rows::{self, GrantsRow},
};
use crate::{
    accounting::{
        Account, AccountId, AccountSettings, AccountState, Actor, Answer, Balance, CallerName, Entry,
        EntryType, ExpiryPolicy, ExternalIds, Fingerprint, IdempotencyKey, Metadata, MicroUsd, Note, PaidLeg,
        Reason, Recorded, Reference, Refusal, Reservation, ReservationAfter, ReservationState,
        ReservationStatus, Source, Undone,
    },
    schema::tables,
};

/// A row of `ledger_entries`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tables::ledger_entries, check_for_backend(Pg))]
pub(crate) struct EntryRow {
    pub(crate) account_id: String,
    pub(crate) sequence: i64,
    entry_type: i16,
    amount_micro_usd: i64,
    held_delta_micro_usd: i64,
    posted_after: i64,
    held_after: i64,
    create_time: PgTimestamp,
    refunded_sequence: Option<i64>,
    reversed_sequence: Option<i64>,
    idempotency_key: Option<String>,
    fingerprint: Option<Vec<u8>>,
    external_ids: Option<Vec<String>>,
    reference: String,
    metadata: Option<Value>,
    actor: Option<String>,
    reason: Option<String>,
    reservation_id: Option<String>,
    reservation_state: Option<i16>,
    reservation_held: Option<i64>,
    reservation_captured: Option<i64>,
    uncollected_micro_usd: Option<i64>,
    expire_time: Option<PgTimestamp>,
    close_time: Option<PgTimestamp>,
    expiry_policy: Option<i16>,
    caller: Option<String>,
    effective_time: Option<PgTimestamp>,
    account_state: Option<i16>,
    debt_limit_micro_usd: Option<i64>,
    withdrawable_delta_micro_usd: Option<i64>,
    withdrawable_after: Option<i64>,
    #[diesel(embed)]
    legs: LegsRow,
    #[diesel(embed)]
    grants: GrantsRow,
}

/// What a row of `ledger_entries` says of legs.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tables::ledger_entries, check_for_backend(Pg))]
pub(crate) struct LegsRow {
    legs: Option<Value>,
    funded_micro_usd: Option<i64>,
    source_account_id: Option<String>,
    source_sequence: Option<i64>,
}

/// The types of [`EntryRow`]'s columns, in order.
pub(crate) type EntryColumns = (
    Text,
    BigInt,
    SmallInt,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<Array<Text>>,
    Text,
    Nullable<Jsonb>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<SmallInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<SmallInt>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<SmallInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    (Nullable<Jsonb>, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>),
    (Nullable<Timestamptz>, Nullable<Jsonb>, Nullable<BigInt>, Nullable<BigInt>),
);

/// A locked row of `accounts`, without its create time.
#[derive(Queryable)]
pub(crate) struct AccountRow {
    account_id: String,
    posted_micro_usd: i64,
    held_micro_usd: i64,
    last_sequence: i64,
    update_time: PgTimestamp,
    next_expire_time: Option<PgTimestamp>,
    state: i16,
    debt_limit_micro_usd: Option<i64>,
    withdrawable_micro_usd: i64,
    granted_micro_usd: Option<i64>,
}

/// The types of [`AccountRow`]'s columns, in order.
pub(crate) type AccountColumns = (
    Text,
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Nullable<Timestamptz>,
    SmallInt,
    Nullable<BigInt>,
    BigInt,
    Nullable<BigInt>,
);

/// A row of `refusals`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tables::refusals, check_for_backend(Pg))]
pub(crate) struct RefusalRow {
    account_id: String,
    fingerprint: Vec<u8>,
    reason: String,
    message: String,
    metadata: Value,
    create_time: PgTimestamp,
}

/// A row of `reservations`.
#[derive(Queryable)]
pub(crate) struct ReservationRow {
    account_id: String,
    reservation_id: String,
    state: i16,
    amount_micro_usd: i64,
    captured_micro_usd: i64,
    sequence: i64,
    create_time: PgTimestamp,
    expire_time: PgTimestamp,
    close_time: Option<PgTimestamp>,
    expiry_policy: i16,
    close_sequence: Option<i64>,
    reference: String,
    metadata: Option<Value>,
    pins: Option<Value>,
}

/// The types of [`ReservationRow`]'s columns, in order.
pub(crate) type ReservationColumns = (
    Text,
    Text,
    SmallInt,
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
    SmallInt,
    Nullable<BigInt>,
    Text,
    Nullable<Jsonb>,
    Nullable<Jsonb>,
);

/// The types of [`RefusalRow`]'s columns, in order.
pub(crate) type RefusalColumns = (Text, Binary, Text, Text, Jsonb, Timestamptz);

pub(crate) fn balance(
    posted: i64,
    held: i64,
    withdrawable: i64,
    (granted, lapsing): (i64, i64),
) -> Result<Balance, LedgerError> {
    Balance::new(MicroUsd::new(posted), MicroUsd::new(held), MicroUsd::new(withdrawable))
        .and_then(|balance| balance.with_grants(MicroUsd::new(granted), MicroUsd::new(lapsing)))
        .ok_or_else(|| {
            LedgerError::Corrupt(format!(
                "a balance of {posted} posted, {held} held, {withdrawable} withdrawable, {granted} granted"
            ))
        })
}

/// A balance after expired leases that are not recorded yet: what their ends have charged is not withdrawable any more.
pub(super) fn balance_now(
    posted: i64,
    held: i64,
    withdrawable: i64,
    granted: i64,
) -> Result<Balance, LedgerError> {
    balance(posted, held, withdrawable.min(posted.max(0)), (granted, 0))
}

/// What has been undone of an entry: the amount, and what was withdrawable of it.
pub(super) fn undone(figures: &[i64]) -> Result<Undone, LedgerError> {
    let [amount, withdrawable] = figures else {
        return Err(LedgerError::Corrupt(format!(
            "{} figures for what is undone of an entry",
            figures.len()
        )));
    };
    Ok(Undone { amount: MicroUsd::new(*amount), withdrawable: MicroUsd::new(*withdrawable) })
}

pub(crate) fn entry_type(number: i16) -> Result<EntryType, LedgerError> {
    EntryType::from_number(number).ok_or_else(|| LedgerError::Corrupt(format!("an entry of type {number}")))
}

pub(crate) fn settings(state: i16, debt_limit: Option<i64>) -> Result<AccountSettings, LedgerError> {
    let state = AccountState::from_number(state)
        .ok_or_else(|| LedgerError::Corrupt(format!("an account in state {state}")))?;
    Ok(AccountSettings { state, debt_limit: debt_limit.map(MicroUsd::new) })
}

impl TryFrom<AccountRow> for (AccountId, Account) {
    type Error = LedgerError;

    fn try_from(row: AccountRow) -> Result<Self, LedgerError> {
        let account = Account {
            balance: balance(
                row.posted_micro_usd,
                row.held_micro_usd,
                row.withdrawable_micro_usd,
                (row.granted_micro_usd.unwrap_or_default(), 0),
            )?,
            has_grants: row.granted_micro_usd.is_some(),
            last_sequence: row.last_sequence,
            update_time: timestamp(row.update_time),
            next_expire_time: row.next_expire_time.map(timestamp),
            settings: settings(row.state, row.debt_limit_micro_usd)?,
        };
        Ok((AccountId::parse("account_id", &row.account_id)?, account))
    }
}

/// A sum as the book stores it where it is rare: NULL if it is zero.
pub(crate) fn nonzero(sum: MicroUsd) -> Option<i64> {
    Some(sum.get()).filter(|sum| *sum != 0)
}

fn metadata(value: Value) -> Result<Metadata, LedgerError> {
    serde_json::from_value(value)
        .map_err(|error| LedgerError::Corrupt(format!("metadata other than texts: {error}")))
}

impl EntryRow {
    /// The answer to the key of this row.
    ///
    /// # Errors
    /// When the row is not one that this program writes.
    pub(crate) fn recorded(mut self) -> Result<Recorded, LedgerError> {
        let fingerprint = self.fingerprint.take().unwrap_or_default();
        let answer = Answer::Applied(Arc::new(self.try_into()?));
        Ok(Recorded { fingerprint: Fingerprint::recorded(fingerprint), answer })
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = LedgerError;

    fn try_from(mut row: EntryRow) -> Result<Self, LedgerError> {
        let reservation = row.take_reservation()?;
        let key = |text: String| IdempotencyKey::parse("idempotency_key", &text);
        Ok(Self {
            account_id: AccountId::parse("account_id", &row.account_id)?,
            sequence: row.sequence,
            entry_type: entry_type(row.entry_type)?,
            amount: MicroUsd::new(row.amount_micro_usd),
            held_delta: MicroUsd::new(row.held_delta_micro_usd),
            withdrawable_delta: MicroUsd::new(row.withdrawable_delta_micro_usd.unwrap_or_default()),
            balance_after: balance(
                row.posted_after,
                row.held_after,
                row.withdrawable_after.unwrap_or_default(),
                row.grants.after(),
            )?,
            grant_expire_time: row.grants.expire_time(),
            grant_moves: row.grants.moves()?,
            idempotency_key: row.idempotency_key.map(key).transpose()?,
            external_ids: ExternalIds::parse(&row.external_ids.unwrap_or_default())?,
            note: Note {
                reference: Reference::recorded(row.reference),
                metadata: row.metadata.map(metadata).transpose()?.unwrap_or_default(),
            },
            actor: row.actor.map(|actor| Actor::parse(&actor)).transpose()?,
            reason: row.reason.map(|reason| Reason::parse(&reason)).transpose()?,
            reservation,
            uncollected: MicroUsd::new(row.uncollected_micro_usd.unwrap_or_default()),
            refunded_sequence: row.refunded_sequence,
            reversed_sequence: row.reversed_sequence,
            legs: row.legs.legs.map(legs).transpose()?.unwrap_or_default(),
            funded: MicroUsd::new(row.legs.funded_micro_usd.unwrap_or_default()),
            source: source(row.legs.source_account_id, row.legs.source_sequence)?,
            settings: row.account_state.map(|state| settings(state, row.debt_limit_micro_usd)).transpose()?,
            create_time: timestamp(row.create_time),
            effective_time: timestamp(row.effective_time.unwrap_or(row.create_time)),
            caller: row.caller.map(|caller| CallerName::parse("caller", &caller)).transpose()?,
        })
    }
}

/// Legs as the book stores them: NULL if there are none.
pub(crate) fn legs_json(legs: &[PaidLeg]) -> Option<String> {
    let leg = |PaidLeg { account_id, sequence, amount }: &PaidLeg| json!({"account_id": account_id.as_str(), "sequence": sequence, "amount_micro_usd": amount.get()});
    (!legs.is_empty()).then(|| legs.iter().map(leg).collect::<Value>().to_string())
}

fn legs(value: Value) -> Result<Vec<PaidLeg>, LedgerError> {
    #[derive(Deserialize)]
    struct Leg {
        account_id: String,
        sequence: i64,
        amount_micro_usd: i64,
    }
    let legs: Vec<Leg> = serde_json::from_value(value)
        .map_err(|error| LedgerError::Corrupt(format!("legs that cannot be read: {error}")))?;
    let leg = |leg: Leg| {
        let account_id = AccountId::parse("legs", &leg.account_id)?;
        Ok(PaidLeg { account_id, sequence: leg.sequence, amount: MicroUsd::new(leg.amount_micro_usd) })
    };
    legs.into_iter().map(leg).collect()
}

fn source(account_id: Option<String>, sequence: Option<i64>) -> Result<Option<Source>, LedgerError> {
    let Some((account_id, sequence)) = account_id.zip(sequence) else { return Ok(None) };
    Ok(Some(Source { account_id: AccountId::parse("source", &account_id)?, sequence }))
}

impl EntryRow {
    fn take_reservation(&mut self) -> Result<Option<ReservationAfter>, LedgerError> {
        let Some(id) = self.reservation_id.take() else { return Ok(None) };
        let (Some(state), Some(held), Some(captured), Some(expire_time), Some(expiry_policy)) = (
            self.reservation_state,
            self.reservation_held,
            self.reservation_captured,
            self.expire_time,
            self.expiry_policy,
        ) else {
            return Err(LedgerError::Corrupt(format!("half a reservation: {id}")));
        };
        Ok(Some(ReservationAfter {
            reservation_id: IdempotencyKey::parse_of_reservation(&id)?,
            status: reservation_status(state, held, captured, expire_time, expiry_policy, self.close_time)?,
        }))
    }
}

fn reservation_status(
    state: i16,
    held: i64,
    captured: i64,
    expire_time: PgTimestamp,
    expiry_policy: i16,
    close_time: Option<PgTimestamp>,
) -> Result<ReservationStatus, LedgerError> {
    Ok(ReservationStatus {
        state: ReservationState::from_number(state)
            .ok_or_else(|| LedgerError::Corrupt(format!("a reservation in state {state}")))?,
        held: MicroUsd::new(held),
        captured: MicroUsd::new(captured),
        expire_time: timestamp(expire_time),
        expiry_policy: ExpiryPolicy::from_number(expiry_policy)
            .ok_or_else(|| LedgerError::Corrupt(format!("an expiry policy {expiry_policy}")))?,
        close_time: close_time.map(timestamp),
    })
}

impl TryFrom<ReservationRow> for Reservation {
    type Error = LedgerError;

    fn try_from(row: ReservationRow) -> Result<Self, LedgerError> {
        let (held, captured) = (row.amount_micro_usd, row.captured_micro_usd);
        Ok(Self {
            account_id: AccountId::parse("account_id", &row.account_id)?,
            reservation_id: IdempotencyKey::parse_of_reservation(&row.reservation_id)?,
            sequence: row.sequence,
            create_time: timestamp(row.create_time),
            note: Note {
                reference: Reference::recorded(row.reference),
                metadata: row.metadata.map(metadata).transpose()?.unwrap_or_default(),
            },
            status: reservation_status(
                row.state,
                held,
                captured,
                row.expire_time,
                row.expiry_policy,
                row.close_time,
            )?,
            pins: row.pins.map(grant_rows::shares).transpose()?.unwrap_or_default(),
            close_sequence: row.close_sequence,
        })
    }
}

impl RefusalRow {
    /// The answer to the key of this row.
    ///
    /// # Errors
    /// When the row is not one that this program writes.
    pub(crate) fn recorded(mut self) -> Result<Recorded, LedgerError> {
        let fingerprint = std::mem::take(&mut self.fingerprint);
        let answer = Answer::Refused(Arc::new(self.try_into()?));
        Ok(Recorded { fingerprint: Fingerprint::recorded(fingerprint), answer })
    }
}

impl TryFrom<RefusalRow> for Refusal {
    type Error = LedgerError;

    fn try_from(row: RefusalRow) -> Result<Self, LedgerError> {
        Ok(Self {
            account_id: AccountId::parse("account_id", &row.account_id)?,
            reason: row.reason,
            message: row.message,
            metadata: metadata(row.metadata)?,
            create_time: timestamp(row.create_time),
        })
    }
}

/// Metadata as the book stores it: NULL if there is none.
pub(crate) fn metadata_json(metadata: &Metadata) -> Option<String> {
    (!metadata.is_empty()).then(|| metadata_object(metadata).to_string())
}

/// Metadata as a JSON object of strings.
pub(crate) fn metadata_object(metadata: &Metadata) -> Value {
    metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}
