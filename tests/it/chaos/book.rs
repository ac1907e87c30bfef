//! The book as it is found at the end, read by SQL of its own.

use std::collections::BTreeMap;

use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::{
    history::Name,
    wording::{ENTRY_TYPES, STATES},
};
use crate::model::{After, Entry, Metadata, Status};

const ENTRIES: &str = "\
    SELECT account_id::text, sequence::bigint, entry_type::int, amount_micro_usd, held_delta_micro_usd, posted_after, \
           held_after::bigint, idempotency_key::text, external_id::text, reference, metadata::text, actor, reason, \
           reservation_id::text, reservation_state::int, reservation_held::bigint, reservation_captured::bigint, \
           uncollected_micro_usd::bigint, refunded_sequence, \
           (extract(epoch FROM create_time) * 1000000)::bigint AS create_time, \
           (extract(epoch FROM expire_time) * 1000000)::bigint AS expire_time, \
           (extract(epoch FROM close_time) * 1000000)::bigint AS close_time \
    FROM ledger_entries ORDER BY account_id, sequence";
const REFUSALS: &str = "\
    SELECT account_id::text, idempotency_key::text, reason, message, metadata::text, \
           (extract(epoch FROM create_time) * 1000000)::bigint AS create_time FROM refusals";
const REPLAYS: &str = "\
    SELECT account_id::text, idempotency_key::text, sequence::bigint, \
           (extract(epoch FROM create_time) * 1000000)::bigint AS create_time FROM external_replays";

/// What the database holds.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The journals of all accounts, each in the order of its sequences.
    pub entries: Vec<Entry>,
    pub refusals: Vec<(Name, Refusal)>,
    pub replays: Vec<(Name, Replay)>,
}

/// A "no" that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
    pub metadata: Metadata,
    pub create_time: i64,
}

/// A key that was answered with the entry of another, which credited the same payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pub sequence: i64,
    pub create_time: i64,
}

impl Book {
    /// Reads all of it.
    pub async fn read(url: &str) -> Self {
        let mut connection = AsyncPgConnection::establish(url).await.unwrap();
        let entries: Vec<EntryRow> = sql_query(ENTRIES).load(&mut connection).await.unwrap();
        let refusals: Vec<RefusalRow> = sql_query(REFUSALS).load(&mut connection).await.unwrap();
        let replays: Vec<ReplayRow> = sql_query(REPLAYS).load(&mut connection).await.unwrap();
        Self {
            entries: entries.into_iter().map(EntryRow::entry).collect(),
            refusals: refusals.into_iter().map(RefusalRow::refusal).collect(),
            replays: replays.into_iter().map(ReplayRow::replay).collect(),
        }
    }

    /// The journal of each account.
    pub fn journals(&self) -> BTreeMap<&str, Vec<&Entry>> {
        let mut journals: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            journals.entry(&entry.account).or_default().push(entry);
        }
        journals
    }
}

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = sql_types::Text)]
    account_id: String,
    #[diesel(sql_type = sql_types::BigInt)]
    sequence: i64,
    #[diesel(sql_type = sql_types::Integer)]
    entry_type: i32,
    #[diesel(sql_type = sql_types::BigInt)]
    amount_micro_usd: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    held_delta_micro_usd: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    posted_after: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    held_after: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    idempotency_key: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    external_id: Option<String>,
    #[diesel(sql_type = sql_types::Text)]
    reference: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    metadata: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    actor: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    reason: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    reservation_id: Option<String>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Integer>)]
    reservation_state: Option<i32>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    reservation_held: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    reservation_captured: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    uncollected_micro_usd: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    refunded_sequence: Option<i64>,
    #[diesel(sql_type = sql_types::BigInt)]
    create_time: i64,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    expire_time: Option<i64>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::BigInt>)]
    close_time: Option<i64>,
}

impl EntryRow {
    fn entry(self) -> Entry {
        let reservation = self.reservation();
        Entry {
            account: self.account_id,
            sequence: self.sequence,
            entry_type: name(&ENTRY_TYPES, self.entry_type),
            amount: self.amount_micro_usd,
            held_delta: self.held_delta_micro_usd,
            posted_after: self.posted_after,
            held_after: self.held_after,
            key: self.idempotency_key,
            external_id: self.external_id,
            reference: self.reference,
            metadata: self.metadata.as_deref().map(notes).unwrap_or_default(),
            actor: self.actor,
            reason: self.reason,
            reservation,
            refunded_sequence: self.refunded_sequence,
            create_time: self.create_time,
        }
    }

    fn reservation(&self) -> Option<After> {
        Some(After {
            reservation_id: self.reservation_id.clone()?,
            status: Status {
                state: name(&STATES, self.reservation_state?),
                held: self.reservation_held?,
                captured: self.reservation_captured?,
                expire_time: self.expire_time?,
                close_time: self.close_time,
            },
            uncollected: self.uncollected_micro_usd?,
        })
    }
}

#[derive(QueryableByName)]
struct RefusalRow {
    #[diesel(sql_type = sql_types::Text)]
    account_id: String,
    #[diesel(sql_type = sql_types::Text)]
    idempotency_key: String,
    #[diesel(sql_type = sql_types::Text)]
    reason: String,
    #[diesel(sql_type = sql_types::Text)]
    message: String,
    #[diesel(sql_type = sql_types::Text)]
    metadata: String,
    #[diesel(sql_type = sql_types::BigInt)]
    create_time: i64,
}

impl RefusalRow {
    fn refusal(self) -> (Name, Refusal) {
        let Self { account_id, idempotency_key, reason, message, metadata, create_time } = self;
        let metadata = notes(&metadata);
        ((account_id, idempotency_key), Refusal { reason, message, metadata, create_time })
    }
}

#[derive(QueryableByName)]
struct ReplayRow {
    #[diesel(sql_type = sql_types::Text)]
    account_id: String,
    #[diesel(sql_type = sql_types::Text)]
    idempotency_key: String,
    #[diesel(sql_type = sql_types::BigInt)]
    sequence: i64,
    #[diesel(sql_type = sql_types::BigInt)]
    create_time: i64,
}

impl ReplayRow {
    fn replay(self) -> (Name, Replay) {
        let Self { account_id, idempotency_key, sequence, create_time } = self;
        ((account_id, idempotency_key), Replay { sequence, create_time })
    }
}

fn name(names: &[&'static str], number: i32) -> &'static str {
    names[usize::try_from(number).unwrap() - 1]
}

fn notes(json: &str) -> Metadata {
    serde_json::from_str(json).expect("an object of texts")
}
