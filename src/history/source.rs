//! The database of the replaced system, as an import reads it.
//!
//! Columns are cast, so that it does not matter which kind of text, integer or time they are.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    HistoryError, deposit,
    rules::{Finding, HistoryRow, Position, Sessions},
    session::{self, failed, get, read_sum},
    time::PgTime,
};
use crate::{
    accounting::{AccountId, MicroUsd, Timestamp},
    database::DatabaseUrl,
};

/// Each account, by its journal and its balance. A row without a type, an amount or a time cannot be taken over.
const ACCOUNTS: &str = "\
    DECLARE accounts NO SCROLL CURSOR FOR \
    SELECT account_id::text COLLATE \"C\" AS account_id, coalesce(j.rows, 0), coalesce(j.amount, 0)::text, \
        coalesce(j.unreadable, 0), coalesce(b.balance_micro_usd, 0)::bigint, \
        coalesce(b.withdrawable_micro_usd, 0)::bigint, b.updated_at::timestamptz \
    FROM (\
        SELECT account_id, count(*) AS rows, sum(amount_micro_usd) AS amount, \
            count(*) FILTER (WHERE num_nulls(entry_type, amount_micro_usd, created_at) > 0) AS unreadable \
        FROM ledger_entries GROUP BY account_id\
    ) j FULL JOIN balances b USING (account_id) \
    ORDER BY account_id";

/// The columns of a [`HistoryRow`], and before them its account.
const ROW_COLUMNS: &str = "\
    e.account_id::text, e.id::bigint, e.entry_type::text, e.amount_micro_usd::bigint, e.balance_after::bigint, \
    coalesce(e.reference, '')::text, e.created_at::timestamptz";

/// The order in which rows are imported.
const BY_ACCOUNT_AND_PLACE: &str = "ORDER BY e.account_id::text COLLATE \"C\", e.created_at, e.id";

/// The rows of some accounts after a place in each.
const ROWS_AFTER: &str = "\
    FROM unnest($1::text[], $2::timestamptz[], $3::bigint[]) AS a(account_id, create_time, id) \
    JOIN ledger_entries e ON e.account_id = a.account_id AND e.created_at >= a.create_time \
    WHERE (e.created_at, e.id) > (a.create_time, a.id)";

/// Rows, each with its account.
pub(super) type Rows = BoxStream<'static, Result<(String, HistoryRow), HistoryError>>;

pub(super) struct Source {
    client: Client,
}

/// An account, by its rows and by its balance. Sums are in micro-USD.
#[derive(Debug)]
pub(super) struct SourceAccount {
    /// Its name. A row may have none.
    pub(super) account_id: Option<String>,
    /// How many rows it has.
    pub(super) rows: i64,
    /// What they come to.
    pub(super) amount: i128,
    /// How many of them cannot be taken over.
    unreadable: i64,
    /// What its balance is.
    pub(super) balance: i64,
    /// How much of that could be paid out.
    withdrawable: i64,
    /// When the balance was changed last.
    pub(super) update_time: Option<Timestamp>,
}

impl SourceAccount {
    /// How much may leave the account: never more than its balance, whatever the replaced system says.
    pub(super) fn may_leave(&self) -> i64 {
        self.withdrawable.min(self.balance).max(0)
    }
}

impl Source {
    /// Begins to read.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, HistoryError> {
        Ok(Self { client: session::open(url, "billing import").await? })
    }

    /// About how many rows there are, as of the last time that the server counted.
    pub(super) async fn rows_estimate(&self) -> Result<u64, HistoryError> {
        let text = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'ledger_entries'::regclass";
        let row = self.client.query_one(text, &[]).await.map_err(failed)?;
        Ok(u64::try_from(row.try_get::<_, i64>(0).map_err(failed)?).unwrap_or_default()) // -1: not counted yet
    }

    pub(super) async fn open_accounts(&self) -> Result<(), HistoryError> {
        self.client.batch_execute(ACCOUNTS).await.map_err(failed)
    }

    /// The next accounts, in the order of their ids; fewer than asked for where there are no more.
    pub(super) async fn next_accounts(&self, count: usize) -> Result<Vec<SourceAccount>, HistoryError> {
        let rows = self.client.query(&format!("FETCH {count} FROM accounts"), &[]).await.map_err(failed)?;
        rows.iter().map(account).collect()
    }

    /// The numbers of rows that deposit a Stripe session which an earlier row deposited, in whichever account.
    pub(super) async fn repeated_deposits(&self) -> Result<HashSet<i64>, HistoryError> {
        let mut deposits = pin!(deposit::deposits(&self.client).await?);
        let (mut sessions, mut repeated) = (Sessions::default(), HashSet::new());
        while let Some(deposit) = deposits.try_next().await? {
            if sessions.repeats(&deposit) {
                repeated.insert(deposit.id);
            }
        }
        Ok(repeated)
    }

    /// How many rows accounts have after a place in each; those that have none are missing.
    pub(super) async fn count_after(
        &self,
        places: &[(AccountId, Position)],
    ) -> Result<HashMap<String, i64>, HistoryError> {
        let text = format!("SELECT a.account_id, count(*) {ROWS_AFTER} GROUP BY a.account_id");
        let (account_ids, create_times, ids) = columns(places);
        let counts = self.client.query(&text, &[&account_ids, &create_times, &ids]).await.map_err(failed)?;
        let count = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        counts.iter().map(count).collect::<Result<_, _>>().map_err(failed)
    }

    /// All rows of accounts, by account and place. Asked for so, the server is free to read the journal from end to end: if they are
    /// most of it, that takes a fraction of the time of looking for each account's.
    pub(super) async fn rows(
        &self,
        account_ids: &[&str],
        repeated: &Arc<HashSet<i64>>,
    ) -> Result<Rows, HistoryError> {
        let which = "FROM ledger_entries e WHERE e.account_id = ANY($1::text[])";
        self.read(&format!("{which} {BY_ACCOUNT_AND_PLACE}"), &[&account_ids], repeated).await
    }

    /// The rows of accounts after a place in each, by account and place.
    pub(super) async fn rows_after(
        &self,
        places: &[(AccountId, Position)],
        repeated: &Arc<HashSet<i64>>,
    ) -> Result<Rows, HistoryError> {
        let (account_ids, create_times, ids) = columns(places);
        let which = format!("{ROWS_AFTER} {BY_ACCOUNT_AND_PLACE}");
        self.read(&which, &[&account_ids, &create_times, &ids], repeated).await
    }

    /// Rows of an account by their numbers, in the order of their places.
    pub(super) async fn rows_by_id(
        &self,
        account_id: &AccountId,
        ids: &[i64],
        repeated: &Arc<HashSet<i64>>,
    ) -> Result<Rows, HistoryError> {
        let which = "FROM ledger_entries e WHERE e.account_id = $1::text AND e.id = ANY($2::bigint[]) \
                     ORDER BY e.created_at, e.id";
        self.read(which, &[&account_id.as_str(), &ids], repeated).await
    }

    async fn read(
        &self,
        which: &str,
        parameters: &[&(dyn ToSql + Sync)],
        repeated: &Arc<HashSet<i64>>,
    ) -> Result<Rows, HistoryError> {
        let text = format!("SELECT {ROW_COLUMNS} {which}");
        let rows = self.client.query_raw(&text, parameters.iter().copied()).await.map_err(failed)?;
        let repeated = Arc::clone(repeated);
        let read = move |row: Row| history_row(&row, &repeated);
        Ok(rows.map(move |row| row.and_then(&read).map_err(failed)).boxed())
    }

    /// The numbers of an account's rows up to a place, in their order.
    pub(super) async fn ids_up_to(
        &self,
        account_id: &AccountId,
        last: Position,
    ) -> Result<impl Stream<Item = Result<i64, HistoryError>> + use<>, HistoryError> {
        let text = "SELECT id::bigint FROM ledger_entries \
                    WHERE account_id = $1::text AND (created_at, id) <= ($2::timestamptz, $3::bigint) ORDER BY id";
        let (account_id, create_time) = (account_id.as_str(), PgTime(last.create_time));
        let parameters: [&(dyn ToSql + Sync); 3] = [&account_id, &create_time, &last.id];
        let rows = self.client.query_raw(text, parameters).await.map_err(failed)?;
        Ok(rows.map(|row| row.and_then(|row| row.try_get(0)).map_err(failed)))
    }
}

impl SourceAccount {
    /// Its name as the book has it, or why it cannot be taken over.
    pub(super) fn name(&self) -> Result<AccountId, String> {
        let account_id = self.account_id.as_deref().ok_or("these rows name no account")?;
        if self.unreadable > 0 {
            return Err(format!("{} of its rows have no type, no amount or no time", self.unreadable));
        }
        AccountId::parse("the account id", account_id).map_err(|invalid| invalid.to_string())
    }

    /// What to tell of it when so many rows cannot be taken over.
    pub(super) fn left_out(&self, rows: i64, reason: String) -> Finding {
        Finding::LeftOut { account_id: self.account_id.clone(), rows, reason }
    }
}

/// Places in accounts, a column each.
fn columns(places: &[(AccountId, Position)]) -> (Vec<&str>, Vec<PgTime>, Vec<i64>) {
    places
        .iter()
        .map(|(account_id, place)| (account_id.as_str(), PgTime(place.create_time), place.id))
        .collect()
}

fn account(row: &Row) -> Result<SourceAccount, HistoryError> {
    Ok(SourceAccount {
        account_id: get(row, 0)?,
        rows: get(row, 1)?,
        amount: read_sum(row, 2)?,
        unreadable: get(row, 3)?,
        balance: get(row, 4)?,
        withdrawable: get(row, 5)?,
        update_time: get::<Option<PgTime>>(row, 6)?.map(|time| time.0),
    })
}

fn history_row(row: &Row, repeated: &HashSet<i64>) -> Result<(String, HistoryRow), tokio_postgres::Error> {
    let (id, create_time) = (row.try_get(1)?, row.try_get::<_, PgTime>(6)?.0);
    let history = HistoryRow {
        id,
        entry_type: row.try_get(2)?,
        amount: MicroUsd::new(row.try_get(3)?),
        balance_after: row.try_get(4)?,
        reference: row.try_get(5)?,
        create_time,
        repeats_payment: repeated.contains(&id),
    };
    Ok((row.try_get(0)?, history))
}
