//! Reads of accounts: now, at a time in the past, and those with expired leases.

use diesel::{
    data_types::PgTimestamp,
    sql_types::{BigInt, Text, Timestamptz},
};
use futures_util::future::try_join_all;

use super::{
    Ledger, LedgerError,
    by_key::{AccountNowColumns, AccountNowRow, accounts_now, lapsed},
    lapsing::{Lapsing, lapsing},
    read::read,
    rows,
};
use crate::accounting::{AccountId, AccountSettings, Balance, Timestamp};

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
    /// What an operator has decided about it.
    pub settings: AccountSettings,
}

/// An account that may have expired leases which are not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAccount {
    /// The account.
    pub account_id: AccountId,
    /// No lease expired before this.
    pub expire_time: Timestamp,
}

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
    /// Accounts by id, after an id, as they stand now. No id has a character from 127 on.
    ListAccounts {
        prefix: String,
        after: String,
        limit: i64,
    } -> (Text, AccountNowColumns),
    [prefix => Text, prefix => Text, after => Text, limit => BigInt],
    concat!(
        "SELECT a.account_id, ", accounts_now!("accounts a"), " AND a.account_id >= {} AND a.account_id < {} || chr(127) \
         AND a.account_id > {} ORDER BY a.account_id LIMIT {}"
    )
}

read! {
    /// An account as it stood at a time; a time in the future means now. One statement, so one snapshot of the book.
    ///
    /// Every transaction first records the leases that have expired, in the order of their expiry. So the times at which
    /// entries took effect (the end of a lease, if that is what they record) never decrease along sequences, and the balance
    /// is that of the newest entry that had taken effect. An expired lease that is not recorded expired after the newest
    /// entry of all took effect; its end is then counted in.
    AccountAsOf {
        account_id: String,
        time: PgTimestamp,
    } -> AccountNowColumns,
    [time => Timestamptz, account_id => Text],
    concat!(
        "WITH RECURSIVE asked AS (SELECT a.account_id, a.last_sequence, a.create_time, a.next_expire_time, a.facts, \
             least({}, greatest(statement_timestamp(), a.update_time)) AS time FROM accounts a \
             WHERE a.last_sequence > 0 AND a.account_id = {}), ",
        halving!("written", "e.create_time"),
        ", ",
        halving!("effective", "coalesce(e.effective_time, e.create_time)"),
        "SELECT b.posted_after - lapsed.captured, b.held_after - lapsed.held, e.sequence, a.create_time, e.create_time, \
             coalesce(c.account_state, 1)::smallint, c.debt_limit_micro_usd, \
             coalesce(b.withdrawable_after, 0)::bigint, coalesce(b.granted_after, 0)::bigint, a.time, ",
        lapsing!("a.time"),
        " FROM asked a CROSS JOIN written CROSS JOIN effective \
         JOIN ledger_entries e ON e.account_id = a.account_id AND e.sequence = written.low \
         JOIN ledger_entries b ON b.account_id = a.account_id AND b.sequence = effective.low \
         LEFT JOIN LATERAL (\
             SELECT * FROM ledger_entries c \
             WHERE c.account_id = a.account_id AND c.entry_type = 14 AND c.sequence <= e.sequence \
             ORDER BY c.sequence DESC LIMIT 1) c ON true ",
        lapsed!("a.time"),
        "WHERE written.low = written.high AND effective.low = effective.high"
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
        let found = self.book(account_id).by_key.accounts.find(account_id.to_string()).await?;
        found.map(|row| account_at(row, account_id)).transpose()
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
        self.book(account_id)
            .read_one::<_, AccountNowRow>(query)
            .await?
            .map(|row| account_at(row, account_id))
            .transpose()
    }

    /// Up to `limit` accounts whose ids begin with `prefix`, by id, after `after`, as they stand.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn account_list(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(AccountId, AccountView)>, LedgerError> {
        let limit_bind = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = ListAccounts { prefix: prefix.to_owned(), after: after.to_owned(), limit: limit_bind };
        let of_books = self.books.all().map(|book| book.read::<_, (String, AccountNowRow)>(query.clone()));
        let mut rows = try_join_all(of_books).await?.concat();
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows.into_iter()
            .take(limit)
            .map(|(id, row)| {
                let account_id = AccountId::parse("account_id", &id)?;
                let view = account_at(row, &account_id)?;
                Ok((account_id, view))
            })
            .collect()
    }

    /// Up to `limit` accounts of a book that may have expired leases which are not recorded, by earliest expiry, after `last`.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn due_list(
        &self,
        book: usize,
        last: Option<&DueAccount>,
        limit: usize,
    ) -> Result<Vec<DueAccount>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (time, account_id) = match last {
            Some(last) => (rows::pg_timestamp(last.expire_time), last.account_id.to_string()),
            None => (PgTimestamp(i64::MIN), String::new()), // -infinity
        };
        let query = ListDue { time, account_id, limit };
        let rows: Vec<(String, PgTimestamp)> = self.books.numbered(book).read(query).await?;
        rows.into_iter()
            .map(|(account_id, expire_time)| {
                let account_id = AccountId::parse("account_id", &account_id)?;
                Ok(DueAccount { account_id, expire_time: rows::timestamp(expire_time) })
            })
            .collect()
    }
}

fn account_at(row: AccountNowRow, account_id: &AccountId) -> Result<AccountView, LedgerError> {
    let (posted, held, last_sequence, create_time, update_time, (state, debt_limit), money, expired) = row;
    let ((withdrawable, granted), (time, lapsing)) = (money, expired);
    let balance = rows::balance_now(posted, held, withdrawable, granted)?;
    let lapsed =
        lapsing.map(|lapsing| Lapsing::read(lapsing)?.by(rows::timestamp(time), account_id, balance));
    Ok(AccountView {
        balance: lapsed.transpose()?.map_or(balance, |lapsed| lapsed.balance),
        last_sequence,
        create_time: rows::timestamp(create_time),
        update_time: rows::timestamp(update_time),
        settings: rows::settings(state, debt_limit)?,
    })
}
