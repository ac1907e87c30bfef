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

/// A grant, the account's time, what it has posted, held, withdrawable and granted, and what may have expired.
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
    [account_id => Text, span.after => BigInt, span.last => BigInt, only_open => Bool, limit => BigInt],
    concat!(
        "SELECT ", grant_columns!(), ", greatest(statement_timestamp(), a.update_time), a.posted_micro_usd, \
             a.held_micro_usd, coalesce((a.facts).withdrawable_micro_usd, 0::bigint), \
             coalesce((a.facts).granted_micro_usd, 0::bigint), ",
        lapsing!("greatest(statement_timestamp(), a.update_time)"),
        " FROM accounts a JOIN grants g ON g.account_id = a.account_id \
         WHERE a.account_id = {} AND g.sequence > {} AND g.sequence <= {} AND NOT ({} AND g.remaining_micro_usd = 0) \
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
        let rows: Vec<GrantNowRow> = self.read(query).await?;
        let is_full = rows.len() == limit;
        let mut grants =
            rows.into_iter().map(|row| grant_at(row, account_id)).collect::<Result<Vec<_>, _>>()?;
        let last = grants.last().filter(|_| is_full).map(|last| last.sequence - 1);
        grants.retain(|grant| !only_open || grant.remaining.get() > 0);
        Ok(GrantPage { grants, rest: last.and_then(|last| span.up_to(last)) })
    }
}

fn grant_at(row: GrantNowRow, account_id: &AccountId) -> Result<Grant, LedgerError> {
    let (grant, time, (posted, held, withdrawable, granted), lapsing) = row;
    let (_, grant) = grant_rows::grant(grant)?;
    let Some(lapsing) = lapsing else { return Ok(grant) };
    let balance = rows::balance(posted, held, withdrawable, (granted, 0))?;
    let lapsed = Lapsing::read(lapsing)?.by(rows::timestamp(time), account_id, balance)?;
    Ok(lapsed.grants.get(grant.sequence).copied().unwrap_or(grant))
}
