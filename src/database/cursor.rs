//! Cursors: rows read page by page, so that no result is ever in memory as a whole, on either side.

use std::marker::PhantomData;

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, BigInt, Integer, Text, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, methods::LoadQuery};

/// A statement with rows of these columns, and a `{}` in its text for each bind.
pub(crate) struct Sql<Columns> {
    text: String,
    binds: Vec<Bind>,
    columns: PhantomData<fn() -> Columns>,
}

/// A value that is sent beside a statement.
pub(crate) enum Bind {
    Integer(i32),
    Numbers(Vec<i64>),
    Texts(Vec<String>),
    Time(PgTimestamp),
}

impl<Columns> Sql<Columns> {
    pub(crate) fn new(text: impl Into<String>, binds: Vec<Bind>) -> Self {
        Self { text: text.into(), binds, columns: PhantomData }
    }
}

impl<Columns> QueryFragment<Pg> for Sql<Columns> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut parts = self.text.split("{}");
        out.push_sql(parts.next().unwrap_or_default());
        for (bind, part) in self.binds.iter().zip(parts) {
            match bind {
                Bind::Integer(integer) => out.push_bind_param::<Integer, _>(integer)?,
                Bind::Numbers(numbers) => out.push_bind_param::<Array<BigInt>, _>(numbers)?,
                Bind::Texts(texts) => out.push_bind_param::<Array<Text>, _>(texts)?,
                Bind::Time(time) => out.push_bind_param::<Timestamptz, _>(time)?,
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<Columns: 'static> QueryId for Sql<Columns> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false; // the text tells one from another
}

impl<Columns> Query for Sql<Columns> {
    type SqlType = Columns;
}

/// Opens a cursor for a query.
pub(crate) async fn declare(
    connection: &mut AsyncPgConnection,
    cursor: &str,
    query: &str,
    binds: Vec<Bind>,
) -> QueryResult<()> {
    let text = format!("DECLARE {cursor} NO SCROLL CURSOR FOR {query}");
    Sql::<()>::new(text, binds).execute(connection).await?;
    Ok(())
}

/// Fetches the next page of a cursor, of so many rows, and whether it was the last.
pub(crate) async fn fetch<Columns, Row>(
    connection: &mut AsyncPgConnection,
    cursor: &str,
    page_rows: usize,
) -> QueryResult<(Vec<Row>, bool)>
where
    Sql<Columns>: LoadQuery<'static, AsyncPgConnection, Row>,
    Columns: 'static,
    Row: Send + 'static,
{
    let text = format!("FETCH {page_rows} FROM {cursor}");
    let rows = Sql::<Columns>::new(text, Vec::new()).load(connection).await?;
    let is_last = rows.len() < page_rows;
    Ok((rows, is_last))
}
