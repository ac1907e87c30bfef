//! What the books of a ledger hold, where they are, and how one is moved to another node.

use diesel::{result::QueryResult, sql_types::BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::books::{Books, BooksError, schema_of};
use crate::database::{
    DatabaseUrl,
    connect::{Purpose, connect},
    cursor::{Bind, Sql},
};

/// A book, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookFacts {
    /// Its name: that of its schema.
    pub name: String,
    /// The node that it is on; empty if the books are not distributed.
    pub node: String,
    /// The bytes that its tables and indexes take.
    pub bytes: i64,
    /// How many accounts it has.
    pub accounts: i64,
    /// How many entries.
    pub entries: i64,
}

/// Why the books cannot be listed or moved.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// They are not known.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// The database cannot be reached.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// The database failed.
    #[error("the database refused a statement")]
    Database(#[from] diesel::result::Error),
    /// There is no such book.
    #[error("this ledger has no {0}: `billing books` lists what it has")]
    NoBook(String),
    /// They are not on the nodes of Citus.
    #[error("the books of this ledger are not distributed: `billing migrate --citus` does that")]
    NotDistributed,
}

/// The books of a ledger, in the order of their numbers.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_books(url: &DatabaseUrl) -> Result<Vec<BookFacts>, InventoryError> {
    let books = Books::find(url).await?;
    let size = if books.are_distributed() { "citus_total_relation_size" } else { "pg_total_relation_size" };
    let mut facts = Vec::with_capacity(books.count());
    for (number, url) in books.urls().iter().enumerate() {
        let mut connection = connect(url, Purpose::Look).await?;
        let (accounts, entries) = counts(&mut connection).await?;
        facts.push(BookFacts {
            name: if books.count() == 1 { "(the only one)".to_owned() } else { schema_of(number) },
            node: books.node_name(number),
            bytes: bytes_of(&mut connection, size).await?,
            accounts,
            entries,
        });
    }
    Ok(facts)
}

async fn counts(connection: &mut AsyncPgConnection) -> QueryResult<(i64, i64)> {
    let text = "SELECT count(*), coalesce(sum(last_sequence), 0)::bigint FROM accounts";
    Sql::<(BigInt, BigInt)>::new(text, Vec::new()).get_result(connection).await
}

/// The tables of the schema in which the session finds `accounts`.
async fn bytes_of(connection: &mut AsyncPgConnection, size: &str) -> QueryResult<i64> {
    let text = format!(
        "SELECT coalesce(sum({size}(oid::regclass)), 0)::bigint FROM pg_class WHERE relkind = 'r' \
         AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('accounts'))"
    );
    Sql::<BigInt>::new(text, Vec::new()).get_result(connection).await
}

/// Moves a book to another node, while it is served: Citus' own function.
///
/// # Errors
/// When there is no such book, the books are not distributed, or Citus refuses.
pub async fn move_book(url: &DatabaseUrl, name: &str, host: &str, port: u16) -> Result<(), InventoryError> {
    let books = Books::find(url).await?;
    if !books.are_distributed() {
        return Err(InventoryError::NotDistributed);
    }
    if !books.schemas().iter().any(|schema| schema == name) {
        return Err(InventoryError::NoBook(name.to_owned()));
    }
    let mut connection = connect(url, Purpose::Write).await?;
    let text = "SELECT citus_schema_move(w.schema::regnamespace, w.host, {}) FROM \
                (SELECT ({})[1] AS schema, ({})[1] AS host) w";
    let binds = vec![
        Bind::Integer(port.into()),
        Bind::Texts(vec![name.to_owned()]),
        Bind::Texts(vec![host.to_owned()]),
    ];
    Sql::<()>::new(text, binds).execute(&mut connection).await?;
    Ok(())
}

/// How far a move is: the bytes that are to be copied, and those that have been, by the nodes' own sizes.
///
/// # Errors
/// When the database cannot be read.
pub async fn progress(url: &DatabaseUrl) -> Result<(i64, i64), InventoryError> {
    let mut connection = connect(url, Purpose::Look).await?;
    let text = "SELECT coalesce(sum(source_shard_size), 0)::bigint, coalesce(sum(target_shard_size), 0)::bigint \
                FROM get_rebalance_progress()";
    Ok(Sql::<(BigInt, BigInt)>::new(text, Vec::new()).get_result(&mut connection).await?)
}

/// Whether a name could be one of a node: `HOST:PORT`.
#[must_use]
pub fn parse_node(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?)).filter(|(host, _)| !host.is_empty())
}
