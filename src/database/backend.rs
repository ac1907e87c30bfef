//! The backend of a session: the server process, and whether it is still running a statement.

use diesel::{
    data_types::PgTimestamp,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Bool, Integer, Timestamptz},
};

/// A backend: the server process of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend {
    pub(crate) pid: i32,
    pub(crate) start: PgTimestamp,
}

/// The backend of this session.
#[derive(QueryId)]
pub(crate) struct OwnBackend;

impl QueryFragment<Pg> for OwnBackend {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()");
        Ok(())
    }
}

impl Query for OwnBackend {
    type SqlType = (Integer, Timestamptz);
}

/// Whether a backend of the same role exists on this server and is running a statement.
#[derive(QueryId)]
pub(crate) struct IsAtWork(pub(crate) Backend);

impl QueryFragment<Pg> for IsAtWork {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self(Backend { pid, start }) = self;
        out.push_sql("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ");
        out.push_bind_param::<Integer, _>(pid)?;
        out.push_sql(" AND backend_start = ");
        out.push_bind_param::<Timestamptz, _>(start)?;
        out.push_sql(" AND coalesce(state, '') NOT LIKE 'idle%')");
        Ok(())
    }
}

impl Query for IsAtWork {
    type SqlType = Bool;
}
