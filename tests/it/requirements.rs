//! What is wrong with a database is named before anything is made, served or read in it.

use diesel::{dsl, sql_types::Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{
    preflight::source::empty_source,
    support::{
        process::Process,
        waiting::{printed, run},
        *,
    },
};

const UP: &str = concat!(
    include_str!("../../migrations/shared/2026-11-24-000001_shared/up.sql"),
    include_str!("../../migrations/book/2026-11-24-000002_book/up.sql")
);
const SERVICE_ROLE: &str = include_str!("../../deploy/postgres/service-role.sql");
const AUDITOR_ROLE: &str = include_str!("../../deploy/postgres/auditor-role.sql");

/// What a command says that fails, on a database.
fn refusal(args: &[&str], url: &str) -> String {
    refusal_of(&[args, &["--database-url", url]].concat())
}

fn refusal_of(args: &[&str]) -> String {
    let output = run(Process::command().args(args));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{args:?} succeeded: {said}");
    said
}

fn refusal_to_serve(url: &str) -> String {
    match Process::try_serve(&["--database-url", url]) {
        Ok(_) => panic!("it serves"),
        Err(said) => said.join("\n"),
    }
}

#[track_caller]
fn assert_names(said: &str, names: &[&str]) {
    for name in names {
        assert!(said.contains(name), "no {name} in:\n{said}");
    }
}

/// The same book with another schema to look in first.
fn with_search_path(url: &str, path: &str) -> String {
    format!("{url}&options=-csearch_path%3D{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_hold_every_text_is_refused_by_every_command() {
    let admin = TestBook::create_empty().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", admin.database(), encoding.to_lowercase());
        let create = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        admin.run_sql(&create).await.unwrap();
        let url = admin.url.replace(&format!("/{}?", admin.database()), &format!("/{name}?"));
        assert_names(&refusal(&["migrate"], &url), &[encoding, "UTF8"]);

        // As an earlier version would have made it.
        let mut session = AsyncPgConnection::establish(&url).await.unwrap();
        let record = "CREATE TABLE __diesel_schema_migrations (version text); \
                      INSERT INTO __diesel_schema_migrations VALUES ('20261124000001'), ('20261124000002'); \
                      INSERT INTO billing_books VALUES (true, 1, 'sha256');";
        session.batch_execute(&format!("{UP}; {record}")).await.unwrap();
        for args in [&["audit"][..], &["export", "--format", "csv"], &["import", "--source", &url]] {
            assert_names(&refusal(args, &url), &[encoding, "UTF8"]);
        }
        assert_names(&refusal_to_serve(&url), &[encoding, "UTF8"]);
    }
}

/// What a role may do, as it was granted: the privilege, on what, and on which columns if not on all.
async fn rights(book: &TestBook, role: &str) -> Vec<(String, String, String)> {
    let sql = format!(
        "SELECT privilege_type::text, table_name::text, ''
         FROM information_schema.role_table_grants WHERE grantee = '{role}'
         UNION ALL
         SELECT privilege_type, table_name, '(' || column_name || ')'
         FROM information_schema.role_column_grants c WHERE grantee = '{role}' AND NOT EXISTS (
             SELECT FROM information_schema.role_table_grants t
             WHERE t.grantee = c.grantee AND t.table_name = c.table_name AND t.privilege_type = c.privilege_type)"
    );
    dsl::sql::<(Text, Text, Text)>(&sql).load(&mut book.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_the_service_lacks_is_named() {
    let book = TestBook::create().await;
    let (role, url) = book.create_role(SERVICE_ROLE).await;
    let rights = rights(&book, &role).await;
    assert!(rights.len() > 20, "only {} rights", rights.len());
    for (privilege, object, columns) in &rights {
        book.run_sql(&format!("REVOKE {privilege} {columns} ON {object} FROM {role}")).await.unwrap();
        let column = columns.trim_matches(['(', ')']);
        assert_names(&refusal_to_serve(&url), &[&format!("GRANT {privilege}"), object, column, &role]);
        book.run_sql(&format!("GRANT {privilege} {columns} ON {object} TO {role}")).await.unwrap();
    }
    drop(Process::serve(&["--database-url", &url]));

    book.run_sql(&format!("REVOKE INSERT ON refusals FROM {role}; REVOKE SELECT ON accounts FROM {role}"))
        .await
        .unwrap();
    assert_names(&refusal_to_serve(&url), &["INSERT", "refusals", "SELECT", "accounts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_an_auditor_lacks_is_named() {
    let book = TestBook::create().await;
    let (role, url) = book.create_role(AUDITOR_ROLE).await;
    for (privilege, object, columns) in rights(&book, &role).await {
        book.run_sql(&format!("REVOKE {privilege} {columns} ON {object} FROM {role}")).await.unwrap();
        for args in [&["audit"][..], &["export", "--format", "csv"]] {
            assert_names(&refusal(args, &url), &[&format!("GRANT {privilege}"), &object, &role]);
        }
        book.run_sql(&format!("GRANT {privilege} {columns} ON {object} TO {role}")).await.unwrap();
    }
    printed(run(Process::command().args(["audit", "--database-url", &url])));
}

/// A book that cannot be seen is there all the same: another must not be made beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_book_in_a_schema_that_may_not_be_used_is_not_taken_for_none() {
    let book = TestBook::create().await;
    let (role, url) = book.create_role(SERVICE_ROLE).await;
    book.run_sql(&format!(
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC, {role}; \
         CREATE SCHEMA mine AUTHORIZATION {role}; ALTER ROLE {role} SET search_path = public, mine"
    ))
    .await
    .unwrap();
    assert_names(&refusal_to_serve(&url), &["GRANT USAGE ON SCHEMA public", &role]);
    assert!(!refusal_to_serve(&url).contains("run `billing migrate`"));
    for args in [&["migrate"][..], &["audit"], &["export", "--format", "csv"]] {
        assert_names(&refusal(args, &url), &["schema public", &role]);
    }
    let books = "SELECT count(*) FROM pg_class WHERE relname = 'ledger_entries'";
    assert_eq!(book.number(books).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_in_another_schema_is_found_and_named_and_none_is_made_beside_it() {
    let book = TestBook::create_empty().await;
    book.run_sql("CREATE SCHEMA \"Ledger\"").await.unwrap();
    let inside = with_search_path(&book.url, "%22Ledger%22");
    printed(run(Process::command().args(["migrate", "--database-url", &inside])));

    let names = ["\"Ledger\"", "search_path"];
    for args in [&["migrate"][..], &["audit"], &["export", "--format", "csv"]] {
        assert_names(&refusal(args, &book.url), &names);
    }
    assert_names(&refusal_to_serve(&book.url), &names);
    let both = with_search_path(&book.url, "public,%22Ledger%22");
    assert_names(&refusal(&["migrate"], &both), &names);
    assert_eq!(book.number("SELECT count(*) FROM pg_class WHERE relname = 'ledger_entries'").await, 1);

    // The roles find it by themselves.
    let (role, url) = book.create_role(SERVICE_ROLE).await;
    let service = Process::serve(&["--database-url", &url]);
    service.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
    book.run_sql(&AUDITOR_ROLE.replace("billing_auditor", &role)).await.unwrap();
    printed(run(Process::command().args(["audit", "--database-url", &url])));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_somebody_else_in_front_of_the_book_are_named() {
    let book = TestBook::create().await;
    book.run_sql("CREATE SCHEMA mine; CREATE TABLE mine.accounts (id bigint)").await.unwrap();
    let url = with_search_path(&book.url, "mine,public");
    assert_names(&refusal_to_serve(&url), &["mine.accounts", "public"]);
    assert_names(&refusal(&["audit"], &url), &["mine.accounts", "public"]);

    let foreign = TestBook::create_empty().await;
    foreign.run_sql("CREATE TABLE ledger_entries (id bigint)").await.unwrap();
    assert_names(&refusal(&["migrate"], &foreign.url), &["public.ledger_entries"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_names_what_the_role_may_not_do() {
    let book = TestBook::create_empty().await;
    let (role, url) = book.create_role("SELECT 1").await;
    assert_names(&refusal(&["migrate"], &url), &["GRANT CREATE ON SCHEMA public", &role]);
    book.run_sql(&format!("ALTER ROLE {role} SET search_path = nowhere")).await.unwrap();
    assert_names(&refusal(&["migrate"], &url), &["search_path", "nowhere"]);

    let made = TestBook::create().await;
    let url = made.url_for(&role);
    made.run_sql(&format!("ALTER ROLE {role} RESET search_path; GRANT CREATE ON SCHEMA public TO {role}"))
        .await
        .unwrap();
    assert_names(&refusal(&["migrate"], &url), &["public.accounts", "owner", "billing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_by_default_is_named_before_it_is_migrated() {
    let book = TestBook::create_empty().await;
    let read_only = format!("ALTER DATABASE {} SET default_transaction_read_only = on", book.database());
    book.run_sql(&read_only).await.unwrap();
    assert_names(&refusal(&["migrate"], &book.url), &["default_transaction_read_only"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_or_hide_rows_of_the_book_is_named() {
    let book = TestBook::create().await;
    let (role, url) = book.create_role(SERVICE_ROLE).await;
    for (broken, named, mended) in [
        (
            "ALTER TABLE refusals ENABLE ROW LEVEL SECURITY",
            &["refusals", "row-level security"][..],
            "ALTER TABLE refusals DISABLE ROW LEVEL SECURITY",
        ),
        ("ALTER TABLE accounts SET UNLOGGED", &["accounts", "SET LOGGED"], "ALTER TABLE accounts SET LOGGED"),
        (
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
            &["ledger_entries_append_only", "ENABLE ALWAYS"],
            "ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_append_only",
        ),
        (
            "ALTER INDEX ledger_entries_idempotency_key_unique RENAME TO elsewhere",
            &["ledger_entries_idempotency_key_unique"],
            "ALTER INDEX elsewhere RENAME TO ledger_entries_idempotency_key_unique",
        ),
    ] {
        book.run_sql(broken).await.unwrap();
        assert_names(&refusal_to_serve(&url), named);
        book.run_sql(mended).await.unwrap();
    }
    book.run_sql("ALTER TABLE ledger_entries ENABLE ROW LEVEL SECURITY").await.unwrap();
    book.run_sql(&AUDITOR_ROLE.replace("billing_auditor", &role)).await.unwrap();
    assert_names(&refusal(&["audit"], &url), &["ledger_entries", "row-level security"]);
}

/// The server of the tests has fsync off.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_what_it_has_committed_is_refused_unless_that_is_allowed() {
    let book = TestBook::create().await;
    let serve = |allowed: &str| {
        let mut command = Process::command();
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "off", "--database-url", &book.url]);
        Process::start({
            command.env("BILLING_ALLOW_UNSAFE_DATABASE", allowed);
            command
        })
    };
    let Err(said) = serve("false") else { panic!("it serves") };
    assert_names(&said.join("\n"), &["fsync = off", "--allow-unsafe-database"]);
    assert_names(&serve("true").unwrap().said.join("\n"), &[" WARN ", "fsync = off"]);
}

/// All that is wrong, not just the first.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_named_at_once() {
    let book = TestBook::create().await;
    let (role, url) = book.create_role(SERVICE_ROLE).await;
    book.run_sql(&format!(
        "REVOKE INSERT ON refusals FROM {role}; ALTER TABLE reservations SET UNLOGGED; \
         ALTER TABLE payments DISABLE TRIGGER ALL"
    ))
    .await
    .unwrap();
    assert_names(&refusal_to_serve(&url), &["GRANT INSERT", "SET LOGGED", "payments_append_only"]);
}

/// A list of tables here and there would be forgotten in one of the two.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_may_read_every_table_of_the_book() {
    let book = TestBook::create().await;
    let (role, _) = book.create_role(&format!("{SERVICE_ROLE}; {AUDITOR_ROLE}")).await;
    let unread = format!(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' \
         AND relname <> 'imported_accounts' AND NOT has_table_privilege('{role}', oid, 'SELECT')"
    );
    assert_eq!(book.number(&unread).await, 0);
}

/// A source that cannot be read whole is not taken for an empty one, or for none.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_or_a_book_lacks_is_named_to_whoever_imports() {
    let book = TestBook::create().await;
    let source = empty_source().await;
    let (role, url) = source.create_role("GRANT SELECT ON balances TO billing_service").await;
    let preflight = |url: &str| refusal_of(&["preflight", "--source", url]);
    let import = |url: &str| refusal_of(&["import", "--source", url, "--database-url", &book.url]);
    for refused in [preflight(&url), import(&url)] {
        assert_names(&refused, &["GRANT SELECT ON public.ledger_entries", &role]);
    }
    source
        .run_sql(&format!(
            "GRANT SELECT ON ledger_entries TO {role}; ALTER TABLE ledger_entries ENABLE ROW LEVEL SECURITY"
        ))
        .await
        .unwrap();
    assert_names(&preflight(&url), &["row-level security", "ledger_entries"]);
    source.run_sql("ALTER TABLE ledger_entries DISABLE ROW LEVEL SECURITY; REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        .await
        .unwrap();
    assert_names(&preflight(&url), &["GRANT USAGE ON SCHEMA public", &role]);
    assert_names(&preflight(&with_search_path(&source.url, "elsewhere")), &["schema public", "search_path"]);

    let book_url = book.url_for(&role);
    let refused = refusal_of(&["import", "--source", &source.url, "--database-url", &book_url]);
    assert_names(&refused, &["GRANT INSERT, SELECT", "public.imported_accounts", "public.ledger_entries"]);
}

/// Another `current_setting`, which a session finds first, says what an older server would say.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused_by_every_command() {
    let book = TestBook::create().await;
    let old = "CREATE SCHEMA old;
        CREATE FUNCTION old.current_setting(name text) RETURNS text LANGUAGE sql RETURN CASE name
            WHEN 'server_version_num' THEN '140012' WHEN 'server_version' THEN '14.12'
            ELSE pg_catalog.current_setting(name) END";
    book.run_sql(old).await.unwrap();
    let url = with_search_path(&book.url, "old,pg_catalog,public");
    let problem = ["PostgreSQL is 14.12: it must be 15 or newer"];
    for args in
        [&["migrate"][..], &["audit"], &["export", "--format", "csv"], &["import", "--source", &book.url]]
    {
        assert_names(&refusal(args, &url), &problem);
    }
    assert_names(&refusal_to_serve(&url), &problem);
}
