//! The reads that the query DSL cannot say: fixed texts, prepared once per connection.

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{BigInt, SmallInt, Text, Timestamptz},
};

use super::{
    queries::EntrySpan,
    rows::{AccountNowColumns, ReservationColumns},
    statements::reservation_columns,
};

/// Finds the newest entry of `asked.account_id` whose time is not after `asked.time`, by halving: its sequence is `low` where
/// that equals `high`. The times of an account's entries never decrease, and its sequences have no gaps, so the primary key
/// serves as an index on time.
macro_rules! halving {
    ($name:literal, $time:literal) => {
        concat!(
            $name,
            "(low, high) AS (SELECT 0::bigint, last_sequence::bigint FROM asked UNION ALL \
             SELECT CASE WHEN ",
            $time,
            " <= asked.time THEN e.sequence::bigint ELSE s.low END, \
                    CASE WHEN ",
            $time,
            " <= asked.time THEN s.high ELSE e.sequence - 1 END \
             FROM ",
            $name,
            " s CROSS JOIN asked JOIN ledger_entries e \
                 ON e.account_id = asked.account_id AND e.sequence = s.low + (s.high - s.low + 1) / 2 \
             WHERE s.low < s.high) "
        )
    };
}

/// A reservation, and the time in its account when it was read.
type ReservationNowColumns = (ReservationColumns, Timestamptz);

/// An account as it stands now: what leases that have run out still hold is taken off, whether or not that was written
/// down. An account without entries is not there yet.
#[derive(Clone, QueryId)]
pub(super) struct AccountNow {
    pub(super) account_id: String,
}

impl QueryFragment<Pg> for AccountNow {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT a.posted_micro_usd, a.held_micro_usd - CASE \
                 WHEN a.next_expire_time <= greatest(statement_timestamp(), a.update_time) THEN (\
                     SELECT coalesce(sum(v.amount_micro_usd), 0)::bigint FROM reservations v \
                     WHERE v.account_id = a.account_id AND v.state = 1 \
                       AND v.expire_time <= greatest(statement_timestamp(), a.update_time)) \
                 ELSE 0 END, a.last_sequence, a.create_time, a.update_time \
             FROM accounts a WHERE a.last_sequence > 0 AND a.account_id = ",
        );
        out.push_bind_param::<Text, _>(&self.account_id)
    }
}

impl Query for AccountNow {
    type SqlType = AccountNowColumns;
}

/// How many reservations are open, and the age of the oldest in seconds. Goes through the index of those that are open.
#[derive(Clone, QueryId)]
pub(super) struct CountOpenReservations;

impl QueryFragment<Pg> for CountOpenReservations {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0)::bigint \
             FROM reservations WHERE state = 1",
        );
        Ok(())
    }
}

impl Query for CountOpenReservations {
    type SqlType = (BigInt, BigInt);
}

/// An account as it stood at a time, or now, if that is yet to come: one statement, so all of one moment of the book.
///
/// Whatever is written into an account begins with the leases that have run out, in the order in which they did. So the times
/// at which entries took effect, of an EXPIRE entry the end of the lease, never decrease along sequences either, and the
/// balance is that of the newest entry which had taken effect. If that is the newest of all, what open reservations hold whose
/// leases had run out is taken off.
#[derive(Clone, QueryId)]
pub(super) struct AccountAsOf {
    pub(super) account_id: String,
    pub(super) time: PgTimestamp,
}

impl QueryFragment<Pg> for AccountAsOf {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH RECURSIVE asked AS (SELECT a.account_id, a.last_sequence, a.create_time, a.next_expire_time, least(");
        out.push_bind_param::<Timestamptz, _>(&self.time)?;
        out.push_sql(
            ", greatest(statement_timestamp(), a.update_time)) AS time FROM accounts a \
                      WHERE a.last_sequence > 0 AND a.account_id = ",
        );
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(concat!(
            "), ",
            halving!("written", "e.create_time"),
            ", ",
            halving!("effective", "CASE e.entry_type WHEN 13 THEN e.expire_time ELSE e.create_time END"),
            "SELECT b.posted_after, b.held_after - CASE \
                 WHEN b.sequence = asked.last_sequence AND asked.next_expire_time <= asked.time THEN (\
                     SELECT coalesce(sum(v.amount_micro_usd), 0)::bigint FROM reservations v \
                     WHERE v.account_id = asked.account_id AND v.state = 1 AND v.expire_time <= asked.time) \
                 ELSE 0 END, e.sequence, asked.create_time, e.create_time \
             FROM asked CROSS JOIN written CROSS JOIN effective \
             JOIN ledger_entries e ON e.account_id = asked.account_id AND e.sequence = written.low \
             JOIN ledger_entries b ON b.account_id = asked.account_id AND b.sequence = effective.low \
             WHERE written.low = written.high AND effective.low = effective.high",
        ));
        Ok(())
    }
}

impl Query for AccountAsOf {
    type SqlType = AccountNowColumns;
}

/// One reservation.
#[derive(Clone, QueryId)]
pub(super) struct ReadReservation {
    pub(super) account_id: String,
    pub(super) reservation_id: String,
}

impl QueryFragment<Pg> for ReadReservation {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(concat!(
            "SELECT ",
            reservation_columns!(),
            ", greatest(statement_timestamp(), a.update_time) FROM reservations v \
             JOIN accounts a ON a.account_id = v.account_id WHERE v.account_id = "
        ));
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(" AND v.reservation_id = ");
        out.push_bind_param::<Text, _>(&self.reservation_id)
    }
}

impl Query for ReadReservation {
    type SqlType = ReservationNowColumns;
}

/// The reservations that entries of a span opened, newest first: all of them, or those in one state.
#[derive(Clone, QueryId)]
pub(super) struct ListReservations {
    pub(super) account_id: String,
    pub(super) span: EntrySpan,
    /// The state's number, or 0 for all of them.
    pub(super) state: i16,
    pub(super) limit: i64,
}

impl QueryFragment<Pg> for ListReservations {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH asked AS (SELECT ");
        out.push_bind_param::<SmallInt, _>(&self.state)?;
        out.push_sql(
            "::smallint AS state, greatest(statement_timestamp(), a.update_time) AS time FROM accounts a \
             WHERE a.account_id = ",
        );
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(concat!(
            ") SELECT ",
            reservation_columns!(),
            ", asked.time FROM asked CROSS JOIN ledger_entries e \
             JOIN reservations v ON v.account_id = e.account_id AND v.reservation_id = e.reservation_id \
             WHERE e.entry_type = 9 AND (asked.state = 0 OR asked.state = CASE \
                 WHEN v.state = 1 AND v.expire_time <= asked.time THEN 4 ELSE v.state END) \
               AND e.account_id = "
        ));
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(" AND e.sequence > ");
        out.push_bind_param::<BigInt, _>(&self.span.after)?;
        out.push_sql(" AND e.sequence <= ");
        out.push_bind_param::<BigInt, _>(&self.span.last)?;
        out.push_sql(" ORDER BY e.sequence DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

impl Query for ListReservations {
    type SqlType = ReservationNowColumns;
}

/// The open reservations that entries of a span opened, newest first. Looks at no other.
#[derive(Clone, QueryId)]
pub(super) struct ListOpenReservations {
    pub(super) account_id: String,
    pub(super) span: EntrySpan,
    pub(super) limit: i64,
}

impl QueryFragment<Pg> for ListOpenReservations {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(concat!(
            "SELECT ",
            reservation_columns!(),
            ", greatest(statement_timestamp(), a.update_time) FROM reservations v \
             JOIN accounts a ON a.account_id = v.account_id \
             WHERE v.state = 1 AND v.expire_time > greatest(statement_timestamp(), a.update_time) AND v.account_id = "
        ));
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(" AND v.sequence > ");
        out.push_bind_param::<BigInt, _>(&self.span.after)?;
        out.push_sql(" AND v.sequence <= ");
        out.push_bind_param::<BigInt, _>(&self.span.last)?;
        out.push_sql(" ORDER BY v.sequence DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

impl Query for ListOpenReservations {
    type SqlType = ReservationNowColumns;
}

/// Accounts in which leases may have run out, in the order of the time from which on one may have; those after a place in it.
#[derive(Clone, QueryId)]
pub(super) struct ListDue {
    pub(super) time: PgTimestamp,
    pub(super) account_id: String,
    pub(super) limit: i64,
}

impl QueryFragment<Pg> for ListDue {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT account_id, next_expire_time FROM accounts \
                      WHERE next_expire_time <= statement_timestamp() AND (next_expire_time, account_id) > (",
        );
        out.push_bind_param::<Timestamptz, _>(&self.time)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql(") ORDER BY next_expire_time, account_id LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

impl Query for ListDue {
    type SqlType = (Text, Timestamptz);
}

/// Finds the sequence of the newest entry before a time by halving: the times of an account's entries never decrease,
/// and its sequences have no gaps, so the primary key serves as an index on time.
#[derive(Clone, QueryId)]
pub(super) struct LastSequenceBefore {
    pub(super) account_id: String,
    pub(super) time: PgTimestamp,
}

impl QueryFragment<Pg> for LastSequenceBefore {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH RECURSIVE wanted AS (SELECT ");
        out.push_bind_param::<Text, _>(&self.account_id)?;
        out.push_sql("::text AS account_id, ");
        out.push_bind_param::<Timestamptz, _>(&self.time)?;
        out.push_sql(
            "::timestamptz AS time), search(low, high) AS (\
                 SELECT 0::bigint, last_sequence::bigint FROM accounts, wanted \
                 WHERE accounts.account_id = wanted.account_id \
             UNION ALL \
                 SELECT CASE WHEN e.create_time < w.time THEN e.sequence::bigint ELSE s.low END, \
                        CASE WHEN e.create_time < w.time THEN s.high ELSE e.sequence - 1 END \
                 FROM search s CROSS JOIN wanted w JOIN ledger_entries e \
                     ON e.account_id = w.account_id AND e.sequence = s.low + (s.high - s.low + 1) / 2 \
                 WHERE s.low < s.high\
             ) SELECT low FROM search WHERE low = high",
        );
        Ok(())
    }
}

impl Query for LastSequenceBefore {
    type SqlType = BigInt;
}
