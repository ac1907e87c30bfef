//! Reads of grants, as they stand now.

use diesel::{
    data_types::PgTimestamp,
    sql_types::{BigInt, Bool, Jsonb, Nullable, Text, Timestamptz},
};
use serde_json::Value;

use super::{
    EntrySpan, Ledger, LedgerError,
    grant_rows::{self, GrantColumns, GrantRow},
    lapsing::{Lapsing, lapsing},
    read::read,
    rows,
    statements::grant_columns,
};
use crate::accounting::{AccountId, Grant};

/// Grants, newest first.
#[derive(Debug)]
pub struct GrantPage {
    /// The grants.
    pub grants: Vec<Grant>,
    /// The rest of the span, as in [`EntryPage`](super::EntryPage).
    pub rest: Option<EntrySpan>,
}

/// A grant; the account's time; what it has posted, held, withdrawable and granted; and, in the first row alone, what may have
/// expired in it.
type GrantNowRow = (GrantRow, PgTimestamp, (i64, i64, i64, i64), Option<Value>);
type GrantNowColumns = (GrantColumns, Timestamptz, (BigInt, BigInt, BigInt, BigInt), Nullable<Jsonb>);

read! {
    /// The grants that the entries of a span credited, newest first: all, or those of which something remains.
    ListGrants {
        account_id: String,
        span: EntrySpan,
        only_open: bool,
        limit: i64,
    } -> GrantNowColumns,
    [account_id => Text, account_id => Text, span.after => BigInt, span.last => BigInt, only_open => Bool, limit => BigInt],
    concat!(
        "WITH account AS MATERIALIZED (\
             SELECT greatest(statement_timestamp(), a.update_time) AS time, a.posted_micro_usd, a.held_micro_usd, \
                 coalesce((a.facts).withdrawable_micro_usd, 0::bigint) AS withdrawable_micro_usd, \
                 coalesce((a.facts).granted_micro_usd, 0::bigint) AS granted_micro_usd, ",
        lapsing!("greatest(statement_timestamp(), a.update_time)"),
        " AS lapsing FROM accounts a WHERE a.account_id = {}\
         ) SELECT ", grant_columns!(), ", account.time, account.posted_micro_usd, account.held_micro_usd, \
             account.withdrawable_micro_usd, account.granted_micro_usd, \
             CASE row_number() OVER (ORDER BY g.sequence DESC) WHEN 1 THEN account.lapsing END \
         FROM account CROSS JOIN grants g \
         WHERE g.account_id = {} AND g.sequence > {} AND g.sequence <= {} AND NOT ({} AND g.remaining_micro_usd = 0) \
         ORDER BY g.sequence DESC LIMIT {}"
    )
}

impl Ledger {
    /// Up to `limit` grants that the entries of a span credited, newest first, as they stand now: all, or those of which
    /// something remains.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn grant_list(
        &self,
        account_id: &AccountId,
        span: EntrySpan,
        only_open: bool,
        limit: usize,
    ) -> Result<GrantPage, LedgerError> {
        let limit_bind = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = ListGrants { account_id: account_id.to_string(), span, only_open, limit: limit_bind };
        let rows: Vec<GrantNowRow> = self.book(account_id).read(query).await?;
        let is_full = rows.len() == limit;
        let mut grants = as_they_stand(rows, account_id)?;
        let last = grants.last().filter(|_| is_full).map(|last| last.sequence - 1);
        grants.retain(|grant| !only_open || grant.remaining.get() > 0);
        Ok(GrantPage { grants, rest: last.and_then(|last| span.up_to(last)) })
    }
}

/// The grants of rows, without what has expired of them by the account's time.
fn as_they_stand(mut rows: Vec<GrantNowRow>, account_id: &AccountId) -> Result<Vec<Grant>, LedgerError> {
    let lapsed = match rows.first_mut() {
        Some((_, time, (posted, held, withdrawable, granted), lapsing)) => {
            let balance = rows::balance(*posted, *held, *withdrawable, (*granted, 0))?;
            let lapsing = lapsing.take().map(Lapsing::read).transpose()?;
            lapsing.map(|lapsing| lapsing.by(rows::timestamp(*time), account_id, balance)).transpose()?
        }
        None => None,
    };
    let as_it_stands = |(row, ..): GrantNowRow| {
        let (_, grant) = grant_rows::grant(row)?;
        let changed = lapsed.as_ref().and_then(|lapsed| lapsed.grants.get(grant.sequence));
        Ok(changed.copied().unwrap_or(grant))
    };
    rows.into_iter().map(as_it_stands).collect()
}
