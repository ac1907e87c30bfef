//! The book as it is found at the end, read by SQL of its own.

use std::collections::BTreeMap;

use diesel::{dsl, sql_types::Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    history::Name,
    wording::{ACCOUNT_STATES, ENTRY_TYPES, EXPIRIES, STATES, count_microseconds},
};
use crate::model::{After, Entry, Grant, Metadata, Moves, Settings, Shares, Status};

const ENTRIES: &str = "\
    SELECT row_to_json(e)::text FROM ( \
        SELECT account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, posted_after, held_after, \
               idempotency_key, external_ids, reference, metadata, actor, reason, reservation_id, reservation_state, \
               reservation_held, reservation_captured, uncollected_micro_usd, refunded_sequence, expiry_policy, account_state, debt_limit_micro_usd, \
               reversed_sequence, withdrawable_delta_micro_usd, withdrawable_after, legs, funded_micro_usd, \
               source_account_id, source_sequence, grant_moves, granted_after, lapsed_micro_usd, \
               (extract(epoch FROM grant_expire_time) * 1000000)::bigint AS grant_expire_time, \
               (extract(epoch FROM effective_time) * 1000000)::bigint AS effective_time, \
               (extract(epoch FROM create_time) * 1000000)::bigint AS create_time, \
               (extract(epoch FROM expire_time) * 1000000)::bigint AS expire_time, \
               (extract(epoch FROM close_time) * 1000000)::bigint AS close_time \
        FROM ledger_entries \
    ) e ORDER BY account_id, sequence";
const GRANTS: &str = "\
    SELECT json_build_array(account_id, json_build_object( \
        'sequence', sequence, 'amount', amount_micro_usd, 'remaining', remaining_micro_usd, 'pinned', pinned_micro_usd, \
        'lapsed', lapsed_micro_usd, 'reversed', reversed_micro_usd, \
        'expire', (extract(epoch FROM expire_time) * 1000000)::bigint))::text \
    FROM grants ORDER BY account_id, expire_time, sequence";
const PINS: &str = "\
    SELECT json_build_array(json_build_array(account_id, reservation_id), pins)::text FROM reservations";
const REFUSALS: &str = "\
    SELECT json_build_array(json_build_array(account_id, idempotency_key), row_to_json(r))::text FROM ( \
        SELECT account_id, idempotency_key, reason, message, metadata, \
               (extract(epoch FROM create_time) * 1000000)::bigint AS create_time FROM refusals \
    ) r";
const PAYMENTS: &str = "\
    SELECT json_build_array(external_id, json_build_array(account_id, sequence))::text FROM payments";
const REPLAYS: &str = "\
    SELECT json_build_array(json_build_array(account_id, idempotency_key), row_to_json(r))::text FROM ( \
        SELECT account_id, idempotency_key, sequence, \
               (extract(epoch FROM create_time) * 1000000)::bigint AS create_time FROM external_replays \
    ) r";

/// What the database holds.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The journals of all accounts, each in the order of its sequences.
    pub entries: Vec<Entry>,
    pub refusals: Vec<(Name, Refusal)>,
    pub replays: Vec<(Name, Replay)>,
    /// The names of payments, each with the account and the sequence of its entry.
    pub payments: Vec<(String, (String, i64))>,
    /// The grants of all accounts, each in the order in which they are spent.
    pub grants: Vec<(String, Grant)>,
    /// What each reservation holds of grants.
    pub pins: BTreeMap<Name, Shares>,
}

/// A "no" that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
    pub metadata: Metadata,
    pub create_time: i64,
}

/// A key that was answered with the entry of another, which credited the same payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Replay {
    pub sequence: i64,
    pub create_time: i64,
}

impl Book {
    /// Reads all of it.
    pub async fn read(url: &str) -> Self {
        let mut connection = AsyncPgConnection::establish(url).await.unwrap();
        let entries: Vec<EntryRow> = read(&mut connection, ENTRIES).await;
        let mut refusals: Vec<(Name, Refusal)> = read(&mut connection, REFUSALS).await;
        for (_, refusal) in &mut refusals {
            count_microseconds(&mut refusal.metadata);
        }
        Self {
            entries: entries.into_iter().map(EntryRow::entry).collect(),
            refusals,
            replays: read(&mut connection, REPLAYS).await,
            payments: read(&mut connection, PAYMENTS).await,
            grants: grants(read(&mut connection, GRANTS).await),
            pins: pins(read(&mut connection, PINS).await),
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

async fn read<T: DeserializeOwned>(connection: &mut AsyncPgConnection, sql: &str) -> Vec<T> {
    let rows: Vec<String> = dsl::sql::<Text>(sql).load(connection).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

#[derive(Deserialize)]
struct EntryRow {
    account_id: String,
    sequence: i64,
    entry_type: i32,
    amount_micro_usd: i64,
    held_delta_micro_usd: i64,
    posted_after: i64,
    held_after: i64,
    idempotency_key: Option<String>,
    external_ids: Option<Vec<String>>,
    reference: String,
    metadata: Option<Metadata>,
    actor: Option<String>,
    reason: Option<String>,
    reservation_id: Option<String>,
    reservation_state: Option<i32>,
    reservation_held: Option<i64>,
    reservation_captured: Option<i64>,
    uncollected_micro_usd: Option<i64>,
    refunded_sequence: Option<i64>,
    create_time: i64,
    expire_time: Option<i64>,
    close_time: Option<i64>,
    effective_time: Option<i64>,
    expiry_policy: Option<i32>,
    account_state: Option<i32>,
    debt_limit_micro_usd: Option<i64>,
    reversed_sequence: Option<i64>,
    withdrawable_delta_micro_usd: Option<i64>,
    withdrawable_after: Option<i64>,
    legs: Option<Vec<LegRow>>,
    funded_micro_usd: Option<i64>,
    source_account_id: Option<String>,
    source_sequence: Option<i64>,
    grant_expire_time: Option<i64>,
    grant_moves: Option<MovesRow>,
    granted_after: Option<i64>,
    lapsed_micro_usd: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MovesRow {
    draws: Vec<ShareRow>,
    unwinds: Vec<ShareRow>,
    converted: Vec<ShareRow>,
    lapses: Vec<ShareRow>,
    pins: Vec<ShareRow>,
}

#[derive(Deserialize)]
struct ShareRow {
    sequence: i64,
    amount_micro_usd: i64,
}

#[derive(Deserialize)]
struct GrantRow {
    sequence: i64,
    amount: i64,
    remaining: i64,
    pinned: i64,
    lapsed: i64,
    reversed: i64,
    expire: i64,
}

fn grants(rows: Vec<(String, GrantRow)>) -> Vec<(String, Grant)> {
    let grant = |row: GrantRow| {
        let GrantRow { sequence, amount, remaining, pinned, lapsed, reversed, expire } = row;
        Grant { sequence, amount, remaining, pinned, lapsed, reversed, expire }
    };
    rows.into_iter().map(|(account, row)| (account, grant(row))).collect()
}

fn pins(rows: Vec<(Name, Option<Vec<ShareRow>>)>) -> BTreeMap<Name, Shares> {
    rows.into_iter().map(|(name, pins)| (name, shares(pins.unwrap_or_default()))).collect()
}

fn shares(rows: Vec<ShareRow>) -> Shares {
    rows.into_iter().map(|row| (row.sequence, row.amount_micro_usd)).collect()
}

impl MovesRow {
    fn moves(self) -> Moves {
        Moves {
            draws: shares(self.draws),
            unwinds: shares(self.unwinds),
            converted: shares(self.converted),
            lapses: shares(self.lapses),
            pins: shares(self.pins),
        }
    }
}

#[derive(Deserialize)]
struct LegRow {
    account_id: String,
    sequence: i64,
    amount_micro_usd: i64,
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
            withdrawable_delta: self.withdrawable_delta_micro_usd.unwrap_or_default(),
            posted_after: self.posted_after,
            held_after: self.held_after,
            withdrawable_after: self.withdrawable_after.unwrap_or_default(),
            key: self.idempotency_key,
            external_ids: self.external_ids.unwrap_or_default(),
            reference: self.reference,
            metadata: self.metadata.unwrap_or_default(),
            actor: self.actor,
            reason: self.reason,
            reservation,
            uncollected: self.uncollected_micro_usd.unwrap_or_default(),
            refunded_sequence: self.refunded_sequence,
            reversed_sequence: self.reversed_sequence,
            legs: self.legs.into_iter().flatten().map(LegRow::leg).collect(),
            funded: self.funded_micro_usd.unwrap_or_default(),
            source: self.source_account_id.zip(self.source_sequence),
            settings: self.account_state.map(|state| Settings {
                state: name(&ACCOUNT_STATES, state),
                debt_limit: self.debt_limit_micro_usd,
            }),
            create_time: self.create_time,
            effective_time: self.effective_time.unwrap_or(self.create_time),
            expire: self.grant_expire_time,
            moves: self.grant_moves.unwrap_or_default().moves(),
            granted_after: self.granted_after.unwrap_or_default(),
            lapsed: self.lapsed_micro_usd.unwrap_or_default(),
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
                expiry: name(&EXPIRIES, self.expiry_policy?),
                close_time: self.close_time,
            },
        })
    }
}

impl LegRow {
    fn leg(self) -> (String, i64, i64) {
        (self.account_id, self.sequence, self.amount_micro_usd)
    }
}

fn name(names: &[&'static str], number: i32) -> &'static str {
    names[usize::try_from(number).unwrap() - 1]
}
