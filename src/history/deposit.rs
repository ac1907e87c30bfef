//! The Stripe deposits of the replaced system, in the order in which [`Sessions`](super::rules::Sessions) takes them.

use futures_util::{Stream, TryStreamExt as _};
use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    HistoryError,
    rules::{Deposit, SESSION_PREFIX, stripe_deposit_types},
    session::failed,
};
use crate::accounting::{AccountId, MicroUsd};

/// The server only brings those of a session together; whether there is a session, and which, is for [`Deposit::payment`] to
/// say. Those of an account that is left out, since rows of it cannot be read, are in no import: others come first.
/// They are found once, by a scan: looked up for each deposit, they would have all rows of its account read each time.
const DEPOSITS: &str = "\
    WITH left_out AS MATERIALIZED (\
        SELECT DISTINCT account_id FROM ledger_entries \
        WHERE entry_type IS NULL OR amount_micro_usd IS NULL OR created_at IS NULL) \
    SELECT id::bigint, account_id::text, amount_micro_usd::bigint, coalesce(reference, '')::text \
    FROM ledger_entries d \
    WHERE entry_type = ANY($1::text[]) AND account_id IS NOT NULL \
        AND NOT EXISTS (SELECT FROM left_out l WHERE l.account_id = d.account_id) \
    ORDER BY (CASE WHEN starts_with(reference, $2::text) THEN substr(reference, length($2::text) + 1) \
                   ELSE coalesce(reference, '') END)::text COLLATE \"C\", created_at, id";

/// All deposits into accounts that the book can have.
pub(super) async fn deposits(
    client: &Client,
) -> Result<impl Stream<Item = Result<Deposit, HistoryError>> + use<>, HistoryError> {
    let parameters: [&(dyn ToSql + Sync); 2] = [&stripe_deposit_types(), &SESSION_PREFIX];
    let rows = client.query_raw(DEPOSITS, parameters).await.map_err(failed)?;
    Ok(rows.map_err(failed).try_filter_map(async |row| deposit(&row).map_err(failed)))
}

fn deposit(row: &Row) -> Result<Option<Deposit>, tokio_postgres::Error> {
    let Ok(account_id) = AccountId::parse("account_id", row.try_get(1)?) else { return Ok(None) };
    let amount = MicroUsd::new(row.try_get(2)?);
    Ok(Some(Deposit { id: row.try_get(0)?, account_id, amount, reference: row.try_get(3)? }))
}
