//! The statements of the one transaction: each a fixed text, prepared once per connection whatever the batch size.
//!
//! Diesel does not keep UPDATE, upserts, multi-row inserts or `sql_query` prepared: each run would cost one more round
//! trip. A fragment of its own with a static [`QueryId`] is kept. Batches go in as arrays, so a thousand rows have the
//! same text as one.

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Binary, Bool, Nullable, SmallInt, Text, Timestamptz},
};

use super::{
    grant_rows::GrantColumns,
    rows::{AccountColumns, EntryColumns, RefusalColumns, ReservationColumns},
};
use crate::schema::unsafe_settings;

/// Declares a statement: its binds in order, the row that it returns, and its text with `{}` for each bind.
macro_rules! statement {
    ($(#[$doc:meta])* $name:ident { $($bind:ident: $rust:ty => $sql:ty),+ $(,)? } -> $row:ty, $text:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'a> {
            $(pub(super) $bind: Vec<$rust>,)+
        }

        impl QueryFragment<Pg> for $name<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                let mut parts = $text.split("{}");
                out.push_sql(parts.next().unwrap_or_default());
                $(
                    out.push_bind_param::<Array<$sql>, _>(&self.$bind)?;
                    out.push_sql(parts.next().unwrap_or_default());
                )+
                Ok(())
            }
        }

        impl QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl Query for $name<'_> {
            type SqlType = $row;
        }
    };
}

/// The columns of `ledger_entries` as e, in the order of [`EntryColumns`].
macro_rules! entry_columns {
    () => {
        "e.account_id, e.sequence, e.entry_type, e.amount_micro_usd, e.held_delta_micro_usd, e.posted_after, \
         e.held_after, e.create_time, e.refunded_sequence, e.reversed_sequence, e.idempotency_key, e.fingerprint, e.external_ids, \
         e.reference, e.metadata, e.actor, e.reason, e.reservation_id, e.reservation_state, e.reservation_held, \
         e.reservation_captured, e.uncollected_micro_usd, e.expire_time, e.close_time, \
         e.expiry_policy, e.caller, e.effective_time, e.account_state, e.debt_limit_micro_usd, \
         e.withdrawable_delta_micro_usd, e.withdrawable_after, e.legs, e.funded_micro_usd, e.source_account_id, \
         e.source_sequence, e.grant_expire_time, e.grant_moves, e.granted_after, e.lapsed_micro_usd"
    };
}

/// What has been undone of the entry e, in the order of [`UndoneColumns`]: of a debit by its refunds, of a credit by its
/// reversals and by what gave these back; and by whatever more this is told to select.
macro_rules! undone {
    ($($more:expr)?) => {
        concat!(
            "(SELECT ARRAY[coalesce(sum(u.amount), 0)::bigint, coalesce(sum(u.withdrawable), 0)::bigint] FROM (\
                 SELECT r.amount_micro_usd, r.withdrawable_delta_micro_usd FROM ledger_entries r \
                 WHERE r.account_id = e.account_id AND r.refunded_sequence = e.sequence \
                 UNION ALL \
                 SELECT -r.amount_micro_usd, -r.withdrawable_delta_micro_usd FROM ledger_entries r \
                 WHERE r.account_id = e.account_id AND r.reversed_sequence = e.sequence",
            $($more,)?
            ") u(amount, withdrawable))"
        )
    };
}

/// What may have been undone of the debit e before this ledger, if it is from then. No refund from then names its debit, so those
/// of an account count against its newest debits: against e what is left of them after all later debits.
macro_rules! undone_before {
    () => {
        " UNION ALL \
         SELECT least(9223372036854775807, -e.amount_micro_usd::numeric, greatest(0, (\
             SELECT sum(h.amount_micro_usd) FROM ledger_entries h \
             WHERE h.account_id = e.account_id AND h.idempotency_key IS NULL AND h.entry_type IN (6, 7, 10, 15, 16) \
                 AND CASE h.entry_type WHEN 7 THEN h.refunded_sequence IS NULL \
                     ELSE h.sequence > e.sequence AND h.amount_micro_usd < 0 END\
         )))::bigint, 0 \
         WHERE e.idempotency_key IS NULL AND e.entry_type IN (6, 10, 15, 16) AND e.amount_micro_usd < 0"
    };
}

/// The columns of `reservations` as v, in the order of [`ReservationColumns`].
macro_rules! reservation_columns {
    () => {
        "v.account_id, v.reservation_id, v.state, v.amount_micro_usd, v.captured_micro_usd, v.sequence, \
         v.create_time, v.expire_time, v.close_time, v.expiry_policy, v.close_sequence, v.reference, v.metadata, \
         v.pins"
    };
}

/// The columns of `grants` as g, in the order of [`GrantColumns`].
macro_rules! grant_columns {
    () => {
        "g.account_id, g.sequence, g.amount_micro_usd, g.remaining_micro_usd, g.pinned_micro_usd, \
         g.lapsed_micro_usd, g.reversed_micro_usd, g.expire_time"
    };
}

/// The type of what [`undone`] selects: an array, since Citus hands on no composite that has no name.
pub(super) type UndoneColumns = Array<BigInt>;

pub(crate) use {entry_columns, grant_columns, reservation_columns, undone};

statement! {
    /// Makes the rows of accounts that have none yet, and tells which had none.
    OpenAccounts { account_ids: &'a str => Text } -> Text,
    "INSERT INTO accounts (account_id) SELECT unnest({}) ON CONFLICT (account_id) DO NOTHING RETURNING account_id"
}

statement! {
    /// Takes away the rows of accounts that were opened, and in which nothing was written.
    CloseAccounts { account_ids: &'a str => Text } -> BigInt,
    "DELETE FROM accounts WHERE account_id = ANY({}) AND last_sequence = 0 RETURNING 1::bigint"
}

statement! {
    /// Locks accounts, in the order of their ids, and reads them. The clock is read outside the locking part, so after
    /// each lock was had.
    LockAccounts { account_ids: &'a str => Text }
        -> (AccountColumns, Timestamptz),
    "SELECT locked.*, clock_timestamp() FROM (\
         SELECT account_id, posted_micro_usd, held_micro_usd, last_sequence, update_time, next_expire_time, \
             coalesce((facts).state, 1::smallint), (facts).debt_limit_micro_usd, \
             coalesce((facts).withdrawable_micro_usd, 0::bigint), (facts).granted_micro_usd FROM accounts \
         WHERE account_id = ANY({}) ORDER BY account_id FOR UPDATE\
     ) AS locked"
}

statement! {
    /// The same, without the accounts that are locked by others.
    LockIdleAccounts { account_ids: &'a str => Text }
        -> (AccountColumns, Timestamptz),
    "SELECT locked.*, clock_timestamp() FROM (\
         SELECT account_id, posted_micro_usd, held_micro_usd, last_sequence, update_time, next_expire_time, \
             coalesce((facts).state, 1::smallint), (facts).debt_limit_micro_usd, \
             coalesce((facts).withdrawable_micro_usd, 0::bigint), (facts).granted_micro_usd FROM accounts \
         WHERE account_id = ANY({}) ORDER BY account_id FOR UPDATE SKIP LOCKED\
     ) AS locked"
}

// What the book knows of keys, payments and reservations. All of it is read after [`LockAccounts`], not with it: only a later
// statement sees what was committed while the locks were waited for.

statement! {
    /// Entries by key, each with what has been undone of it.
    ReadKeyedEntries { account_ids: &'a str => Text, keys: &'a str => Text } -> (EntryColumns, UndoneColumns),
    concat!(
        "SELECT ", entry_columns!(), ", ", undone!(), " FROM unnest({}, {}) AS w(account_id, key) \
         JOIN ledger_entries e ON e.account_id = w.account_id AND e.idempotency_key = w.key"
    )
}

statement! {
    /// Other answers by key: refusals, and the sequences of entries written under other keys.
    ReadOtherAnswers { account_ids: &'a str => Text, keys: &'a str => Text }
        -> (Text, Text, Nullable<RefusalColumns>, Nullable<(Binary, BigInt)>),
    "SELECT w.account_id, w.key, r.account_id, r.fingerprint, r.reason, r.message, r.metadata, r.create_time, \
         x.fingerprint, x.sequence \
     FROM unnest({}, {}) AS w(account_id, key) \
     LEFT JOIN refusals r ON r.account_id = w.account_id AND r.idempotency_key = w.key \
     LEFT JOIN external_replays x ON x.account_id = w.account_id AND x.idempotency_key = w.key \
     WHERE r.code IS NOT NULL OR x.sequence IS NOT NULL"
}

statement! {
    /// The entries of payments.
    ReadPayments { external_ids: &'a str => Text } -> (Text, Text, BigInt),
    "SELECT p.external_id, p.account_id, p.sequence FROM unnest({}) AS w(external_id) \
     JOIN payments p ON p.external_id = w.external_id"
}

statement! {
    /// How many reservations of accounts are open.
    CountOpen { account_ids: &'a str => Text } -> (Text, BigInt),
    "SELECT w.account_id, (SELECT count(*) FROM reservations v WHERE v.account_id = w.account_id AND v.state = 1) \
     FROM unnest({}) AS w(account_id)"
}

statement! {
    /// Reservations by id.
    ReadReservations { account_ids: &'a str => Text, reservation_ids: &'a str => Text } -> ReservationColumns,
    concat!(
        "SELECT ", reservation_columns!(), " FROM unnest({}, {}) AS w(account_id, reservation_id) \
         JOIN reservations v ON v.account_id = w.account_id AND v.reservation_id = w.reservation_id"
    )
}

statement! {
    /// The open reservations of accounts whose leases have expired by a time, so many of each account, those that expired
    /// first; and of each account the one whose lease expires next.
    ReadLapsed {
        account_ids: &'a str => Text,
        times: PgTimestamp => Timestamptz,
        limits: i64 => BigInt,
    } -> ReservationColumns,
    concat!(
        "SELECT ", reservation_columns!(), " FROM unnest({}, {}, {}) AS w(account_id, time, most) \
         CROSS JOIN LATERAL ((\
             SELECT * FROM reservations o \
             WHERE o.account_id = w.account_id AND o.state = 1 AND o.expire_time <= w.time \
             ORDER BY o.expire_time, o.sequence LIMIT w.most) \
             UNION ALL (\
             SELECT * FROM reservations o \
             WHERE o.account_id = w.account_id AND o.state = 1 AND o.expire_time > w.time \
             ORDER BY o.expire_time LIMIT 1)\
         ) AS v"
    )
}

statement! {
    /// Entries by sequence, each with what has been undone of it, also before this ledger: no other statement finds a debit
    /// without a key.
    ReadEntries { account_ids: &'a str => Text, sequences: i64 => BigInt } -> (EntryColumns, UndoneColumns),
    concat!(
        "SELECT ", entry_columns!(), ", ", undone!(undone_before!()), " FROM unnest({}, {}) AS w(account_id, sequence) \
         JOIN ledger_entries e ON e.account_id = w.account_id AND e.sequence = w.sequence"
    )
}

statement! {
    /// The grants of accounts of which something remains.
    ReadOpenGrants { account_ids: &'a str => Text } -> GrantColumns,
    concat!(
        "SELECT ", grant_columns!(), " FROM unnest({}) AS w(account_id) \
         JOIN grants g ON g.account_id = w.account_id AND g.is_open"
    )
}

statement! {
    /// Other grants: of accounts that get one all that have not expired, for sure; and others by sequence. A grant may come more
    /// than once.
    ReadGrants {
        opening_account_ids: &'a str => Text,
        named_account_ids: &'a str => Text,
        sequences: i64 => BigInt,
    } -> GrantColumns,
    concat!(
        "SELECT ", grant_columns!(), " FROM unnest({}) AS w(account_id) \
         JOIN grants g ON g.account_id = w.account_id AND g.expire_time > clock_timestamp() - interval '1 minute' \
         UNION ALL \
         SELECT ", grant_columns!(), " FROM unnest({}, {}) AS w(account_id, sequence) \
         JOIN grants g ON g.account_id = w.account_id AND g.sequence = w.sequence"
    )
}

statement! {
    /// Writes new grants.
    OpenGrants {
        account_ids: &'a str => Text,
        sequences: i64 => BigInt,
        amounts: i64 => BigInt,
        remaining: i64 => BigInt,
        pinned: i64 => BigInt,
        lapsed: i64 => BigInt,
        reversed: i64 => BigInt,
        expire_times: PgTimestamp => Timestamptz,
    } -> BigInt,
    "INSERT INTO grants (account_id, sequence, amount_micro_usd, remaining_micro_usd, pinned_micro_usd, \
         lapsed_micro_usd, reversed_micro_usd, expire_time) \
     SELECT * FROM unnest({}, {}, {}, {}, {}, {}, {}, {}) RETURNING 1::bigint"
}

statement! {
    /// Writes what has changed of grants; all of it or, by dividing by zero, nothing.
    ChangeGrants {
        account_ids: &'a str => Text,
        sequences: i64 => BigInt,
        remaining: i64 => BigInt,
        pinned: i64 => BigInt,
        lapsed: i64 => BigInt,
        reversed: i64 => BigInt,
    } -> BigInt,
    "WITH changed AS (\
         UPDATE grants g SET remaining_micro_usd = n.remaining, pinned_micro_usd = n.pinned, lapsed_micro_usd = n.lapsed, \
             reversed_micro_usd = n.reversed \
         FROM unnest({}, {}, {}, {}, {}, {}) AS n(account_id, sequence, remaining, pinned, lapsed, reversed) \
         WHERE g.account_id = n.account_id AND g.sequence = n.sequence RETURNING 1\
     ) SELECT 1::bigint / (count(*) = cardinality($1))::int FROM changed"
}

statement! {
    /// Writes reservations as they stand: new ones, and what changes in the course of a life of those that are there.
    WriteReservations {
        account_ids: &'a str => Text,
        reservation_ids: &'a str => Text,
        states: i16 => SmallInt,
        held: i64 => BigInt,
        captured: i64 => BigInt,
        sequences: i64 => BigInt,
        create_times: PgTimestamp => Timestamptz,
        expire_times: PgTimestamp => Timestamptz,
        close_times: Option<PgTimestamp> => Nullable<Timestamptz>,
        expiry_policies: i16 => SmallInt,
        close_sequences: Option<i64> => Nullable<BigInt>,
        references: &'a str => Text,
        metadata: Option<String> => Nullable<Text>,
        pins: Option<String> => Nullable<Text>,
    } -> BigInt,
    "INSERT INTO reservations AS v (account_id, reservation_id, state, amount_micro_usd, captured_micro_usd, \
         sequence, create_time, expire_time, close_time, expiry_policy, close_sequence, reference, metadata, pins) \
     SELECT account_id, reservation_id, state, held, captured, sequence, create_time, expire_time, close_time, \
         expiry_policy, close_sequence, reference, metadata::jsonb, pins::jsonb \
     FROM unnest({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}) AS n(account_id, reservation_id, state, held, \
         captured, sequence, create_time, expire_time, close_time, expiry_policy, close_sequence, reference, metadata, \
         pins) \
     ON CONFLICT (account_id, reservation_id) DO UPDATE SET state = excluded.state, \
         amount_micro_usd = excluded.amount_micro_usd, captured_micro_usd = excluded.captured_micro_usd, \
         expire_time = excluded.expire_time, close_time = excluded.close_time, \
         expiry_policy = excluded.expiry_policy, close_sequence = excluded.close_sequence, pins = excluded.pins \
     RETURNING 1::bigint"
}

statement! {
    /// Remembers refusals.
    WriteRefusals {
        account_ids: &'a str => Text,
        keys: &'a str => Text,
        fingerprints: &'a [u8] => Binary,
        reasons: &'a str => Text,
        messages: &'a str => Text,
        metadata: String => Text,
        create_times: PgTimestamp => Timestamptz,
    } -> BigInt,
    "INSERT INTO refusals (account_id, idempotency_key, fingerprint, code, reason, message, metadata, create_time) \
     SELECT account_id, key, fingerprint, 9, reason, message, metadata::jsonb, create_time \
     FROM unnest({}, {}, {}, {}, {}, {}, {}) \
         AS n(account_id, key, fingerprint, reason, message, metadata, create_time) RETURNING 1::bigint"
}

statement! {
    /// Remembers names of payments, in the order of the names: two batches never wait for each other.
    WritePayments {
        external_ids: &'a str => Text,
        account_ids: &'a str => Text,
        sequences: i64 => BigInt,
    } -> BigInt,
    "INSERT INTO payments (external_id, account_id, sequence) SELECT * FROM unnest({}, {}, {}) RETURNING 1::bigint"
}

statement! {
    /// Remembers keys that were answered with the entry of another key.
    WriteExternalReplays {
        account_ids: &'a str => Text,
        keys: &'a str => Text,
        fingerprints: &'a [u8] => Binary,
        sequences: i64 => BigInt,
        create_times: PgTimestamp => Timestamptz,
    } -> BigInt,
    "INSERT INTO external_replays (account_id, idempotency_key, fingerprint, sequence, create_time) \
     SELECT * FROM unnest({}, {}, {}, {}, {}) RETURNING 1::bigint"
}

/// Writes a record to the log that nobody reads, and tells whether the database takes no writes, its time, and its unsafe
/// settings. Its commit waits until the record is on disk; a standby refuses it.
#[derive(QueryId)]
pub(super) struct ProveCommit;

impl QueryFragment<Pg> for ProveCommit {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(concat!(
            "SELECT current_setting('transaction_read_only')::boolean, clock_timestamp(), ",
            unsafe_settings!(),
            " FROM pg_logical_emit_message(true, 'billing', 'commit')",
        ));
        Ok(())
    }
}

impl Query for ProveCommit {
    type SqlType = (Bool, Timestamptz, Text);
}

/// Reads something of a book that need not be there: fails unless the node that the book is on answers.
#[derive(QueryId)]
pub(super) struct ReachBook;

impl QueryFragment<Pg> for ReachBook {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT count(*) FROM (SELECT FROM accounts LIMIT 1) AS any_account");
        Ok(())
    }
}

impl Query for ReachBook {
    type SqlType = BigInt;
}
