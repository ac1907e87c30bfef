//! The books of a ledger: how many there are, which one an account is in, and how to reach each.
//!
//! A book is a schema. If there is one, it is where everything else is, too. Of several, each has a schema of its own, and what is
//! global stands once, in the schema that the URL leads to: the types, the names of payments, and `billing_books`.

use diesel::{
    result::QueryResult,
    sql_types::{Bool, SmallInt, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use sha2::{Digest as _, Sha256};

use super::citus::{self, Node};
use crate::database::{
    DatabaseUrl, NoAnswer,
    connect::{Purpose, connect},
    pool::in_time,
};

/// The most books of a ledger.
pub const BOOKS_MAX: u8 = 64;
/// The name of the one hash that there is, in `billing_books`.
pub(super) const HASH: &str = "sha256";

/// Why the books of a ledger are not known.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The database cannot be reached.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// The database does not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The database cannot be read.
    #[error("cannot read how many books there are")]
    Read(#[from] diesel::result::Error),
    /// A later version of this program has spread the accounts in another way.
    #[error("the accounts are spread over {0} books by {1:?}, which this version does not know")]
    Unknown(i16, String),
}

/// The number of the book that an account is in: the first four bytes of the SHA-256 of its id, as a big-endian number, modulo how
/// many books there are. `docs/SCALE.md` has test vectors.
#[must_use]
pub fn book_of(account_id: &str, count: usize) -> usize {
    if count <= 1 {
        return 0;
    }
    let digest = Sha256::digest(account_id.as_bytes());
    let head = digest.iter().take(4).fold(0_usize, |head, byte| head << 8 | usize::from(*byte));
    head % count
}

/// The schema of one of several books.
pub(super) fn schema_of(number: usize) -> String {
    format!("book_{number:02}")
}

/// The books of a ledger, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Books {
    /// How to reach each.
    urls: Vec<DatabaseUrl>,
    /// The node that each is on, if they are distributed.
    nodes: Vec<Node>,
    /// Where all of them can be reached, and what stands beside them.
    any: DatabaseUrl,
}

impl Books {
    /// The books of the ledger that a URL leads to. A ledger that has not been made yet is taken for one with one book: what is
    /// missing then, other checks tell.
    ///
    /// # Errors
    /// When the database cannot be reached or read, or the accounts are spread in a way that this program does not know.
    pub async fn find(url: &DatabaseUrl) -> Result<Self, BooksError> {
        Self::read(&mut connect(url, Purpose::Look).await?, url).await
    }

    /// The same, over a connection that there is.
    pub(super) async fn read(
        connection: &mut AsyncPgConnection,
        url: &DatabaseUrl,
    ) -> Result<Self, BooksError> {
        let Some(described) = in_time(described(connection)).await?? else { return Ok(Self::only(url)) };
        let books = Self::of(url, &described)?;
        let nodes = in_time(citus::nodes(connection, books.schemas())).await??;
        Ok(if nodes.is_empty() { books } else { books.distributed(nodes) })
    }

    /// The same books, on these nodes.
    fn distributed(self, nodes: Vec<Node>) -> Self {
        let urls = self.urls.into_iter().map(DatabaseUrl::distributed).collect();
        Self { urls, nodes, any: self.any.distributed() }
    }

    /// Their schemas, if there are several.
    pub(super) fn schemas(&self) -> Vec<String> {
        if self.count() == 1 { Vec::new() } else { (0..self.count()).map(schema_of).collect() }
    }

    /// The same books, each reached on its own node where that answers.
    pub(crate) async fn on_their_nodes(self) -> Self {
        let mut urls = Vec::with_capacity(self.count());
        for (url, node) in self.urls.iter().zip(&self.nodes) {
            let direct = url.at(&node.host, node.port);
            let connected = connect(&direct, Purpose::Look).await;
            if let Err(error) = &connected {
                tracing::warn!(%error, host = node.host, port = node.port, "a node is reached through the coordinator");
            }
            urls.push(if connected.is_ok() { direct } else { url.clone() });
        }
        if urls.is_empty() { self } else { Self { urls, ..self } }
    }

    /// The schema of what is global, if there are several books: quoted.
    pub(super) fn shared_schema(&self) -> &str {
        let shared = self.search_path(0).and_then(|path| path.split_once(", "));
        shared.map_or("\"$user\", public", |(_, shared)| shared)
    }

    /// The node that a book is on, as `host:port`; empty if they are not distributed.
    pub(super) fn node_name(&self, number: usize) -> String {
        self.nodes.get(number).map_or_else(String::new, |Node { host, port }| format!("{host}:{port}"))
    }

    /// Whether their tables are distributed over nodes.
    pub(crate) fn are_distributed(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The one book of a ledger.
    pub(super) fn only(url: &DatabaseUrl) -> Self {
        Self { urls: vec![url.clone()], nodes: Vec::new(), any: url.clone() }
    }

    /// So many books, beside what is global in a schema.
    fn several(url: &DatabaseUrl, count: usize, shared_schema: &str) -> Self {
        let search_path = |number| format!("{}, {shared_schema}", schema_of(number));
        let urls = (0..count).map(search_path).map(|path| url.with_search_path(&path)).collect();
        Self { urls, nodes: Vec::new(), any: url.with_search_path(&search_path(0)) }
    }

    pub(super) fn of(url: &DatabaseUrl, described: &Described) -> Result<Self, BooksError> {
        match (usize::try_from(described.count), described.hash.as_str()) {
            (Ok(1), HASH) => Ok(Self::only(url)),
            (Ok(count), HASH) if (2..=usize::from(BOOKS_MAX)).contains(&count) => {
                Ok(Self::several(url, count, &described.schema))
            }
            _ => Err(BooksError::Unknown(described.count, described.hash.clone())),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.urls.len()
    }

    /// The number of the book that an account is in.
    #[must_use]
    pub fn number_of(&self, account_id: &str) -> usize {
        book_of(account_id, self.count())
    }

    /// How to reach each.
    #[must_use]
    pub fn urls(&self) -> &[DatabaseUrl] {
        &self.urls
    }

    /// Where all of them can be reached, and what stands beside them. Looks in the first one.
    pub(crate) fn any(&self) -> &DatabaseUrl {
        &self.any
    }

    /// Where a session of a book looks for names; `None` if there is only one book, which is found as everything else.
    pub(crate) fn search_path(&self, number: usize) -> Option<&str> {
        self.urls.get(number)?.search_path.as_deref()
    }

    /// Has a transaction look in a book; there is nothing to do if there is only one.
    pub(crate) async fn turn_to(&self, connection: &mut AsyncPgConnection, number: usize) -> QueryResult<()> {
        match self.search_path(number) {
            Some(path) => connection.batch_execute(&format!("SET LOCAL search_path = {path}")).await,
            None => Ok(()),
        }
    }

    /// The SQL condition that an `account_id` is in a book.
    pub(crate) fn condition(&self, number: usize) -> String {
        let count = self.count();
        let head = "('x' || left(encode(sha256(convert_to(account_id, 'UTF8')), 'hex'), 8))::bit(32)::bigint";
        format!("{head} % {count} = {number}")
    }

    /// Something of a book, with its name if there are several.
    pub(super) fn named(&self, number: usize, something: String) -> String {
        if self.count() == 1 { something } else { format!("{something} of {}", schema_of(number)) }
    }
}

/// How the accounts of a ledger are spread.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) count: i16,
    pub(super) hash: String,
    /// The schema of what is global, quoted.
    schema: String,
}

/// What `billing_books` says, if it is there and has been written.
pub(super) async fn described(connection: &mut AsyncPgConnection) -> QueryResult<Option<Described>> {
    let exists = diesel::dsl::sql::<Bool>("to_regclass('billing_books') IS NOT NULL");
    if !diesel::select(exists).get_result::<bool>(connection).await? {
        return Ok(None);
    }
    let text = "SELECT b.count, b.hash, c.relnamespace::regnamespace::text \
                FROM billing_books b JOIN pg_class c ON c.oid = to_regclass('billing_books')";
    let rows: Vec<(i16, String, String)> =
        diesel::dsl::sql::<(SmallInt, Text, Text)>(text).load(connection).await?;
    Ok(rows.into_iter().next().map(|(count, hash, schema)| Described { count, hash, schema }))
}

#[cfg(test)]
mod tests {
    use super::book_of;

    /// As in `docs/SCALE.md`. By hand: `printf %s acme | sha256sum | cut -c1-8`, as a number, modulo the count.
    #[test]
    fn an_account_is_in_the_book_that_the_specification_says() {
        for (account_id, of_2, of_4, of_7, of_64) in [
            ("acme", 1, 1, 5, 45),
            ("ann", 1, 1, 3, 13),
            ("bob", 0, 0, 5, 24),
            ("org_2N4x/team:7", 1, 3, 3, 27),
            ("~", 0, 0, 4, 28),
            (&"a".repeat(128), 1, 3, 2, 19),
        ] {
            let books = [2, 4, 7, 64].map(|count| book_of(account_id, count));
            assert_eq!(books, [of_2, of_4, of_7, of_64], "{account_id}");
            assert_eq!(book_of(account_id, 1), 0);
        }
    }
}
