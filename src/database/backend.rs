//! The backend of a session: the server process, and whether it is still running a statement.

use diesel::{
    data_types::PgTimestamp,
    result::QueryResult,
    sql_types::{Bool, Integer, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::cursor::{Bind, Sql};

/// A backend: the server process of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend {
    pid: i32,
    start: PgTimestamp,
}

impl Backend {
    /// The backend of this session.
    pub(crate) async fn of(connection: &mut AsyncPgConnection) -> QueryResult<Self> {
        let own = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let own = Sql::<(Integer, Timestamptz)>::new(own, Vec::new()).get_result(connection).await;
        own.map(|(pid, start)| Self { pid, start })
    }

    /// Whether a backend of the same role exists on the server of a connection and is running a statement.
    pub(crate) async fn is_at_work(self, connection: &mut AsyncPgConnection) -> QueryResult<bool> {
        let text = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND backend_start = {} \
             AND coalesce(state, '') NOT LIKE 'idle%')";
        let binds = vec![Bind::Integer(self.pid), Bind::Time(self.start)];
        Sql::<Bool>::new(text, binds).get_result(connection).await
    }
}
