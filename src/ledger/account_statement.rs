//! The statement of an account over a period: the balances at both ends, and what happened in between.

use diesel::{
    data_types::PgTimestamp,
    sql_types::{BigInt, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde_json::Value;

use super::{
    Ledger, LedgerError,
    lapsing::{Lapsed, Lapsing, lapsing},
    read::read,
    rows,
};
use crate::accounting::{AccountId, Balance, EntryType, Timestamp};

/// The statement of an account over a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStatement {
    /// The balance at the beginning of the period.
    pub opening: Balance,
    /// The balance at its end.
    pub closing: Balance,
    /// What happened in between, by type, in the order of the types.
    pub totals: Vec<Total>,
}

/// What the entries of one type did in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The type.
    pub entry_type: EntryType,
    /// How many there are.
    pub count: i64,
    /// The sum of their amounts in micro-USD: of a long period it may not fit in int64.
    pub amount: i128,
}

/// A line: 0 with what is held, withdrawable, granted and posted at the opening, 1 with the same of the closing, or 2 with the
/// count and the sum of a type. The closing of an account with grants also has what may have expired by then.
type Line = (i16, i16, i64, i64, i64, String, PgTimestamp, Option<Value>);
type LineColumns = (SmallInt, SmallInt, BigInt, BigInt, BigInt, Text, Timestamptz, Nullable<Jsonb>);

read! {
    /// The statement. One statement, so one snapshot of the book.
    ///
    /// The two balances are found as that of an account at a time in the past is: by halving, at the microsecond before the
    /// beginning and before the end. The entries between them are summed up, and so are the leases that expired between them
    /// without that being recorded.
    ReadStatement {
        account_id: String,
        opening: PgTimestamp,
        closing: PgTimestamp,
    } -> LineColumns,
    [account_id => Text, opening => Timestamptz, closing => Timestamptz],
    concat!("WITH RECURSIVE asked AS (\
         SELECT a.account_id, a.last_sequence, a.next_expire_time, a.facts, greatest(statement_timestamp(), a.update_time) AS now \
         FROM accounts a WHERE a.last_sequence > 0 AND a.account_id = {}), \
     edge(line, time) AS (\
         SELECT w.line, least(w.time, asked.now) FROM asked, \
             (VALUES (0::smallint, {}::timestamptz), (1::smallint, {}::timestamptz)) AS w(line, time)), \
     search(line, time, low, high) AS (\
         SELECT edge.line, edge.time, 0::bigint, asked.last_sequence::bigint FROM asked, edge \
         UNION ALL \
         SELECT s.line, s.time, \
             CASE WHEN coalesce(e.effective_time, e.create_time) <= s.time THEN e.sequence::bigint ELSE s.low END, \
             CASE WHEN coalesce(e.effective_time, e.create_time) <= s.time THEN s.high ELSE e.sequence - 1 END \
         FROM search s CROSS JOIN asked JOIN ledger_entries e \
             ON e.account_id = asked.account_id AND e.sequence = s.low + (s.high - s.low + 1) / 2 \
         WHERE s.low < s.high), \
     found AS (SELECT s.line, s.time, s.low AS sequence FROM search s WHERE s.low = s.high), \
     lapsed AS (\
         SELECT CASE WHEN v.expiry_policy = 2 AND v.amount_micro_usd > 0 THEN 10 ELSE 13 END::smallint AS entry_type, \
             v.amount_micro_usd AS held, v.expire_time \
         FROM asked JOIN found f ON f.line = 1 JOIN reservations v ON v.account_id = asked.account_id \
         WHERE v.state = 1 AND v.expire_time <= f.time AND asked.next_expire_time <= f.time \
             AND (asked.facts).granted_micro_usd IS NULL), \
     counted AS (\
         SELECT e.entry_type::smallint AS entry_type, e.amount_micro_usd AS amount \
         FROM asked JOIN found f ON f.line = 0 JOIN found u ON u.line = 1 JOIN ledger_entries e \
             ON e.account_id = asked.account_id AND e.sequence > f.sequence AND e.sequence <= u.sequence \
         UNION ALL \
         SELECT l.entry_type, CASE l.entry_type WHEN 10 THEN -l.held ELSE 0 END \
         FROM lapsed l JOIN found f ON f.line = 0 WHERE l.expire_time > f.time) \
     SELECT f.line, 0::smallint, \
         coalesce(e.held_after, 0) - (SELECT coalesce(sum(l.held), 0)::bigint FROM lapsed l WHERE l.expire_time <= f.time), \
         coalesce(e.withdrawable_after, 0)::bigint, coalesce(e.granted_after, 0)::bigint, \
         (coalesce(e.posted_after, 0) - (SELECT coalesce(sum(l.held) FILTER (WHERE l.entry_type = 10), 0) \
                                         FROM lapsed l WHERE l.expire_time <= f.time))::text, f.time, \
         CASE f.line WHEN 1 THEN ", lapsing!("f.time"), " END \
     FROM asked a JOIN found f ON true \
     LEFT JOIN ledger_entries e ON e.account_id = a.account_id AND e.sequence = f.sequence \
     UNION ALL \
     SELECT 2::smallint, entry_type, count(*), 0::bigint, 0::bigint, sum(amount)::text, 'epoch'::timestamptz, NULL \
     FROM counted GROUP BY entry_type")
}

impl Ledger {
    /// The statement of an account over the time from `from` on and before `until`; a time in the future means now. `None`
    /// before its first entry.
    ///
    /// # Errors
    /// When the database is unavailable, or the period holds more entries than can be summed up in time.
    pub async fn account_statement(
        &self,
        account_id: &AccountId,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<AccountStatement>, LedgerError> {
        let right_before = |time: Timestamp| Timestamp::from_unix_micros(time.unix_micros() - 1);
        let query = ReadStatement {
            account_id: account_id.to_string(),
            opening: from.map_or(PgTimestamp(i64::MIN), |from| rows::pg_timestamp(right_before(from))),
            closing: until.map_or(PgTimestamp(i64::MAX), |until| rows::pg_timestamp(right_before(until))),
        };
        let lines: Vec<Line> = self.book(account_id).read(query).await?;
        (!lines.is_empty()).then(|| AccountStatement::of(lines, account_id)).transpose()
    }
}

impl AccountStatement {
    fn of(lines: Vec<Line>, account_id: &AccountId) -> Result<Self, LedgerError> {
        let mut statement =
            Self { opening: Balance::default(), closing: Balance::default(), totals: Vec::new() };
        let (mut opening_time, mut closing) = (PgTimestamp(i64::MIN), None);
        for (line, entry_type, count_or_held, withdrawable, granted, sum, time, lapsing) in lines {
            let wrong = || LedgerError::Corrupt(format!("a sum of {sum}"));
            let sum: i128 = sum.parse().map_err(|_| wrong())?;
            let posted = || i64::try_from(sum).map_err(|_| wrong());
            let balance = || rows::balance_now(posted()?, count_or_held, withdrawable, granted);
            match line {
                0 => (statement.opening, opening_time) = (balance()?, time),
                1 => {
                    statement.closing = balance()?;
                    closing = lapsing.map(|lapsing| (rows::timestamp(time), lapsing));
                }
                _ => statement.add(rows::entry_type(entry_type)?, count_or_held, sum),
            }
        }
        if let Some((time, lapsing)) = closing {
            statement.lapse(&Lapsing::read(lapsing)?, account_id, (rows::timestamp(opening_time), time))?;
        }
        statement.totals.sort_unstable_by_key(|total| total.entry_type.number());
        Ok(statement)
    }

    /// Counts in what has expired by the closing, and is not recorded.
    fn lapse(
        &mut self,
        lapsing: &Lapsing,
        account_id: &AccountId,
        (opening_time, closing_time): (Timestamp, Timestamp),
    ) -> Result<(), LedgerError> {
        let newest = self.closing;
        let Lapsed { balance, entries, .. } = lapsing.by(closing_time, account_id, newest)?;
        self.closing = balance;
        if entries.iter().any(|entry| entry.effective_time <= opening_time) {
            // Then nothing was recorded between the two.
            self.opening = lapsing.by(opening_time, account_id, newest)?.balance;
        }
        for entry in entries.iter().filter(|entry| entry.effective_time > opening_time) {
            self.add(entry.entry_type, 1, entry.amount.get().into());
        }
        Ok(())
    }

    fn add(&mut self, entry_type: EntryType, count: i64, amount: i128) {
        match self.totals.iter_mut().find(|total| total.entry_type == entry_type) {
            Some(total) => (total.count, total.amount) = (total.count + count, total.amount + amount),
            None => self.totals.push(Total { entry_type, count, amount }),
        }
    }
}
