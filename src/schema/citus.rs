//! Books on the nodes of Citus: each in a distributed schema, which Citus keeps together on one node, and the names of payments spread
//! over all nodes by their ids.
//!
//! The tables of a book are not distributed by a column: then every statement keeps its text and its plan, and a transaction in one book
//! is one on one node.

use diesel::{
    result::QueryResult,
    sql_types::{Bool, Integer, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use crate::database::cursor::{Bind, Sql};

/// The oldest version that distributes schemas.
const VERSION_MIN: i32 = 12;

/// The settings of sessions that Citus does not hand on to its nodes: see the pool's own.
const SETTINGS: [&str; 5] = [
    "enable_seqscan = off",
    "enable_bitmapscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "jit = off",
];

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why books cannot be distributed.
#[derive(Debug, thiserror::Error)]
pub enum CitusError {
    /// The database has no Citus, or one that is too old.
    #[error(
        "this database has no Citus of version {VERSION_MIN} or newer: CREATE EXTENSION citus on every node"
    )]
    Missing,
    /// There is no node that could hold a book.
    #[error("no node of this database holds tables: SELECT citus_add_node('HOST', PORT) for each worker")]
    NoNodes,
    /// There is only one book.
    #[error("one book cannot be distributed: make the ledger with --books")]
    OneBook,
    /// The database failed.
    #[error("the books cannot be distributed")]
    Database(#[from] diesel::result::Error),
}

/// The nodes that the books with these schemas are on; none if they are not distributed.
pub(super) async fn nodes(
    connection: &mut AsyncPgConnection,
    schemas: Vec<String>,
) -> QueryResult<Vec<Node>> {
    let has_citus = diesel::dsl::sql::<Bool>("to_regclass('pg_catalog.pg_dist_placement') IS NOT NULL");
    if schemas.is_empty() || !diesel::select(has_citus).get_result::<bool>(connection).await? {
        return Ok(Vec::new());
    }
    let text = "SELECT n.nodename, n.nodeport FROM unnest({}) WITH ORDINALITY AS w(schema, number) \
                JOIN pg_dist_shard s ON s.logicalrelid = to_regclass(w.schema || '.accounts') \
                JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid) \
                WHERE n.noderole = 'primary' ORDER BY w.number";
    let count = schemas.len();
    let rows = Sql::<(Text, Integer)>::new(text, vec![Bind::Texts(schemas)]);
    let rows: Vec<(String, i32)> = rows.load(connection).await?;
    let node = |(host, port)| Some(Node { host, port: u16::try_from(port).ok()? });
    let nodes: Vec<Node> = rows.into_iter().filter_map(node).collect();
    Ok(if nodes.len() == count { nodes } else { Vec::new() })
}

/// Distributes what is not distributed yet, and returns what it did. It can be killed and run again.
pub(super) async fn distribute(
    connection: &mut AsyncPgConnection,
    schemas: &[String],
) -> Result<Vec<String>, CitusError> {
    check(connection, schemas).await?;
    let mut done = Vec::new();
    // Its triggers only refuse, whatever the node.
    connection.batch_execute("SET citus.enable_unsafe_triggers = on; SET lock_timeout = '1min'").await?;
    for schema in schemas {
        let is_done =
            format!("EXISTS (SELECT FROM citus_schemas WHERE schema_name = '{schema}'::regnamespace)");
        let step = format!("SELECT citus_schema_distribute('{schema}')");
        done.extend(unless(connection, &is_done, &step, schema).await?);
    }
    let is_distributed =
        |table| format!("EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = '{table}'::regclass)");
    let step = "SELECT create_distributed_table('payments', 'external_id', colocate_with => 'none', \
        shard_count => (SELECT count(*)::int FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards))";
    done.extend(unless(connection, &is_distributed("payments"), step, "payments").await?);
    let step = "SELECT create_reference_table('billing_books')";
    done.extend(unless(connection, &is_distributed("billing_books"), step, "billing_books").await?);
    for setting in SETTINGS {
        let alter = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
        );
        connection.batch_execute(&alter).await?;
    }
    Ok(done)
}

async fn check(connection: &mut AsyncPgConnection, schemas: &[String]) -> Result<(), CitusError> {
    if schemas.is_empty() {
        return Err(CitusError::OneBook);
    }
    let version = "SELECT max(split_part(extversion, '.', 1)::int) FROM pg_extension WHERE extname = 'citus'";
    let version: Option<i32> =
        Sql::<Nullable<Integer>>::new(version, Vec::new()).get_result(connection).await?;
    if version.is_none_or(|version| version < VERSION_MIN) {
        return Err(CitusError::Missing);
    }
    let nodes = "SELECT EXISTS (SELECT FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards)";
    let has_nodes: bool = Sql::<Bool>::new(nodes, Vec::new()).get_result(connection).await?;
    if has_nodes { Ok(()) } else { Err(CitusError::NoNodes) }
}

/// Takes a step unless it has been taken. Returns what for.
async fn unless(
    connection: &mut AsyncPgConnection,
    is_done: &str,
    step: &str,
    what: &str,
) -> QueryResult<Option<String>> {
    if Sql::<Bool>::new(format!("SELECT {is_done}"), Vec::new()).get_result(connection).await? {
        return Ok(None);
    }
    connection.batch_execute(step).await?;
    Ok(Some(format!("distributed {what}")))
}
