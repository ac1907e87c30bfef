//! What is read by its key: a statement for each kind, each for many keys at once, and the groups that share them.

use std::sync::Arc;

use diesel::{
    data_types::PgTimestamp,
    sql_types::{Array, BigInt, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde_json::Value;

use super::{
    grouped::{Group, Grouped},
    read::read,
    rows::{EntryColumns, EntryRow, RefusalColumns, RefusalRow, ReservationColumns, ReservationRow},
    statements::{UndoneColumns, entry_columns, reservation_columns, undone},
};
use crate::database::pool::Connections;

/// An account: what is posted, what is held, the newest sequence, both times, its state, its debt limit, what of the posted may
/// leave it and what is granted; and if it has grants of which some may have expired, the time and what they are.
pub(super) type AccountNowRow =
    (i64, i64, i64, PgTimestamp, PgTimestamp, (i16, Option<i64>), (i64, i64), (PgTimestamp, Option<Value>));

/// The types of [`AccountNowRow`]'s columns, in order.
pub(super) type AccountNowColumns = (
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    (SmallInt, Nullable<BigInt>),
    (BigInt, BigInt),
    (Timestamptz, Nullable<Jsonb>),
);

/// An entry, what has been undone of it, its reservation as written, and the account's time.
pub(super) type AppliedRow = (EntryRow, Vec<i64>, Option<ReservationRow>, PgTimestamp);
type AppliedColumns = (EntryColumns, UndoneColumns, Nullable<ReservationColumns>, Timestamptz);

/// A reservation, and the account's time when it was read.
pub(super) type ReservationNowRow = (ReservationRow, PgTimestamp);
pub(super) type ReservationNowColumns = (ReservationColumns, Timestamptz);

/// What the expired leases of the account a, which are not recorded yet, still hold at a time; and how much of that their
/// end has charged. Of an account with grants nothing: see [`super::lapsing`].
macro_rules! lapsed {
    ($time:literal) => {
        concat!(
            "CROSS JOIN LATERAL (\
                 SELECT coalesce(sum(v.amount_micro_usd), 0)::bigint AS held, \
                     coalesce(sum(v.amount_micro_usd) FILTER (WHERE v.expiry_policy = 2), 0)::bigint AS captured \
                 FROM reservations v WHERE a.next_expire_time <= ",
            $time,
            " AND (a.facts).granted_micro_usd IS NULL AND v.account_id = a.account_id AND v.state = 1 AND v.expire_time <= ",
            $time,
            ") lapsed "
        )
    };
}

/// The accounts a of a FROM with their expired leases, in the order of [`AccountNowColumns`]. An expired lease has ended,
/// whether or not that is recorded. An account without entries does not exist yet.
macro_rules! accounts_now {
    ($from:literal) => {
        concat!(
            "a.posted_micro_usd - lapsed.captured, a.held_micro_usd - lapsed.held, a.last_sequence, a.create_time, \
                 a.update_time, coalesce((a.facts).state, 1::smallint), (a.facts).debt_limit_micro_usd, \
                 coalesce((a.facts).withdrawable_micro_usd, 0::bigint), \
                 coalesce((a.facts).granted_micro_usd, 0::bigint), greatest(statement_timestamp(), a.update_time), ",
            $crate::ledger::lapsing::lapsing!("greatest(statement_timestamp(), a.update_time)"),
            " FROM ",
            $from,
            " ",
            $crate::ledger::by_key::lapsed!("greatest(statement_timestamp(), a.update_time)"),
            "WHERE a.last_sequence > 0"
        )
    };
}

pub(super) use {accounts_now, lapsed};

read! {
    /// Accounts as they stand now.
    AccountsNow { account_ids: Vec<String> } -> (BigInt, AccountNowColumns),
    [account_ids => Array<Text>],
    concat!(
        "SELECT w.number, ", accounts_now!("unnest({}) WITH ORDINALITY AS w(account_id, number) \
             JOIN accounts a ON a.account_id = w.account_id")
    )
}

read! {
    /// Entries by sequence.
    EntriesBySequence {
        account_ids: Vec<String>,
        sequences: Vec<i64>,
    } -> (BigInt, EntryColumns),
    [account_ids => Array<Text>, sequences => Array<BigInt>],
    concat!(
        "SELECT w.number, ", entry_columns!(), " FROM unnest({}, {}) WITH ORDINALITY AS w(account_id, sequence, number) \
         JOIN ledger_entries e ON e.account_id = w.account_id AND e.sequence = w.sequence"
    )
}

read! {
    /// The entries that answer keys: written under them, or under other keys for the same payments.
    ReadApplied {
        account_ids: Vec<String>,
        keys: Vec<String>,
    } -> (BigInt, AppliedColumns),
    [account_ids => Array<Text>, keys => Array<Text>],
    concat!(
        "SELECT w.number, ", entry_columns!(), ", ", undone!(), ", ", reservation_columns!(), ", \
             greatest(statement_timestamp(), a.update_time) \
         FROM unnest({}, {}) WITH ORDINALITY AS w(account_id, key, number) \
         JOIN accounts a ON a.account_id = w.account_id \
         JOIN ledger_entries e ON e.account_id = w.account_id AND e.sequence = coalesce(\
             (SELECT k.sequence FROM ledger_entries k WHERE k.account_id = w.account_id AND k.idempotency_key = w.key), \
             (SELECT x.sequence FROM external_replays x WHERE x.account_id = w.account_id AND x.idempotency_key = w.key)) \
         LEFT JOIN reservations v ON v.account_id = e.account_id AND v.reservation_id = e.reservation_id"
    )
}

read! {
    /// Refusals by key.
    ReadRefusals {
        account_ids: Vec<String>,
        keys: Vec<String>,
    } -> (BigInt, RefusalColumns),
    [account_ids => Array<Text>, keys => Array<Text>],
    "SELECT w.number, r.account_id, r.fingerprint, r.reason, r.message, r.metadata, r.create_time \
     FROM unnest({}, {}) WITH ORDINALITY AS w(account_id, key, number) \
     JOIN refusals r ON r.account_id = w.account_id AND r.idempotency_key = w.key"
}

read! {
    /// Reservations by id.
    ReservationsNow {
        account_ids: Vec<String>,
        reservation_ids: Vec<String>,
    } -> (BigInt, ReservationNowColumns),
    [account_ids => Array<Text>, reservation_ids => Array<Text>],
    concat!(
        "SELECT w.number, ", reservation_columns!(), ", greatest(statement_timestamp(), a.update_time) \
         FROM unnest({}, {}) WITH ORDINALITY AS w(account_id, reservation_id, number) \
         JOIN reservations v ON v.account_id = w.account_id AND v.reservation_id = w.reservation_id \
         JOIN accounts a ON a.account_id = v.account_id"
    )
}

/// Implements [`Grouped`] for a statement whose key has these parts, by the names of its binds.
macro_rules! grouped {
    ($statement:ident -> $row:ty, $account_ids:ident, $parts:ident: $part:ty) => {
        impl Grouped<$row> for $statement {
            type Key = (String, $part);

            fn of(keys: Vec<Self::Key>) -> Self {
                let ($account_ids, $parts) = keys.into_iter().unzip();
                Self { $account_ids, $parts }
            }
        }
    };
}

grouped!(EntriesBySequence -> EntryRow, account_ids, sequences: i64);
grouped!(ReadApplied -> AppliedRow, account_ids, keys: String);
grouped!(ReadRefusals -> RefusalRow, account_ids, keys: String);
grouped!(ReservationsNow -> ReservationNowRow, account_ids, reservation_ids: String);

impl Grouped<AccountNowRow> for AccountsNow {
    type Key = String;

    fn of(account_ids: Vec<String>) -> Self {
        Self { account_ids }
    }
}

/// A group for each kind of read.
#[derive(Clone, Debug)]
pub(super) struct ByKey {
    pub(super) accounts: Arc<Group<AccountsNow, AccountNowRow>>,
    pub(super) entries: Arc<Group<EntriesBySequence, EntryRow>>,
    pub(super) applied: Arc<Group<ReadApplied, AppliedRow>>,
    pub(super) refusals: Arc<Group<ReadRefusals, RefusalRow>>,
    pub(super) reservations: Arc<Group<ReservationsNow, ReservationNowRow>>,
}

impl ByKey {
    /// Groups with up to so many statements at once of each kind.
    pub(super) fn new(readers: &Connections, statements_max: u32) -> Self {
        Self {
            accounts: Group::new(readers, statements_max),
            entries: Group::new(readers, statements_max),
            applied: Group::new(readers, statements_max),
            refusals: Group::new(readers, statements_max),
            reservations: Group::new(readers, statements_max),
        }
    }
}
