//! What the book requires of a database. Checked before anything is created, served or read there; everything that is missing
//! is reported at once, each with its remedy.

use super::books::{Books, BooksError};
use crate::database::{
    Cause, DatabaseUrl, NoAnswer,
    connect::{Purpose, connect_without_diesel},
    pool::in_time,
};

/// What a command uses a database for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseUse {
    /// To create the schema.
    Migrate,
    /// To serve.
    Serve {
        /// Whether to serve a database that may lose committed data.
        allow_unsafe: bool,
    },
    /// To read the whole book.
    Read,
    /// To import history.
    Import,
    /// To read the history of a replaced system.
    Source,
}

use DatabaseUse::{Import, Migrate, Read, Serve, Source};

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The database cannot be reached.
    #[error("cannot connect to the database")]
    Connect(#[from] diesel::ConnectionError),
    /// The requirements cannot be checked.
    #[error("cannot look at the database")]
    Look(#[source] Cause),
    /// It does not meet the requirements.
    #[error("the database is not as it must be:\n  {}", .0.join("\n  "))]
    Unmet(Vec<String>),
}

impl From<BooksError> for RequirementError {
    fn from(error: BooksError) -> Self {
        match error {
            BooksError::Connect(error) => Self::Connect(error),
            BooksError::NoAnswer(none) => none.into(),
            BooksError::Read(error) => Self::Look(error.into()),
            BooksError::Unknown(..) => Self::Unmet(vec![error.to_string()]),
        }
    }
}

impl From<NoAnswer> for RequirementError {
    fn from(none: NoAnswer) -> Self {
        Self::Look(none.into())
    }
}

impl From<tokio_postgres::Error> for RequirementError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Look(error.into())
    }
}

/// Checks all requirements of a use.
///
/// # Errors
/// With all unmet requirements, or when the database cannot be reached.
pub async fn check_database(url: &DatabaseUrl, database_use: DatabaseUse) -> Result<(), RequirementError> {
    let books = match database_use {
        Migrate | Source => Books::only(url), // what is to be made, or never had several
        Serve { .. } | Read | Import => match Books::find(url).await {
            Err(BooksError::Read(_)) => Books::only(url), // which right is missing, is said below
            found => found?,
        },
    };
    let mut unmet = Vec::new();
    for (number, url) in books.urls().iter().enumerate() {
        match check_book(url, database_use, number, books.count() > 1).await {
            Err(RequirementError::Unmet(problems)) => {
                unmet.extend(problems.into_iter().map(|problem| books.named(number, problem)));
            }
            checked => checked?,
        }
    }
    if unmet.is_empty() { Ok(()) } else { Err(RequirementError::Unmet(unmet)) }
}

/// Checks the requirements of a use on one book.
async fn check_book(
    url: &DatabaseUrl,
    database_use: DatabaseUse,
    number: usize,
    is_one_of_several: bool,
) -> Result<(), RequirementError> {
    let (client, refused) = match database_use {
        Serve { .. } | Read | Source => (connect_without_diesel(url, Purpose::Look).await?, None),
        // Of several hosts the primary counts; if none takes writes, any of them may be able to say why.
        Migrate | Import => match connect_without_diesel(url, Purpose::Write).await {
            Ok(client) => (client, None),
            Err(refused) => (connect_without_diesel(url, Purpose::Look).await?, Some(refused)),
        },
    };
    let rows = in_time(client.query(&query(database_use, is_one_of_several), &[])).await??;
    let mut problems = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    // The settings are those of the server, and so of all books.
    if let Serve { allow_unsafe } = database_use
        && number == 0
    {
        let row = in_time(client.query_one(concat!("SELECT ", unsafe_settings!()), &[])).await??;
        let settings: &str = row.try_get(0)?;
        if !settings.is_empty() && allow_unsafe {
            tracing::warn!(settings, "--allow-unsafe-database: this database may lose what it has committed");
        } else if !settings.is_empty() {
            problems.push(unsafe_problem(settings));
        }
    }
    if !problems.is_empty() {
        return Err(RequirementError::Unmet(problems));
    }
    refused.map_or(Ok(()), |refused| Err(refused.into()))
}

/// An SQL expression for the settings with which a server may lose or damage committed data; empty if there are none. They may
/// change while the server runs.
macro_rules! unsafe_settings {
    () => {
        "(SELECT coalesce(string_agg(s.name || ' = ' || current_setting(s.name), ', '), '') FROM (VALUES \
             ('fsync', 'on'), ('full_page_writes', 'on'), ('zero_damaged_pages', 'off'), \
             ('ignore_checksum_failure', 'off'), ('ignore_invalid_pages', 'off'), ('data_sync_retry', 'off')\
         ) AS s(name, safe) WHERE current_setting(s.name, true) <> s.safe)"
    };
}
pub(crate) use unsafe_settings;

/// The problem of a database with unsafe settings.
pub(crate) fn unsafe_problem(settings: &str) -> String {
    format!(
        "it may lose what it has committed ({settings}): set this right, or use --allow-unsafe-database for tests"
    )
}

/// One statement for all requirements of a use. It returns a row for each problem.
fn query(database_use: DatabaseUse, is_one_of_several: bool) -> String {
    // The search path of one of several names its schema and that of what is global, and no other.
    let is_met = |requirement: &&str| is_one_of_several && *requirement == ONE_SCHEMA;
    let requirements = requirements(database_use).into_iter().filter(|text| !is_met(text)).enumerate();
    let problems = requirements.map(|(n, query)| format!("SELECT problem FROM ({query}) AS r{n}(problem)"));
    definitions(database_use) + &problems.collect::<Vec<_>>().join(" UNION ALL ")
}

/// The book is found where it is looked for.
const FOUND: [&str; 4] = [USAGE, SEARCH_PATH, ONE_SCHEMA, USAGE_OF_BOOK];
/// What is written stays, once and unchanged.
const KEPT: [&str; 4] = [ALL_ROWS, LOGGED, TRIGGERS, INDEXES];

/// The requirements of a use, each a query that returns problems.
fn requirements(database_use: DatabaseUse) -> Vec<&'static str> {
    match database_use {
        Migrate => vec![VERSION, ENCODING, WRITABLE, NO_OTHER_BOOK, CREATE, NO_FOREIGN_TABLES, OWNER],
        Serve { .. } => [&[VERSION, ENCODING], &FOUND[..], &[RIGHTS, COMMIT_PROOF], &KEPT].concat(),
        Read => [&[VERSION, ENCODING], &FOUND[..], &[PRESENT, RIGHTS, ALL_ROWS]].concat(),
        Import => [&[VERSION, ENCODING, WRITABLE], &FOUND[..], &[RIGHTS], &KEPT].concat(),
        Source => [&[SOURCE_ENCODING], &FOUND[..], &[RIGHTS, ALL_ROWS]].concat(),
    }
}

/// A right on tables, or on some of their columns.
type Right = (&'static [&'static str], &'static str, &'static [&'static str]);

const MIGRATIONS: Right = (&["__diesel_schema_migrations"], "SELECT", &[]);
const BOOKS: Right = (&["billing_books"], "SELECT", &[]);
const BOOK: &[&str] =
    &["accounts", "ledger_entries", "reservations", "grants", "refusals", "payments", "external_replays"];
const SERVE: [Right; 8] = [
    MIGRATIONS,
    BOOKS,
    (BOOK, "SELECT", &[]),
    (BOOK, "INSERT", &[]),
    (&["accounts"], "DELETE", &[]), // of a row that was made only to be locked
    (
        &["accounts"],
        "UPDATE",
        &[
            "posted_micro_usd",
            "held_micro_usd",
            "last_sequence",
            "create_time",
            "update_time",
            "next_expire_time",
            "facts",
        ],
    ),
    (
        &["reservations"],
        "UPDATE",
        &[
            "state",
            "amount_micro_usd",
            "captured_micro_usd",
            "expire_time",
            "close_time",
            "expiry_policy",
            "close_sequence",
            "pins",
        ],
    ),
    (
        &["grants"],
        "UPDATE",
        &["remaining_micro_usd", "pinned_micro_usd", "lapsed_micro_usd", "reversed_micro_usd"],
    ),
];
const IMPORTED: &[&str] = &["accounts", "ledger_entries", "payments", "imported_accounts"];
const IMPORT: [Right; 6] = [
    MIGRATIONS,
    BOOKS,
    (IMPORTED, "SELECT", &[]),
    (IMPORTED, "INSERT", &[]),
    (&["accounts"], "UPDATE", &["posted_micro_usd", "last_sequence", "create_time", "update_time"]),
    (&["imported_accounts"], "UPDATE", &[]),
];

fn rights(database_use: DatabaseUse) -> &'static [Right] {
    match database_use {
        // The owner of the tables has all rights.
        Migrate | Read => &[BOOKS, (BOOK, "SELECT", &[])],
        Serve { .. } => &SERVE,
        Import => &IMPORT,
        Source => &[(&["balances", "ledger_entries"], "SELECT", &[])],
    }
}

/// The relations that requirements are written in. They use the catalogs only, which every role may read.
///
/// * `wanted`: the rights, by table and column.
/// * `homes`: the schemas that hold a ledger (or a replaced system), recognised by two of its tables. Of several books, none is there.
/// * `seen`: the tables that this session finds by name.
/// * `path`: the schemas in its search path, including those that it may not use.
fn definitions(database_use: DatabaseUse) -> String {
    let wanted = rights(database_use).iter().flat_map(|(tables, privilege, columns)| {
        let columns = columns.join(",");
        tables
            .iter()
            .map(move |table| format!("('{table}', '{privilege}', string_to_array('{columns}', ','))"))
    });
    let wanted = wanted.collect::<Vec<_>>().join(", ");
    let (one, other) = match database_use {
        Migrate | Serve { .. } | Read | Import => ("payments", "billing_books"),
        Source => ("ledger_entries", "balances"),
    };
    format!(
        "WITH wanted(name, privilege, columns) AS (VALUES {wanted}), \
         names AS (SELECT DISTINCT name FROM wanted), \
         homes AS (\
             SELECT n.oid, n.nspname, has_schema_privilege(n.oid, 'USAGE') AS usable FROM pg_namespace n \
             WHERE 2 = (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') \
                        AND c.relname IN ('{one}', '{other}'))\
         ), \
         seen AS (\
             SELECT c.oid, c.relname, c.relnamespace, c.relpersistence, \
                 format('%I.%I', n.nspname, c.relname) AS full_name \
             FROM names JOIN pg_class c ON c.oid = to_regclass(names.name) JOIN pg_namespace n ON n.oid = c.relnamespace\
         ), \
         home AS (SELECT relnamespace AS oid FROM seen WHERE relname = '{one}' AND relnamespace IN (SELECT oid FROM homes)), \
         path AS (\
             SELECT CASE WHEN entry = '\"$user\"' THEN current_user WHEN entry LIKE '\"%' THEN btrim(entry, '\"') \
                 ELSE lower(entry) END AS nspname \
             FROM unnest(string_to_array(current_setting('search_path'), ',')) AS part, btrim(part) AS entry\
         ) "
    )
}

const VERSION: &str = "\
    SELECT format('PostgreSQL is %s: it must be 15 or newer', current_setting('server_version')) \
    WHERE current_setting('server_version_num')::int < 150000";

const ENCODING: &str = "\
    SELECT format('its encoding is %s, which does not hold every text: make it anew, by CREATE DATABASE … \
        ENCODING ''UTF8'' TEMPLATE template0', current_setting('server_encoding')) \
    WHERE current_setting('server_encoding') <> 'UTF8'";

/// Other encodings are converted.
const SOURCE_ENCODING: &str = "\
    SELECT 'its encoding is SQL_ASCII, so nobody knows what its texts are: restore a dump of it into a database with the \
        encoding that they have' \
    WHERE current_setting('server_encoding') = 'SQL_ASCII'";

const WRITABLE: &str = "\
    SELECT CASE WHEN pg_is_in_recovery() THEN 'it is a standby: name the primary' \
        ELSE format('default_transaction_read_only is on for %s: ALTER ROLE, ALTER DATABASE or ALTER SYSTEM … RESET \
            default_transaction_read_only, wherever it was set', quote_ident(current_user)) END \
    WHERE pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean";

/// PostgreSQL skips a schema that the role may not use; the next one with a book would be taken for the book.
const USAGE: &str = "\
    SELECT format('it is in schema %I, which %I may not use: GRANT USAGE ON SCHEMA %1$I TO %2$I', nspname, current_user) \
    FROM homes WHERE NOT usable AND (nspname IN (SELECT nspname FROM path) OR NOT EXISTS (SELECT FROM home))";

const SEARCH_PATH: &str = "\
    SELECT format('it is in schema %I, but the search_path of %I is %s: ALTER ROLE %2$I IN DATABASE %I SET search_path = %1$I', \
        nspname, current_user, current_setting('search_path'), current_database()) \
    FROM homes WHERE nspname NOT IN (SELECT nspname FROM path) AND NOT EXISTS (SELECT FROM home)";

const USAGE_OF_BOOK: &str = "\
    SELECT format('it has a book in schema %I, which %I may not use: GRANT USAGE ON SCHEMA %1$I TO %2$I', nspname, current_user) \
    FROM pg_namespace JOIN path USING (nspname) \
    WHERE nspname LIKE 'book\\_%' AND EXISTS (SELECT FROM home) AND NOT has_schema_privilege(oid, 'USAGE')";

const ONE_SCHEMA: &str = "\
    SELECT format('%s is found first, but the book is in schema %s: put that first in the search_path of %I, which is %s', \
        seen.full_name, home.oid::regnamespace, current_user, current_setting('search_path')) \
    FROM seen, home WHERE seen.relnamespace <> home.oid";

const PRESENT: &str = "\
    SELECT format('it has no table %s: run `billing migrate` as the owner of the schema', string_agg(names.name, ', ')) \
    FROM names WHERE to_regclass(names.name) IS NULL AND (EXISTS (SELECT FROM home) OR NOT EXISTS (SELECT FROM homes)) \
    HAVING count(*) > 0";

const RIGHTS: &str = "\
    SELECT format('%I lacks a right on %s: GRANT %s ON %2$s TO %1$I', current_user, full_name, \
        string_agg(DISTINCT CASE WHEN attname IS NULL THEN privilege ELSE privilege || ' (' || attname || ')' END, ', ')) \
    FROM wanted JOIN seen ON seen.relname = wanted.name \
    LEFT JOIN pg_attribute a ON a.attrelid = seen.oid AND a.attname = ANY(wanted.columns) \
    WHERE CASE WHEN cardinality(columns) = 0 THEN NOT has_table_privilege(seen.oid, privilege) \
        ELSE NOT has_column_privilege(seen.oid, a.attnum, privilege) END \
    GROUP BY full_name";

const COMMIT_PROOF: &str = "\
    SELECT format('%I may not prove that commits are possible: GRANT EXECUTE ON FUNCTION %s TO %1$I', \
        current_user, oid::regprocedure) \
    FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype \
        AND NOT has_function_privilege(oid, 'EXECUTE')";

/// Rows that row-level security hides seem not to exist: an answer that was given, for example.
const ALL_ROWS: &str = "\
    SELECT format('row-level security hides rows of %s from %I: ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY, or ALTER ROLE \
        %2$I BYPASSRLS', full_name, current_user) \
    FROM seen WHERE row_security_active(oid)";

const LOGGED: &str = "\
    SELECT format('%s is empty after a crash, since it is unlogged: ALTER TABLE %1$s SET LOGGED', full_name) \
    FROM seen WHERE relpersistence <> 'p'";

const TRIGGERS: &str = "\
    SELECT format('the trigger %s does not guard %s: ALTER TABLE %2$s ENABLE ALWAYS TRIGGER %1$s', trigger, full_name) \
    FROM seen, concat(relname, '_append_only') AS trigger \
    WHERE relname IN ('ledger_entries', 'payments') \
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = seen.oid AND tgname = trigger AND tgenabled = 'A')";

/// The unique indexes decide between concurrent writers.
const INDEXES: &str = "\
    SELECT format('%s has no valid unique index %s: restore it as the migrations make it', full_name, index) \
    FROM seen, LATERAL (SELECT relname || '_pkey' UNION ALL \
        SELECT 'ledger_entries_idempotency_key_unique' WHERE relname = 'ledger_entries') AS i(index) \
    WHERE left(relname, 2) <> '__' AND NOT EXISTS (\
        SELECT FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid \
        WHERE x.indrelid = seen.oid AND c.relname = index AND x.indisunique AND x.indisvalid AND x.indisready)";

const NO_OTHER_BOOK: &str = "\
    SELECT format('there is a book in schema %I, and the search_path of %I (%s) would make a second one in %s: ALTER ROLE %2$I IN \
        DATABASE %I SET search_path = %1$I%s', nspname, current_user, current_setting('search_path'), \
        coalesce(quote_ident(current_schema()), 'no schema'), current_database(), \
        CASE WHEN usable THEN '' ELSE format(', and GRANT USAGE ON SCHEMA %I TO %I', nspname, current_user) END) \
    FROM homes WHERE NOT EXISTS (SELECT FROM homes WHERE nspname = current_schema())";

const CREATE: &str = "\
    SELECT format('no schema of the search_path of %I (%s) is there and may be used', current_user, current_setting('search_path')) \
    WHERE current_schema() IS NULL \
    UNION ALL \
    SELECT format('%I may make nothing in schema %I: GRANT CREATE ON SCHEMA %2$I TO %1$I', current_user, current_schema()) \
    WHERE NOT has_schema_privilege(current_schema(), 'CREATE')";

const NO_FOREIGN_TABLES: &str = "\
    SELECT format('%s is there already, and not part of a book: use an empty database', full_name) \
    FROM seen WHERE NOT EXISTS (SELECT FROM home) AND NOT EXISTS (SELECT FROM homes) \
        AND relnamespace::regnamespace::text = quote_ident(current_schema())";

const OWNER: &str = "\
    SELECT format('%s has another owner than %I: migrate as %I', full_name, current_user, relowner::regrole) \
    FROM seen JOIN pg_class USING (oid) JOIN home ON home.oid = seen.relnamespace WHERE NOT pg_has_role(relowner, 'USAGE')";
