//! Converts between the rows and columns about grants and the domain's types.

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Text, Timestamptz},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    LedgerError,
    times::{pg_timestamp, timestamp},
};
use crate::{
    accounting::{AccountId, Grant, GrantMoves, GrantShare, MicroUsd, Timestamp},
    schema::tables,
};

/// What a row of `ledger_entries` says of grants.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tables::ledger_entries, check_for_backend(Pg))]
pub(crate) struct GrantsRow {
    grant_expire_time: Option<PgTimestamp>,
    grant_moves: Option<Value>,
    granted_after: Option<i64>,
    lapsed_micro_usd: Option<i64>,
}

/// A row of `grants`: the account, the sequence, the amount, what remains, what is pinned, what has lapsed, what is reversed,
/// and the time of expiry.
pub(crate) type GrantRow = (String, i64, i64, i64, i64, i64, i64, PgTimestamp);
/// The types of [`GrantRow`]'s columns, in order.
pub(crate) type GrantColumns = (Text, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, Timestamptz);

/// A part of a grant, as the book stores it.
#[derive(Serialize, Deserialize)]
struct ShareJson {
    sequence: i64,
    amount_micro_usd: i64,
}

/// How an entry changes grants, as the book stores it.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct MovesJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    draws: Vec<ShareJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwinds: Vec<ShareJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    converted: Vec<ShareJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lapses: Vec<ShareJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pins: Vec<ShareJson>,
}

impl GrantsRow {
    /// When the credit expires, if it does.
    pub(super) fn expire_time(&self) -> Option<Timestamp> {
        self.grant_expire_time.map(timestamp)
    }

    /// What is granted after it, and what lapses because of it.
    pub(super) fn after(&self) -> (i64, i64) {
        (self.granted_after.unwrap_or_default(), self.lapsed_micro_usd.unwrap_or_default())
    }

    /// How it changes grants.
    pub(super) fn moves(&mut self) -> Result<GrantMoves, LedgerError> {
        self.grant_moves.take().map_or_else(|| Ok(GrantMoves::default()), moves)
    }
}

/// How an entry changes grants, from the book.
///
/// # Errors
/// When this program did not write it.
pub(crate) fn moves(value: Value) -> Result<GrantMoves, LedgerError> {
    let MovesJson { draws, unwinds, converted, lapses, pins } = read(value)?;
    Ok(GrantMoves {
        draws: shares_of(draws),
        unwinds: shares_of(unwinds),
        converted: shares_of(converted),
        lapses: shares_of(lapses),
        pins: shares_of(pins),
    })
}

/// The same, to the book: NULL if it changes none.
pub(super) fn moves_json(moves: &GrantMoves) -> Option<String> {
    let GrantMoves { draws, unwinds, converted, lapses, pins } = moves;
    let json = || MovesJson {
        draws: json_of(draws),
        unwinds: json_of(unwinds),
        converted: json_of(converted),
        lapses: json_of(lapses),
        pins: json_of(pins),
    };
    (!moves.is_empty()).then(|| written(&json()))
}

/// Parts of grants, from the book.
///
/// # Errors
/// When this program did not write them.
pub(crate) fn shares(value: Value) -> Result<Vec<GrantShare>, LedgerError> {
    read(value).map(shares_of)
}

/// The same, to the book: NULL if there are none.
pub(super) fn shares_json(shares: &[GrantShare]) -> Option<String> {
    (!shares.is_empty()).then(|| written(&json_of(shares)))
}

/// A grant, and its account.
pub(super) fn grant(row: GrantRow) -> Result<(AccountId, Grant), LedgerError> {
    let (account_id, sequence, amount, remaining, pinned, lapsed, reversed, expire_time) = row;
    let grant = Grant {
        sequence,
        amount: MicroUsd::new(amount),
        remaining: MicroUsd::new(remaining),
        pinned: MicroUsd::new(pinned),
        lapsed: MicroUsd::new(lapsed),
        reversed: MicroUsd::new(reversed),
        expire_time: timestamp(expire_time),
    };
    Ok((AccountId::parse("account_id", &account_id)?, grant))
}

/// When a grant expires, to the book.
pub(super) fn expire_time(grant: &Grant) -> PgTimestamp {
    pg_timestamp(grant.expire_time)
}

fn read<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, LedgerError> {
    serde_json::from_value(value)
        .map_err(|error| LedgerError::Corrupt(format!("parts of grants that cannot be read: {error}")))
}

/// Numbers in structs and lists with fixed names: nothing in them can fail to be written.
fn written(json: &impl Serialize) -> String {
    serde_json::to_string(json).expect("numbers under fixed names are JSON")
}

fn shares_of(shares: Vec<ShareJson>) -> Vec<GrantShare> {
    let share = |share: ShareJson| GrantShare {
        sequence: share.sequence,
        amount: MicroUsd::new(share.amount_micro_usd),
    };
    shares.into_iter().map(share).collect()
}

fn json_of(shares: &[GrantShare]) -> Vec<ShareJson> {
    let json =
        |share: &GrantShare| ShareJson { sequence: share.sequence, amount_micro_usd: share.amount.get() };
    shares.iter().map(json).collect()
}
