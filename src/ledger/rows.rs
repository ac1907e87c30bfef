//! Rows of the book as the domain's types, and back.

use std::sync::Arc;

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Binary, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde_json::Value;

use super::{AccountView, LedgerError, schema};
use crate::accounting::{
    AccountId, Actor, Answer, Balance, Entry, EntryType, ExternalId, Fingerprint, IdempotencyKey, Metadata,
    MicroUsd, Note, Reason, Recorded, Reference, Refusal, Timestamp,
};

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A row of `accounts`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = schema::accounts, check_for_backend(Pg))]
pub(super) struct AccountRow {
    posted_micro_usd: i64,
    held_micro_usd: i64,
    last_sequence: i64,
    create_time: PgTimestamp,
    update_time: PgTimestamp,
}

/// A row of `ledger_entries`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = schema::ledger_entries, check_for_backend(Pg))]
pub(super) struct EntryRow {
    account_id: String,
    sequence: i64,
    entry_type: i16,
    amount_micro_usd: i64,
    held_delta_micro_usd: i64,
    posted_after: i64,
    held_after: i64,
    create_time: PgTimestamp,
    refunded_sequence: Option<i64>,
    idempotency_key: Option<String>,
    fingerprint: Option<Vec<u8>>,
    external_id: Option<String>,
    reference: String,
    metadata: Option<Value>,
    actor: Option<String>,
    reason: Option<String>,
    reservation_id: Option<String>,
}

/// The types of [`EntryRow`]'s columns, in order.
pub(super) type EntryColumns = (
    Text,
    BigInt,
    SmallInt,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<Text>,
    Text,
    Nullable<Jsonb>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
);

/// A row of `refusals`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = schema::refusals, check_for_backend(Pg))]
pub(super) struct RefusalRow {
    account_id: String,
    fingerprint: Vec<u8>,
    reason: String,
    message: String,
    metadata: Value,
    create_time: PgTimestamp,
}

/// The types of [`RefusalRow`]'s columns, in order.
pub(super) type RefusalColumns = (Text, Binary, Text, Text, Jsonb, Timestamptz);

pub(super) fn timestamp(timestamp: PgTimestamp) -> Timestamp {
    Timestamp::from_unix_micros(timestamp.0.saturating_add(POSTGRES_EPOCH_MICROS))
}

pub(super) fn pg_timestamp(timestamp: Timestamp) -> PgTimestamp {
    PgTimestamp(timestamp.unix_micros().saturating_sub(POSTGRES_EPOCH_MICROS))
}

pub(super) fn balance(posted: i64, held: i64) -> Result<Balance, LedgerError> {
    Balance::new(MicroUsd::new(posted), MicroUsd::new(held))
        .ok_or_else(|| LedgerError::Corrupt(format!("a balance of {posted} posted and {held} held")))
}

fn metadata(value: Value) -> Result<Metadata, LedgerError> {
    serde_json::from_value(value)
        .map_err(|error| LedgerError::Corrupt(format!("metadata other than texts: {error}")))
}

impl TryFrom<AccountRow> for AccountView {
    type Error = LedgerError;

    fn try_from(row: AccountRow) -> Result<Self, LedgerError> {
        Ok(Self {
            balance: balance(row.posted_micro_usd, row.held_micro_usd)?,
            last_sequence: row.last_sequence,
            create_time: timestamp(row.create_time),
            update_time: timestamp(row.update_time),
        })
    }
}

impl EntryRow {
    /// The answer that the row is to its key.
    ///
    /// # Errors
    /// When the row is not as this program writes it.
    pub(super) fn recorded(mut self) -> Result<Recorded, LedgerError> {
        let fingerprint = self.fingerprint.take().unwrap_or_default();
        let answer = Answer::Applied(Arc::new(self.try_into()?));
        Ok(Recorded { fingerprint: Fingerprint::recorded(fingerprint), answer })
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = LedgerError;

    fn try_from(row: EntryRow) -> Result<Self, LedgerError> {
        let key = |text: String| IdempotencyKey::parse("idempotency_key", &text);
        Ok(Self {
            account_id: AccountId::parse("account_id", &row.account_id)?,
            sequence: row.sequence,
            entry_type: EntryType::from_number(row.entry_type)
                .ok_or_else(|| LedgerError::Corrupt(format!("an entry of type {}", row.entry_type)))?,
            amount: MicroUsd::new(row.amount_micro_usd),
            held_delta: MicroUsd::new(row.held_delta_micro_usd),
            balance_after: balance(row.posted_after, row.held_after)?,
            idempotency_key: row.idempotency_key.map(key).transpose()?,
            external_id: row.external_id.map(|id| ExternalId::parse("external_id", &id)).transpose()?,
            note: Note {
                reference: Reference::recorded(row.reference),
                metadata: row.metadata.map(metadata).transpose()?.unwrap_or_default(),
            },
            actor: row.actor.map(|actor| Actor::parse(&actor)).transpose()?,
            reason: row.reason.map(|reason| Reason::parse(&reason)).transpose()?,
            reservation_id: row.reservation_id.map(key).transpose()?,
            refunded_sequence: row.refunded_sequence,
            create_time: timestamp(row.create_time),
        })
    }
}

impl RefusalRow {
    /// The answer that the row is to its key.
    ///
    /// # Errors
    /// When the row is not as this program writes it.
    pub(super) fn recorded(mut self) -> Result<Recorded, LedgerError> {
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

/// Metadata as the book keeps it: nothing where there is none.
pub(super) fn metadata_json(metadata: &Metadata) -> Option<String> {
    (!metadata.is_empty()).then(|| metadata_object(metadata).to_string())
}

/// Metadata as a JSON object of texts.
pub(super) fn metadata_object(metadata: &Metadata) -> Value {
    metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}
