//! Looks through the database of the replaced system before anything is imported. It only reads.
//!
//! The journal is too large to be sent, so the server adds it up, and sends what is a line for each type, for each account,
//! or for each Stripe deposit; nothing of that is kept here. It reads the journal five times, each time in parallel where
//! it can:
//!
//! | pass       | what it finds                                                         | what the server does            |
//! | ---------- | --------------------------------------------------------------------- | ------------------------------- |
//! | types      | rows by type, times, lengths of references                            | scans                           |
//! | accounts   | sums against balances, each row against the one before it, odd rows   | sorts by account and number     |
//! | deposits   | sessions that were deposited more than once, and what names no session | scans twice, for accounts that are left out, too |
//! | references | what is repeated within an account                                    | groups by account and reference |
//!
//! Twice more, but only where an account has moved more than int64 holds: its rows are added up one by one.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    HistoryError,
    deposit::deposits,
    rules::{
        ACCOUNT_PLACEHOLDER, AccountFigures, DepositSurvey, Direction, Irregularity, OddRows, OverflowSurvey,
        RESERVE_PLACEHOLDER, RepeatedReference, Survey, TypeFigures, types_of_direction,
    },
    session::{self, failed, get, read_sum},
    time::PgTime,
};
use crate::{
    accounting::{AccountId, Amount, MicroUsd, Reference, Timestamp},
    database::DatabaseUrl,
};

/// How many references are listed of those that are repeated.
const REFERENCES_LISTED: i64 = 20;
/// What sorts may take before they go to the disk: the default is little for a journal.
const MORE_MEMORY: &str = "SET work_mem = '64MB'";

const HAS_ACCOUNT_INDEX: &str = "\
    SELECT EXISTS (\
        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
        WHERE i.indrelid = to_regclass('ledger_entries') AND i.indisvalid AND i.indpred IS NULL \
            AND a.attname = 'account_id')";

const TYPES: &str = "\
    SELECT entry_type::text COLLATE \"C\", count(*), coalesce(sum(amount_micro_usd), 0)::text, max(id)::bigint, \
        min(created_at) FILTER (WHERE isfinite(created_at))::timestamptz, \
        max(created_at) FILTER (WHERE isfinite(created_at))::timestamptz, \
        count(*) FILTER (WHERE coalesce(octet_length(reference), 0) = 0), \
        count(*) FILTER (WHERE octet_length(reference) > $1::bigint), \
        coalesce(max(octet_length(reference)), 0)::bigint \
    FROM ledger_entries GROUP BY 1 ORDER BY 1";

/// A balance after a row follows from the one before it and the amount; or, if only that one is wrong, from the one before
/// that. Numbers are added up as NUMERIC: those of a broken journal may leave int64. The first of some rows comes as the
/// least of arrays that begin with the id.
const ACCOUNTS: &str = "\
    SELECT coalesce(j.account_id, b.account_id::text COLLATE \"C\"), coalesce(j.rows, 0), \
        coalesce(j.amount, 0)::text, coalesce(j.given, 0)::text, coalesce(j.taken, 0)::text, \
        coalesce(j.unreadable, 0), \
        coalesce(b.balance_micro_usd, 0)::bigint, coalesce(b.withdrawable_micro_usd, 0)::bigint, \
        coalesce(j.amounts, 0), j.first_amount, coalesce(j.signs, 0), j.first_sign, \
        coalesce(j.breaks, 0), j.first_break_id, j.first_break[2]::text, j.first_break[3]::text, \
        coalesce(j.times, 0), j.first_time_id, j.earliest, j.latest \
    FROM (\
        SELECT account_id, count(*) AS rows, sum(amount) AS amount, \
            sum(amount) FILTER (WHERE amount > 0) AS given, sum(amount) FILTER (WHERE amount < 0) AS taken, \
            count(*) FILTER (WHERE num_nulls(entry_type, amount, created_at) > 0) AS unreadable, \
            count(*) FILTER (WHERE breaks) AS breaks, min(id) FILTER (WHERE breaks) AS first_break_id, \
            min(ARRAY[id, expected, balance_after]) FILTER (WHERE breaks) AS first_break, \
            count(*) FILTER (WHERE odd_amount) AS amounts, \
            min(ARRAY[id, amount::bigint]) FILTER (WHERE odd_amount) AS first_amount, \
            count(*) FILTER (WHERE odd_sign) AS signs, \
            min(ARRAY[id, amount::bigint]) FILTER (WHERE odd_sign) AS first_sign, \
            count(*) FILTER (WHERE odd_time) AS times, min(id) FILTER (WHERE odd_time) AS first_time_id, \
            min(created_at) FILTER (WHERE odd_time) AS earliest, max(created_at) FILTER (WHERE odd_time) AS latest \
        FROM (\
            SELECT *, balance_after <> expected AND balance_after IS DISTINCT FROM or_expected AS breaks, \
                amount = 0 OR abs(amount) > $3::bigint AS odd_amount, \
                (amount < 0 AND entry_type = ANY($1::text[])) OR (amount > 0 AND entry_type = ANY($2::text[])) AS odd_sign, \
                created_at > now() OR created_at < '1970-01-01 00:00:00+00' AS odd_time \
            FROM (\
                SELECT account_id::text COLLATE \"C\" AS account_id, id::bigint AS id, entry_type::text AS entry_type, \
                    amount_micro_usd::numeric AS amount, balance_after::numeric AS balance_after, \
                    created_at::timestamptz AS created_at, \
                    lag(balance_after::numeric, 1, 0::numeric) OVER w + amount_micro_usd AS expected, \
                    lag(balance_after::numeric, 2, 0::numeric) OVER w + lag(amount_micro_usd::numeric) OVER w \
                        + amount_micro_usd AS or_expected \
                FROM ledger_entries WINDOW w AS (PARTITION BY account_id::text COLLATE \"C\" ORDER BY id)\
            ) AS followed\
        ) AS judged GROUP BY account_id\
    ) j FULL JOIN balances b ON j.account_id = b.account_id::text COLLATE \"C\" \
    ORDER BY 1";

/// The rows of the accounts that have moved more than int64 holds, in the order in which they are imported.
const GREAT_ACCOUNTS: &str = "\
    SELECT e.account_id::text, e.id::bigint, e.amount_micro_usd::bigint \
    FROM ledger_entries e JOIN (\
        SELECT account_id FROM ledger_entries GROUP BY account_id \
        HAVING (sum(amount_micro_usd) FILTER (WHERE amount_micro_usd > 0) > 9223372036854775807 \
                OR sum(amount_micro_usd) FILTER (WHERE amount_micro_usd < 0) < -9223372036854775808) \
            AND count(*) FILTER (WHERE num_nulls(entry_type, amount_micro_usd, created_at) > 0) = 0\
    ) AS great USING (account_id) \
    ORDER BY e.account_id::text COLLATE \"C\", e.created_at, e.id";

/// What is repeated within an account, over all accounts. Long references are left out: they are no words.
const REFERENCES: &str = "\
    SELECT reference, sum(rows)::bigint, count(*), count(*) OVER (), (sum(sum(rows)) OVER ())::bigint \
    FROM (\
        SELECT CASE reference WHEN account_id THEN $1::text WHEN 'reserve:' || account_id THEN $2::text ELSE reference END \
            AS reference, rows \
        FROM (\
            SELECT account_id::text COLLATE \"C\" AS account_id, reference::text COLLATE \"C\" AS reference, \
                count(*) AS rows \
            FROM ledger_entries WHERE octet_length(reference) BETWEEN 1 AND $3::bigint \
            GROUP BY 1, 2 HAVING count(*) > 1\
        ) AS repeated\
    ) AS named GROUP BY reference ORDER BY 2 DESC, 1 LIMIT $4::bigint";

/// What is looked at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreflightStep {
    /// Rows by type.
    Types,
    /// Accounts.
    Accounts,
    /// Accounts that have moved more than int64 holds.
    GreatAccounts,
    /// Stripe deposits.
    Deposits,
    /// References.
    References,
}

/// What a preflight tells while it runs.
#[derive(Debug)]
pub enum PreflightEvent {
    /// This is looked at now.
    Step(PreflightStep),
    /// The rows of a type.
    Type(TypeFigures),
    /// Something irregular.
    Found(Irregularity),
}

/// Whom a preflight tells.
type Tell<'a> = &'a mut (dyn FnMut(PreflightEvent) + Send);

/// The source as it stands at one moment.
pub struct Preflight {
    client: Client,
    survey: Survey,
}

impl Preflight {
    /// Looks at the source.
    ///
    /// # Errors
    /// When it is away, or is not what it should be.
    pub async fn open(source_url: &DatabaseUrl) -> Result<Self, HistoryError> {
        let client = session::open(source_url, "billing preflight").await?;
        client.batch_execute(MORE_MEMORY).await.map_err(failed)?;
        Ok(Self { client, survey: Survey::default() })
    }

    /// Looks at all of it.
    ///
    /// # Errors
    /// When the source fails on the way.
    pub async fn run(mut self, tell: Tell<'_>) -> Result<Survey, HistoryError> {
        let has_index = self.client.query_one(HAS_ACCOUNT_INDEX, &[]).await;
        self.survey.has_account_index = has_index.and_then(|row| row.try_get(0)).map_err(failed)?;
        self.types(tell).await?;
        if self.accounts(tell).await? {
            self.great_accounts(tell).await?;
        }
        self.deposits(tell).await?;
        self.references(tell).await?;
        Ok(self.survey)
    }

    async fn types(&mut self, tell: Tell<'_>) -> Result<(), HistoryError> {
        tell(PreflightEvent::Step(PreflightStep::Types));
        let parameters: [&(dyn ToSql + Sync); 1] = [&whole(Reference::LENGTH_MAX)];
        let mut rows = pin!(self.client.query_raw(TYPES, parameters).await.map_err(failed)?);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let amount = read_sum(&row, 2)?;
            let of_type = TypeFigures { entry_type: get(&row, 0)?, rows: get(&row, 1)?, amount };
            let survey = &mut self.survey;
            survey.rows += of_type.rows;
            survey.largest_id = survey.largest_id.max(get(&row, 3)?);
            let times = [survey.first_time, time(&row, 4)?];
            survey.first_time = times.into_iter().flatten().min();
            survey.last_time = survey.last_time.max(time(&row, 5)?);
            survey.references.empty += get::<i64>(&row, 6)?;
            survey.references.long += get::<i64>(&row, 7)?;
            survey.references.longest = survey.references.longest.max(get(&row, 8)?);
            let irregularity = of_type.irregularity();
            tell(PreflightEvent::Type(of_type));
            if let Some(irregularity) = irregularity {
                found(survey, irregularity, tell);
            }
        }
        Ok(())
    }

    /// Whether the sum of the rows so far may leave int64 in one of the accounts.
    async fn accounts(&mut self, tell: Tell<'_>) -> Result<bool, HistoryError> {
        tell(PreflightEvent::Step(PreflightStep::Accounts));
        let (given, taken) = (types_of_direction(Direction::Given), types_of_direction(Direction::Taken));
        let parameters: [&(dyn ToSql + Sync); 3] = [&given, &taken, &Amount::MAX.credited().get()];
        let mut rows = pin!(self.client.query_raw(ACCOUNTS, parameters).await.map_err(failed)?);
        let mut may_overflow = false;
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let account = account(&row)?;
            may_overflow |= account.may_overflow();
            self.survey.add_account(&account);
            account.irregularities(&mut |irregularity| found(&mut self.survey, irregularity, tell));
        }
        Ok(may_overflow)
    }

    async fn great_accounts(&mut self, tell: Tell<'_>) -> Result<(), HistoryError> {
        tell(PreflightEvent::Step(PreflightStep::GreatAccounts));
        let none: [&(dyn ToSql + Sync); 0] = [];
        let mut rows = pin!(self.client.query_raw(GREAT_ACCOUNTS, none).await.map_err(failed)?);
        let mut overflows = OverflowSurvey::default();
        let mut found = |irregularity| found(&mut self.survey, irregularity, tell);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            if let Ok(account_id) = AccountId::parse("account_id", get(&row, 0)?) {
                overflows.observe(account_id, get(&row, 1)?, MicroUsd::new(get(&row, 2)?), &mut found);
            }
        }
        overflows.finish(&mut found);
        Ok(())
    }

    async fn deposits(&mut self, tell: Tell<'_>) -> Result<(), HistoryError> {
        tell(PreflightEvent::Step(PreflightStep::Deposits));
        let mut deposits = pin!(deposits(&self.client).await?);
        let mut survey = DepositSurvey::default();
        let mut found = |irregularity| found(&mut self.survey, irregularity, tell);
        while let Some(deposit) = deposits.try_next().await? {
            survey.observe(&deposit, &mut found);
        }
        survey.finish(&mut found);
        Ok(())
    }

    async fn references(&mut self, tell: Tell<'_>) -> Result<(), HistoryError> {
        tell(PreflightEvent::Step(PreflightStep::References));
        let longest = whole(Reference::LENGTH_MAX);
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&ACCOUNT_PLACEHOLDER, &RESERVE_PLACEHOLDER, &longest, &REFERENCES_LISTED];
        let references = &mut self.survey.references;
        for row in self.client.query(REFERENCES, &parameters).await.map_err(failed)? {
            references.repeated = get(&row, 3)?;
            references.repeated_rows = get(&row, 4)?;
            let (reference, rows, accounts) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
            references.most_repeated.push(RepeatedReference::new(reference, rows, accounts));
        }
        Ok(())
    }
}

fn found(survey: &mut Survey, irregularity: Irregularity, tell: Tell<'_>) {
    survey.add(&irregularity);
    tell(PreflightEvent::Found(irregularity));
}

fn account(row: &Row) -> Result<AccountFigures, HistoryError> {
    Ok(AccountFigures {
        account_id: get(row, 0)?,
        rows: get(row, 1)?,
        amount: read_sum(row, 2)?,
        given: read_sum(row, 3)?,
        taken: read_sum(row, 4)?,
        unreadable: get(row, 5)?,
        balance: get(row, 6)?,
        withdrawable: get(row, 7)?,
        balances_after: odd(row, 12, || Ok((read_sum(row, 14)?, read_sum(row, 15)?)))?,
        amounts: odd_amounts(row, 8)?,
        signs: odd_amounts(row, 10)?,
        times: odd(row, 16, || Ok((get::<PgTime>(row, 18)?.0, get::<PgTime>(row, 19)?.0)))?,
    })
}

/// How many rows are so and the id of the first, from a column on, and what is odd; `None` if no row is so.
fn odd<T>(
    row: &Row,
    column: usize,
    what: impl FnOnce() -> Result<T, HistoryError>,
) -> Result<Option<OddRows<T>>, HistoryError> {
    let Some(first_id) = get(row, column + 1)? else { return Ok(None) };
    Ok(Some(OddRows { rows: get(row, column)?, first_id, what: what()? }))
}

/// How many rows are so, and of the first the id and the amount.
fn odd_amounts(row: &Row, column: usize) -> Result<Option<OddRows<i64>>, HistoryError> {
    let first: Option<Vec<i64>> = get(row, column + 1)?;
    let Some(&[first_id, what]) = first.as_deref() else { return Ok(None) };
    Ok(Some(OddRows { rows: get(row, column)?, first_id, what }))
}

fn time(row: &Row, column: usize) -> Result<Option<Timestamp>, HistoryError> {
    Ok(get::<Option<PgTime>>(row, column)?.map(|time| time.0))
}

fn whole(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
