//! The schema itself: append-only, documented, and made safely.

use std::{fs, process::Command};

use billing::schema;
use diesel::{dsl, sql_types::Text};
use diesel_async::RunQueryDsl;

use crate::support::{
    cluster::cluster,
    process::billing,
    waiting::{ended, printed, run},
    *,
};

async fn lines(book: &TestBook, sql: &str) -> Vec<String> {
    dsl::sql::<Text>(sql).load(&mut book.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_cannot_be_changed_in_psql() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        client.credit(stripe_deposit("ann", "order-1", 5, "cs_1")).await.answered();
        for table in ["ledger_entries", "payments"] {
            for statement in [
                format!("UPDATE {table} SET sequence = sequence"),
                format!("UPDATE {table} SET sequence = 7 WHERE false"),
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
                format!("SET session_replication_role = replica; DELETE FROM {table}"),
            ] {
                let mut psql = Command::new(cluster().bin_dir().join("psql"));
                let psql = run(psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", &book.url, "-c", &statement]));
                assert!(!psql.status.success(), "{statement}");
                let said = String::from_utf8_lossy(&psql.stderr);
                assert!(said.contains("what was written stays written"), "{statement}: {said}");
            }
        }
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 1);
    })
    .await;
}

/// Citus hands on the text of a file as it is, and a node takes one statement. The first one ran before any schema was distributed.
#[tokio::test(flavor = "multi_thread")]
async fn every_later_migration_of_a_book_is_one_statement() {
    let book = TestBook::create_empty().await;
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/book");
    let mut dirs: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let mut several = Vec::new();
    for dir in &dirs {
        let text = fs::read_to_string(dir.join("up.sql")).unwrap();
        let prepared = diesel::sql_query(text).execute(&mut book.connect().await).await;
        if prepared.is_err_and(|error| error.to_string().contains("cannot insert multiple commands")) {
            several.push(dir);
        }
    }
    assert_eq!(several, [&dirs[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_says_what_it_is() {
    let book = TestBook::create().await;
    let silent = lines(
        &book,
        "SELECT c.relname || coalesce('.' || a.attname, '')
         FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE '\\_\\_diesel%'
           AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)",
    )
    .await;
    assert_eq!(silent, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_leads_every_key_but_that_of_payments_and_every_index_but_that_of_turns() {
    let book = TestBook::create().await;
    let others = lines(
        &book,
        "SELECT i.indexrelid::regclass::text FROM pg_index i
         JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
         WHERE a.attname <> 'account_id' AND c.relname NOT LIKE '\\_\\_diesel%' ORDER BY 1",
    )
    .await;
    assert_eq!(others, ["accounts_due", "billing_books_pkey", "payments_pkey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_on_keys_is_unique_and_leaves_history_without_keys_alone() {
    let book = TestBook::create().await;
    let definition = lines(
        &book,
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'ledger_entries_idempotency_key_unique'",
    )
    .await;
    assert_eq!(
        definition,
        ["CREATE UNIQUE INDEX ledger_entries_idempotency_key_unique ON public.ledger_entries \
          USING btree (account_id, idempotency_key) WHERE (idempotency_key IS NOT NULL)"]
    );
}

/// `src/schema/tables.rs` is written by hand, as `diesel print-schema` would write it.
#[tokio::test(flavor = "multi_thread")]
async fn the_tables_that_diesel_reads_are_those_of_the_database() {
    let book = TestBook::create().await;
    let columns = lines(
        &book,
        "SELECT table_name || '.' || column_name || ' -> ' || CASE is_nullable WHEN 'YES' THEN 'Nullable<' ELSE '' END
                || CASE data_type WHEN 'text' THEN 'Text' WHEN 'bigint' THEN 'BigInt' WHEN 'smallint' THEN 'SmallInt'
                       WHEN 'integer' THEN 'Integer' WHEN 'ARRAY' THEN 'Array<Text>' WHEN 'bytea' THEN 'Binary' WHEN 'jsonb' THEN 'Jsonb'
                       WHEN 'timestamp with time zone' THEN 'Timestamptz' ELSE data_type END
                || CASE is_nullable WHEN 'YES' THEN '>' ELSE '' END
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name IN ('ledger_entries', 'refusals', 'external_replays')
         ORDER BY table_name, ordinal_position",
    )
    .await;
    let mut declared = Vec::new();
    let mut table = "";
    for line in include_str!("../../src/schema/tables.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(") {")) {
            table = name;
        } else if let Some(column) = line.strip_suffix(',').filter(|line| line.contains(" -> ")) {
            declared.push(format!("{table}.{column}"));
        }
    }
    declared.sort_by_key(|column| column.split('.').next().unwrap().to_owned()); // stable: columns keep their order
    assert_eq!(declared, columns);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_by_several_at_once_run_once() {
    let book = TestBook::create_empty().await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = book.url.clone();
        running.spawn(async move { printed(billing(&["migrate", "--database-url", &url]).await) });
    }
    let said = running.join_all().await;
    assert_eq!(said.iter().filter(|said| said.contains("Ran: ")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| said.as_str() == "The schema is up to date.\n").count(), 5);
    assert_eq!(schema::pending_migrations(&book.database_url()).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_can_be_taken_down_and_made_again() {
    let book = TestBook::create_empty().await;
    for _ in 0..2 {
        for sql in [
            include_str!("../../migrations/shared/2026-11-24-000001_shared/up.sql"),
            include_str!("../../migrations/book/2026-11-24-000002_book/up.sql"),
            include_str!("../../migrations/book/2026-11-24-000002_book/down.sql"),
            include_str!("../../migrations/shared/2026-11-24-000001_shared/down.sql"),
        ] {
            book.run_sql(sql).await.unwrap();
        }
    }
    let left = "SELECT count(*) FROM pg_type WHERE typnamespace = 'public'::regnamespace"; // of tables and domains
    assert_eq!(book.number(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_refuses_to_start_on_a_schema_that_is_not_up_to_date_and_says_what_to_do() {
    let book = TestBook::create_empty().await;
    let (_, said) = ended(billing(&["serve", "--database-url", &book.url]).await, 1);
    assert!(
        said.contains(
            "run `billing migrate` first (pending: 2026-11-24-000001_shared, 2026-11-24-000002_book)"
        ),
        "{said}"
    );
    assert_eq!(
        book.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'accounts'")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_refuses_entries_that_can_never_be() {
    on_a_book(async |book| {
        let reservation = "reservation_id = 'r1', reservation_state = 1, reservation_held = 0, \
                           reservation_captured = 0, expire_time = now(), expiry_policy = 1";
        let decision = "entry_type = 14, amount_micro_usd = 0, actor = 'ann', reason = 'a dispute'";
        let cases = [
            ("entry_type = 19", "entry_type"),
            ("entry_type = 17", "ledger_entries_facts"),
            ("entry_type = 17, source_account_id = 'ann', source_sequence = 1", "ledger_entries_facts"),
            ("source_account_id = 'bob', source_sequence = 1", "ledger_entries_facts"),
            ("entry_type = 3, source_account_id = 'bob'", "ledger_entries_facts"),
            ("legs = '[]'", "ledger_entries_facts"),
            ("entry_type = 6, amount_micro_usd = -5, legs = '[]'", "ledger_entries_facts"),
            ("entry_type = 6, amount_micro_usd = -5, funded_micro_usd = 5", "ledger_entries_facts"),
            ("legs = '{}'", "legs"),
            ("entry_type = 15", "ledger_entries_signs"),
            ("entry_type = 16, reversed_sequence = 1, sequence = 2", "ledger_entries_signs"),
            ("entry_type = 16, amount_micro_usd = -5", "ledger_entries_facts"),
            ("entry_type = 16, amount_micro_usd = -5, reversed_sequence = 1", "ledger_entries_facts"), // its own
            ("reversed_sequence = 1, sequence = 2", "ledger_entries_facts"),
            ("withdrawable_after = 6", "ledger_entries_facts"),
            ("withdrawable_after = 0", "ledger_entries_facts"),
            ("entry_type = 0", "entry_type"),
            ("entry_type = 6", "ledger_entries_signs"),
            ("amount_micro_usd = 0", "ledger_entries_signs"),
            ("amount_micro_usd = -5", "ledger_entries_signs"),
            ("held_delta_micro_usd = 5", "ledger_entries_signs"),
            ("entry_type = 9", "ledger_entries_facts"),
            (
                &format!("entry_type = 11, amount_micro_usd = 0, held_delta_micro_usd = 1, {reservation}"),
                "ledger_entries_signs",
            ),
            ("held_after = -1", "not_negative"),
            ("entry_type = 1", "ledger_entries_facts"),
            ("entry_type = 7", "ledger_entries_facts"),
            ("entry_type = 8, actor = 'ann'", "ledger_entries_facts"),
            ("entry_type = 9, amount_micro_usd = 0, held_delta_micro_usd = 5", "ledger_entries_facts"),
            ("refunded_sequence = 1", "ledger_entries_facts"),
            (reservation, "ledger_entries_facts"),
            ("entry_type = 7, refunded_sequence = 2", "ledger_entries_refunded_sequence"),
            ("reservation_id = 'r1'", "ledger_entries_facts"),
            ("expire_time = now()", "ledger_entries_reservation"),
            ("close_time = now()", "ledger_entries_reservation"),
            ("sequence = 0", "sequence"),
            ("idempotency_key = 'a b'", "idempotency_key"),
            ("idempotency_key = repeat('k',271)", "idempotency_key"),
            ("fingerprint = NULL", "ledger_entries_key_has_fingerprint"),
            ("external_ids = '{}'", "ledger_entries_facts"),
            ("external_ids = '{a,b,c,d,e}'", "ledger_entries_facts"),
            ("uncollected_micro_usd = 5", "ledger_entries_facts"),
            ("uncollected_micro_usd = -1", "not_negative"),
            ("entry_type = 6, amount_micro_usd = 0", "ledger_entries_signs"),
            ("entry_type = 6, amount_micro_usd = 1, uncollected_micro_usd = 5", "ledger_entries_signs"),
            ("account_state = 2", "ledger_entries_facts"),
            ("debt_limit_micro_usd = 5", "ledger_entries_facts"),
            (decision, "ledger_entries_facts"),
            (&format!("{decision}, account_state = 4"), "account_state"),
            (&format!("{decision}, account_state = 2, held_delta_micro_usd = 5"), "ledger_entries_signs"),
            (&format!("{decision}, account_state = 2, debt_limit_micro_usd = -1"), "not_negative"),
            (&format!("{decision}, account_state = 2, actor = NULL"), "ledger_entries_facts"),
            (&reservation.replace("expiry_policy = 1", "expiry_policy = 3"), "expiry_policy"),
            (
                &format!(
                    "entry_type = 9, amount_micro_usd = 0, {}",
                    reservation.replace(", expiry_policy = 1", "")
                ),
                "ledger_entries_reservation",
            ),
            ("metadata = '[]'", "notes"),
        ];
        for (change, constraint) in cases {
            let refused = insert_entry(book, change).await.unwrap_err().to_string();
            // Where several are broken, PostgreSQL names the first by name.
            let breaks = |name: &str| refused.contains(&format!("\"{name}\""));
            assert!(breaks(constraint), "{change}: {refused}");
        }
        insert_entry(book, "metadata = '{}'").await.unwrap();
        book.run_sql(
            "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence) VALUES ('ann', 5, 1)",
        )
        .await
        .unwrap();
    })
    .await;
}

/// Inserts a good deposit with some columns changed.
async fn insert_entry(book: &TestBook, change: &str) -> diesel::QueryResult<()> {
    let mut columns: Vec<(&str, &str)> = vec![
        ("account_id", "'ann'"),
        ("sequence", "1"),
        ("entry_type", "2"),
        ("amount_micro_usd", "5"),
        ("held_delta_micro_usd", "0"),
        ("posted_after", "5"),
        ("held_after", "0"),
        ("create_time", "'2026-01-01'"),
        ("idempotency_key", "'order-1'"),
        ("fingerprint", "''"),
    ];
    for (name, value) in change.split(", ").filter_map(|change| change.split_once(" = ")) {
        columns.retain(|(column, _)| *column != name);
        columns.push((name, value));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO ledger_entries ({}) VALUES ({})", names.join(", "), values.join(", "));
    book.run_sql(&sql).await
}
