//! A session that sees a snapshot, turned to one book.

use diesel::{QueryResult, result::Error as DieselError, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _, methods::LoadQuery};

use crate::{
    database::{
        connect::{Purpose, connect_overheard},
        cursor::{self, Bind, Sql},
        error::DatabaseError,
        sqlstate::FirstError,
    },
    ledger::LedgerError,
    schema::Books,
};

/// The settings of a session.
///
/// * Nothing waits without a bound; but the reader may be a person with a pager, and a page may need a sort first.
/// * Cursors are read to their end, so they are planned for that.
/// * Rows come in the order of an index wherever there is one: a sort of everything would need room on the server's disk.
const SETTINGS: &str = "\
    SET application_name = 'billing snapshot'; \
    SET default_transaction_isolation = 'repeatable read'; \
    SET default_transaction_read_only = on; \
    SET lock_timeout = '2s'; \
    SET statement_timeout = '10min'; \
    SET idle_in_transaction_session_timeout = '10min'; \
    SET client_connection_check_interval = '1s'; \
    SET cursor_tuple_fraction = 1; \
    SET enable_sort = off; \
    SET jit = off";

/// Rows per page, of all books that are read at once: enough to make the round trip cheap, and few enough to need little memory.
const PAGE_ROWS: usize = 2_000;
/// The least rows per page of a book.
const PAGE_ROWS_MIN: usize = 100;

/// A session in a transaction that reads only, and always the same.
pub(super) struct Session {
    pub(super) books: Books,
    /// The book that it looks in.
    pub(super) book: usize,
    connection: AsyncPgConnection,
    first_error: FirstError,
}

impl Session {
    /// A session that sees the ledger as it stands, or as another one does: see [`Self::moment`].
    pub(super) async fn begin(books: Books, book: usize, moment: Option<&str>) -> Result<Self, LedgerError> {
        let connected = connect_overheard(books.any(), Purpose::Look).await;
        let (connection, first_error) = connected.map_err(|error| LedgerError::Unavailable(error.into()))?;
        let mut session = Self { books, book, connection, first_error };
        let see = moment.map(|moment| format!("; SET TRANSACTION SNAPSHOT '{moment}'"));
        let begin = format!("BEGIN{}", see.unwrap_or_default());
        // Two messages: a transaction does not take the defaults that are set in its own message.
        for sql in [SETTINGS, &begin] {
            let done = session.connection.batch_execute(sql).await;
            done.map_err(|error| session.failed(error))?;
        }
        session.turn_to(book).await?;
        Ok(session)
    }

    /// What another session needs to see the same, until [`Self::end`].
    pub(super) async fn moment(&mut self) -> Result<String, LedgerError> {
        let moment = Sql::<Text>::new("SELECT pg_export_snapshot()", Vec::new());
        moment.get_result(&mut self.connection).await.map_err(|error| self.failed(error))
    }

    /// Ends its transaction.
    pub(super) async fn end(&mut self) -> Result<(), LedgerError> {
        self.connection.batch_execute("COMMIT").await.map_err(|error| self.failed(error))
    }

    /// Looks in another book from now on.
    pub(super) async fn turn_to(&mut self, book: usize) -> Result<(), LedgerError> {
        self.book = book;
        let turned = self.books.turn_to(&mut self.connection, book).await;
        turned.map_err(|error| self.failed(error))
    }

    /// The rows of a query.
    pub(super) async fn load<Columns, Row>(&mut self, query: Sql<Columns>) -> Result<Vec<Row>, LedgerError>
    where
        Sql<Columns>: LoadQuery<'static, AsyncPgConnection, Row>,
        Columns: 'static,
        Row: Send + 'static,
    {
        let rows: QueryResult<Vec<Row>> = query.load(&mut self.connection).await;
        rows.map_err(|error| self.failed(error))
    }

    /// Opens a cursor.
    pub(super) async fn declare(
        &mut self,
        cursor: &str,
        query: &str,
        binds: Vec<Bind>,
    ) -> Result<(), LedgerError> {
        let declared = cursor::declare(&mut self.connection, cursor, query, binds).await;
        declared.map_err(|error| self.failed(error))
    }

    /// The next page of a cursor, and whether it was the last.
    pub(super) async fn fetch<Columns, Row>(&mut self, cursor: &str) -> Result<(Vec<Row>, bool), LedgerError>
    where
        Sql<Columns>: LoadQuery<'static, AsyncPgConnection, Row>,
        Columns: 'static,
        Row: Send + 'static,
    {
        let page_rows = self.page_rows();
        let page = cursor::fetch(&mut self.connection, cursor, page_rows).await;
        page.map_err(|error| self.failed(error))
    }

    /// How many rows there are in a page: few if many books are read at once.
    pub(super) fn page_rows(&self) -> usize {
        (PAGE_ROWS / self.books.count()).max(PAGE_ROWS_MIN)
    }

    /// An error, classified by its SQLSTATE.
    fn failed(&self, error: DieselError) -> LedgerError {
        DatabaseError { error, code: self.first_error.code() }.into()
    }
}
