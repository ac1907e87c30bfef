//! How many books the ledgers of tests have: one, or as many as `BILLING_TEST_BOOKS` says. Tests look at a ledger with several as if
//! it had one: through views in its schema, which lead what is written to the book that it belongs to.

use std::env;

use billing::schema::{self, book_of};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

/// The tables of a book.
pub const TABLES: [&str; 7] = [
    "accounts",
    "ledger_entries",
    "reservations",
    "grants",
    "refusals",
    "external_replays",
    "imported_accounts",
];

/// How many books the ledgers of this run have.
pub fn book_count() -> usize {
    env::var("BILLING_TEST_BOOKS").map_or(1, |count| count.parse().unwrap())
}

/// Makes a ledger with as many books as this run has.
pub async fn migrate(url: &str) {
    migrate_with(url, book_count()).await;
}

/// Makes a ledger with so many books.
pub async fn migrate_with(url: &str, books: usize) {
    schema::migrate(&url.parse().unwrap(), Some(books), false).await.unwrap();
    if books > 1 {
        let mut connection = AsyncPgConnection::establish(url).await.unwrap();
        connection.batch_execute(&views(books)).await.unwrap();
    }
}

/// A name like this of an account in the first book.
pub fn in_first_book(name: &str) -> String {
    let mut name = name.to_owned();
    while book_of(&name, book_count()) != 0 {
        name.push('~');
    }
    name
}

/// The statements that make such views. The hash is written down once more, in SQL.
pub fn views(books: usize) -> String {
    let view = |table: &&str| {
        let books = (0..books).map(|number| format!("SELECT * FROM book_{number:02}.{table}"));
        let books = books.collect::<Vec<_>>().join(" UNION ALL ");
        format!(
            "CREATE VIEW {table} AS {books};
             CREATE TRIGGER into_book INSTEAD OF INSERT OR UPDATE OR DELETE ON {table}
                 FOR EACH ROW EXECUTE FUNCTION into_book();"
        )
    };
    format!(
        "CREATE FUNCTION into_book() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
             id text := CASE TG_OP WHEN 'DELETE' THEN OLD.account_id ELSE NEW.account_id END;
             head bigint := ('x' || left(encode(sha256(convert_to(id, 'UTF8')), 'hex'), 8))::bit(32)::bigint;
             target text := format('book_%s.%I', lpad((head % {books})::text, 2, '0'), TG_TABLE_NAME);
             keys text;
             columns text;
         BEGIN
             SELECT string_agg(format('(t.%1$I)::text = ($1).%1$I::text', a.attname), ' AND ') INTO keys
             FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
             WHERE i.indrelid = target::regclass AND i.indisprimary;
             IF TG_OP <> 'INSERT' THEN
                 IF TG_OP = 'DELETE' THEN
                     EXECUTE format('DELETE FROM %s t WHERE %s', target, keys) USING OLD;
                     RETURN OLD;
                 END IF;
                 SELECT string_agg(quote_ident(n.key), ', ') INTO columns
                 FROM jsonb_each(to_jsonb(NEW)) n WHERE n.value IS DISTINCT FROM to_jsonb(OLD)->n.key;
                 IF columns IS NOT NULL THEN
                     EXECUTE format('UPDATE %1$s t SET (%2$s) = (SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $2)) WHERE %3$s',
                         target, columns, keys) USING OLD, to_jsonb(NEW);
                 END IF;
                 RETURN NEW;
             END IF;
             SELECT string_agg(quote_ident(key), ', ') INTO columns
             FROM jsonb_each(to_jsonb(NEW)) WHERE value <> 'null' AND key <> 'is_open';
             EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)', target, columns)
                 USING to_jsonb(NEW);
             RETURN NEW;
         END
         $$;
         {}",
        TABLES.iter().map(view).collect::<Vec<_>>().join("\n")
    )
}
