//! Reads of accounts: now, at a time in the past, and those with expired leases.

use diesel::{
    data_types::PgTimestamp,
    sql_types::{BigInt, Text, Timestamptz},
};

use super::{Ledger, LedgerError, read::read, rows};
use crate::accounting::{AccountId, Balance, Timestamp};

/// An account at one point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountView {
    /// Its money.
    pub balance: Balance,
    /// The sequence of the newest entry.
    pub last_sequence: i64,
    /// When the first entry was written.
    pub create_time: Timestamp,
    /// When the newest entry was written.
    pub update_time: Timestamp,
}

/// An account that may have expired leases which are not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAccount {
    /// The account.
    pub account_id: AccountId,
    /// No lease expired before this.
    pub expire_time: Timestamp,
}

/// An account as it stands now: what is posted, what is held, the newest sequence, and both times.
type AccountNowRow = (i64, i64, i64, PgTimestamp, PgTimestamp);

/// The types of [`AccountNowRow`]'s columns, in order.
type AccountNowColumns = (BigInt, BigInt, BigInt, Timestamptz, Timestamptz);

/// Finds the newest entry of `asked.account_id` that is not later than `asked.time`, by binary search: its sequence is `low`
/// in the row where `low = high`. Within an account times never decrease and sequences have no gaps, so the primary key
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

read! {
    /// An account as it stands now. What expired leases still hold is subtracted, whether or not the expiry is recorded.
    /// An account without entries does not exist yet.
    AccountNow {
        account_id: String,
    } -> AccountNowColumns,
    [account_id => Text],
    "SELECT a.posted_micro_usd, a.held_micro_usd - CASE \
             WHEN a.next_expire_time <= greatest(statement_timestamp(), a.update_time) THEN (\
                 SELECT coalesce(sum(v.amount_micro_usd), 0)::bigint FROM reservations v \
                 WHERE v.account_id = a.account_id AND v.state = 1 \
                   AND v.expire_time <= greatest(statement_timestamp(), a.update_time)) \
             ELSE 0 END, a.last_sequence, a.create_time, a.update_time \
         FROM accounts a WHERE a.last_sequence > 0 AND a.account_id = {}"
}

read! {
    /// An account as it stood at a time; a time in the future means now. One statement, so one snapshot of the book.
    ///
    /// Every transaction first records the leases that have expired, in the order of their expiry. So the times at which
    /// entries took effect (for an EXPIRE entry: the end of the lease) never decrease along sequences, and the balance is
    /// that of the newest entry that had taken effect. If that is the newest entry of all, what open reservations with
    /// expired leases hold is subtracted.
    AccountAsOf {
        account_id: String,
        time: PgTimestamp,
    } -> AccountNowColumns,
    [time => Timestamptz, account_id => Text],
    concat!(
        "WITH RECURSIVE asked AS (SELECT a.account_id, a.last_sequence, a.create_time, a.next_expire_time, \
             least({}, greatest(statement_timestamp(), a.update_time)) AS time FROM accounts a \
             WHERE a.last_sequence > 0 AND a.account_id = {}), ",
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
         WHERE written.low = written.high AND effective.low = effective.high"
    )
}

read! {
    /// Accounts that may have expired leases, ordered by the earliest expiry, from a position in that order on.
    ListDue {
        time: PgTimestamp,
        account_id: String,
        limit: i64,
    } -> (Text, Timestamptz),
    [time => Timestamptz, account_id => Text, limit => BigInt],
    "SELECT account_id, next_expire_time FROM accounts \
                      WHERE next_expire_time <= statement_timestamp() AND (next_expire_time, account_id) > ({}, {}) ORDER BY next_expire_time, account_id LIMIT {}"
}

impl Ledger {
    /// An account as it stands. `None` before its first entry.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn account_get(&self, account_id: &AccountId) -> Result<Option<AccountView>, LedgerError> {
        let query = AccountNow { account_id: account_id.to_string() };
        self.read_one::<_, AccountNowRow>(query).await?.map(AccountView::try_from).transpose()
    }

    /// An account as it stood at a time; a time in the future means now. `None` before its first entry.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn account_get_as_of(
        &self,
        account_id: &AccountId,
        as_of: Timestamp,
    ) -> Result<Option<AccountView>, LedgerError> {
        let query = AccountAsOf { account_id: account_id.to_string(), time: rows::pg_timestamp(as_of) };
        self.read_one::<_, AccountNowRow>(query).await?.map(AccountView::try_from).transpose()
    }

    /// Up to `limit` accounts that may have expired leases which are not recorded, by earliest expiry, after `last`.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn due_list(
        &self,
        last: Option<&DueAccount>,
        limit: usize,
    ) -> Result<Vec<DueAccount>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (time, account_id) = match last {
            Some(last) => (rows::pg_timestamp(last.expire_time), last.account_id.to_string()),
            None => (PgTimestamp(i64::MIN), String::new()), // -infinity
        };
        let rows: Vec<(String, PgTimestamp)> = self.read(ListDue { time, account_id, limit }).await?;
        rows.into_iter()
            .map(|(account_id, expire_time)| {
                let account_id = AccountId::parse("account_id", &account_id)?;
                Ok(DueAccount { account_id, expire_time: rows::timestamp(expire_time) })
            })
            .collect()
    }
}

impl TryFrom<AccountNowRow> for AccountView {
    type Error = LedgerError;

    fn try_from(row: AccountNowRow) -> Result<Self, LedgerError> {
        let (posted, held, last_sequence, create_time, update_time) = row;
        Ok(Self {
            balance: rows::balance(posted, held)?,
            last_sequence,
            create_time: rows::timestamp(create_time),
            update_time: rows::timestamp(update_time),
        })
    }
}
