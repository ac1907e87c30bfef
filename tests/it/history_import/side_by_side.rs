//! What an import must have done, in SQL: the book's tables are copied beside the old ones, and every query counts what must
//! never be. Knows nothing of the importer but what its documentation says.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::{command::audit, old_coordinator::OldCoordinator};
use crate::support::{TestBook, book::number};

/// What earlier imports had written when they had ended, so that a later one can be held to it. `run` is the number of the import.
const EARLIER: &str = "
    CREATE SCHEMA IF NOT EXISTS earlier;
    CREATE TABLE IF NOT EXISTS earlier.rows (id BIGINT PRIMARY KEY, run INT NOT NULL);
    CREATE TABLE IF NOT EXISTS earlier.claims (
        external_id TEXT PRIMARY KEY, account_id TEXT, sequence BIGINT
    )";

/// Where the book is, for the old database.
fn foreign_tables(database: &str) -> String {
    format!(
        "
        CREATE EXTENSION IF NOT EXISTS postgres_fdw;
        DROP SERVER IF EXISTS book CASCADE;
        DO $$ BEGIN EXECUTE format(
            'CREATE SERVER book FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, fetch_size ''10000'')',
            current_setting('unix_socket_directories'), current_setting('port'), '{database}'
        );
        EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER book OPTIONS (user %L)', current_user); END $$;
        DROP SCHEMA IF EXISTS book CASCADE;
        CREATE SCHEMA book;
        CREATE FOREIGN TABLE book.ledger_entries (
            account_id TEXT, sequence BIGINT, entry_type SMALLINT, amount_micro_usd BIGINT, held_delta_micro_usd BIGINT,
            posted_after BIGINT, held_after BIGINT, create_time TIMESTAMPTZ, refunded_sequence BIGINT, idempotency_key TEXT,
            fingerprint BYTEA, external_ids TEXT[], reference TEXT, metadata JSONB, actor TEXT, reason TEXT, reservation_id TEXT,
            caller TEXT, effective_time TIMESTAMPTZ, account_state SMALLINT, withdrawable_delta_micro_usd BIGINT
        ) SERVER book OPTIONS (schema_name 'public');
        CREATE FOREIGN TABLE book.foreign_accounts (
            account_id TEXT, posted_micro_usd BIGINT, held_micro_usd BIGINT, last_sequence BIGINT, create_time TIMESTAMPTZ,
            update_time TIMESTAMPTZ
        ) SERVER book OPTIONS (schema_name 'public', table_name 'accounts');
        CREATE FOREIGN TABLE book.payments (
            external_id TEXT, account_id TEXT, sequence BIGINT
        ) SERVER book OPTIONS (schema_name 'public');
        CREATE FOREIGN TABLE book.imported_accounts (
            account_id TEXT, rows BIGINT, amount_micro_usd NUMERIC, adjustment_micro_usd NUMERIC, withdrawable_micro_usd BIGINT
        ) SERVER book OPTIONS (schema_name 'public')"
    )
}

/// What the book has: the history, and apart from it what the service has written itself. A time in metadata is written as in RFC 3339, with the years before the first one below zero; one that has no
/// such form in microseconds, up to the ends of time.
const BOOK: &str = "
    CREATE FUNCTION book.parse_time(text TEXT) RETURNS TIMESTAMPTZ LANGUAGE sql RETURN CASE
        WHEN text = '9223372036854775807 microseconds after 1970' THEN 'infinity'
        WHEN text = '-9222425352054775808 microseconds after 1970' THEN '-infinity'
        WHEN text LIKE '% microseconds after 1970'
            THEN '1970-01-01Z'::timestamptz + split_part(text, ' ', 1)::bigint / 86400000000 * interval '1 day'
                 + split_part(text, ' ', 1)::bigint % 86400000000 * interval '1 microsecond'
        WHEN text LIKE '-%' THEN (lpad((substr(text, 2, 6)::int + 1)::text, 4, '0') || substr(text, 8) || ' BC')::timestamptz
        ELSE text::timestamptz END;
    CREATE TABLE book.entries AS
    SELECT e.account_id, sequence, entry_type, amount_micro_usd AS amount, posted_after, create_time, time_before,
        external_ids[1] AS external_id, coalesce(withdrawable_delta_micro_usd, 0) AS withdrawable_delta,
        reference, actor, reason, metadata, (metadata->>'imported_id')::bigint AS id,
        metadata->>'imported_entry_type' AS old_type, (metadata->>'imported_balance_after')::bigint AS old_balance_after,
        book.parse_time(metadata->>'imported_create_time') AS old_time, metadata->>'imported_adjustment' AS adjustment,
        num_nonnulls(fingerprint, refunded_sequence, reservation_id, caller, effective_time, account_state) = 0
            AND held_delta_micro_usd = 0 AND coalesce(cardinality(external_ids), 1) = 1 AS is_history
    FROM (
        SELECT *, lag(create_time) OVER (PARTITION BY account_id ORDER BY sequence) AS time_before FROM book.ledger_entries
    ) e WHERE idempotency_key IS NULL;
    CREATE TABLE book.own AS
    SELECT account_id, sequence, entry_type, external_ids, amount_micro_usd AS amount FROM book.ledger_entries
    WHERE idempotency_key IS NOT NULL;
    CREATE TABLE book.accounts AS
    SELECT account_id, a.posted_micro_usd - coalesce(o.amount, 0) AS posted FROM book.foreign_accounts a LEFT JOIN (
        SELECT account_id, sum(amount) AS amount FROM book.own GROUP BY 1
    ) o USING (account_id)
    WHERE o.account_id IS NULL OR EXISTS (SELECT FROM book.entries e WHERE e.account_id = a.account_id);
    CREATE TABLE book.claims AS
    SELECT * FROM book.payments c WHERE NOT EXISTS (
        SELECT FROM book.own o WHERE (o.account_id, o.sequence) = (c.account_id, c.sequence)
    );
    CREATE TABLE book.imported AS SELECT * FROM book.imported_accounts";

/// What it should have: each row of an account that can be named, as an entry.
const EXPECTED: &str = "
    CREATE TABLE book.left_out AS
    SELECT account_id FROM ledger_entries WHERE num_nulls(account_id, entry_type, amount_micro_usd, created_at) > 0
    UNION SELECT account_id FROM ledger_entries WHERE account_id COLLATE \"C\" !~ '^[!-~]{1,128}$'
    UNION SELECT account_id FROM balances WHERE account_id COLLATE \"C\" !~ '^[!-~]{1,128}$';
    CREATE TABLE book.expected AS
    SELECT r.id, r.account_id, r.entry_type AS old_type, r.amount_micro_usd AS amount, r.balance_after,
        coalesce(r.reference, '') AS reference, r.created_at, earlier.run,
        CASE WHEN r.entry_type = 'stripe_deposit' AND session COLLATE \"C\" ~ '^[!-~]{1,255}$'
                  AND lower(session) NOT IN ('stripe', 'deposit', 'stripe_deposit') THEN session END AS external_id,
        CASE WHEN r.entry_type = 'stripe_deposit' THEN 1
             WHEN r.entry_type = 'deposit' THEN 2
             WHEN r.entry_type IN ('payout', 'platform_fee', 'provider_floor_draw') THEN 3
             WHEN r.entry_type = 'referral_reward' THEN 4
             WHEN r.entry_type = 'invite_credit' THEN 5
             WHEN r.entry_type = 'charge' THEN 6
             WHEN r.entry_type = 'refund' THEN 7
             WHEN r.entry_type IN ('admin_credit', 'admin_reward') THEN 8
             WHEN r.amount_micro_usd < 0 THEN 6
             ELSE 2 END::smallint AS entry_type
    FROM ledger_entries r
    CROSS JOIN LATERAL regexp_replace(r.reference, '^stripe:', '') AS s(session)
    LEFT JOIN earlier.rows earlier USING (id)
    WHERE r.account_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM book.left_out l WHERE l.account_id = r.account_id);
    CREATE TABLE book.places AS
    SELECT DISTINCT ON (account_id) account_id, created_at, id FROM book.expected WHERE run IS NOT NULL
    ORDER BY account_id, created_at DESC, id DESC;
    CREATE TABLE book.expected_claims AS
    SELECT external_id, account_id, sequence FROM earlier.claims
    UNION ALL SELECT x.external_id, x.account_id, e.sequence FROM (
        SELECT DISTINCT ON (external_id) external_id, account_id, id FROM book.expected WHERE external_id IS NOT NULL
        ORDER BY external_id, created_at, id
    ) x LEFT JOIN book.entries e USING (id)
    WHERE NOT EXISTS (SELECT FROM earlier.claims c WHERE c.external_id = x.external_id)
      AND NOT EXISTS (SELECT FROM book.own o WHERE x.external_id = ANY(o.external_ids));
    CREATE TABLE book.expected_accounts AS
    SELECT * FROM (
        SELECT account_id, coalesce(b.balance_micro_usd, 0) AS balance, b.withdrawable_micro_usd AS withdrawable,
            coalesce(x.rows, 0) AS rows, coalesce(x.amount, 0) AS amount
        FROM balances b FULL JOIN (
            SELECT account_id, count(*) AS rows, sum(amount) AS amount FROM book.expected GROUP BY 1
        ) x USING (account_id)
    ) a
    WHERE (a.rows > 0 OR a.balance <> 0) AND NOT EXISTS (SELECT FROM book.left_out l WHERE l.account_id = a.account_id);
    ANALYZE";

/// What must never be after an import, and a query that counts it.
const NEVER: &[(&str, &str)] = &[
    (
        "a row that was imported otherwise than once, or an entry of no row",
        "SELECT count(*) FROM book.expected x FULL JOIN (
             SELECT id, count(*) AS times FROM book.entries WHERE adjustment IS NULL GROUP BY id
         ) e USING (id) WHERE x.account_id IS NULL OR e.times IS DISTINCT FROM 1",
    ),
    (
        "an entry that is not what its row was",
        "SELECT count(*) FROM book.expected x JOIN book.entries e USING (id)
         WHERE (e.account_id, e.entry_type, e.amount, e.reference, e.external_id, e.actor, e.reason, e.is_history)
               IS DISTINCT FROM (x.account_id, x.entry_type, x.amount, x.reference, x.external_id, NULL, NULL, true)",
    ),
    (
        "an old type that is lost, or kept though it is ours",
        "SELECT count(*) FROM book.expected x JOIN book.entries e USING (id)
         CROSS JOIN LATERAL (SELECT (ARRAY['stripe_deposit', 'deposit', 'earning', 'referral_reward', 'invite_credit',
             'charge', 'refund', 'admin_credit'])[e.entry_type]) AS n(name)
         WHERE coalesce(e.old_type, n.name) IS DISTINCT FROM x.old_type OR e.old_type = n.name",
    ),
    (
        "an old type of an account with another count or sum",
        "SELECT count(*) FROM (
             SELECT account_id, old_type, count(*) AS rows, sum(amount) AS amount FROM book.expected GROUP BY 1, 2
         ) x FULL JOIN (
             SELECT account_id, coalesce(old_type, (ARRAY['stripe_deposit', 'deposit', 'earning', 'referral_reward',
                 'invite_credit', 'charge', 'refund', 'admin_credit'])[entry_type]) AS old_type,
                 count(*) AS rows, sum(amount) AS amount
             FROM book.entries WHERE adjustment IS NULL GROUP BY 1, 2
         ) e USING (account_id, old_type) WHERE (x.rows, x.amount) IS DISTINCT FROM (e.rows, e.amount)",
    ),
    (
        "an old balance that is lost, or kept though it is ours",
        "SELECT count(*) FROM book.expected x JOIN book.entries e USING (id)
         WHERE coalesce(e.old_balance_after, e.posted_after) <> x.balance_after OR e.old_balance_after = e.posted_after",
    ),
    (
        "an old time that is lost, or kept though it is ours",
        "SELECT count(*) FROM book.expected x JOIN book.entries e USING (id)
         WHERE coalesce(e.old_time, e.create_time) IS DISTINCT FROM x.created_at OR e.old_time = e.create_time",
    ),
    (
        "an entry at another time than that of its row, without need",
        "SELECT count(*) FROM book.expected x JOIN book.entries e USING (id)
         CROSS JOIN LATERAL greatest(e.time_before, '1970-01-01Z') AS t(least)
         WHERE CASE WHEN x.created_at <= now() THEN e.create_time <> greatest(x.created_at, t.least)
                    ELSE e.create_time NOT BETWEEN t.least AND now() END",
    ),
    (
        // Late are the rows before the place that earlier imports had come to.
        "entries that are not in the order of their rows",
        "SELECT count(*) FROM (
             SELECT (x.created_at, x.id) < lag((x.created_at, x.id)) OVER (
                 PARTITION BY x.account_id, coalesce((x.created_at, x.id) < (p.created_at, p.id), false) ORDER BY e.sequence
             )
             FROM book.expected x JOIN book.entries e USING (id) LEFT JOIN book.places p ON p.account_id = x.account_id
             WHERE x.run IS NULL
         ) AS t(is_inverted) WHERE is_inverted",
    ),
    (
        "an account that is missing, has no reason, or has another balance than it had",
        "SELECT count(*) FROM book.expected_accounts x FULL JOIN book.accounts a USING (account_id)
         WHERE x.balance IS DISTINCT FROM a.posted",
    ),
    (
        "an adjustment that does not say what it is",
        "SELECT count(*) FROM book.entries WHERE adjustment IS NOT NULL AND (
             entry_type <> 8 OR actor <> 'billing import' OR coalesce(reason, '') !~ '[0-9]' OR NOT is_history
             OR adjustment NOT IN ('balance', 'overflow', 'withdrawable') OR (amount = 0) <> (adjustment = 'withdrawable') OR reference <> '' OR external_id IS NOT NULL
             OR metadata <> jsonb_build_object('imported_adjustment', adjustment)
         ) IS NOT FALSE",
    ),
    (
        "an account of which other than the old system let leave may leave, as far as its balance goes",
        "SELECT count(*) FROM book.expected_accounts x JOIN (
             SELECT account_id, sum(withdrawable_delta) AS withdrawable FROM book.entries GROUP BY 1
         ) e USING (account_id)
         WHERE NOT EXISTS (SELECT FROM book.own o WHERE o.account_id = x.account_id)
           AND e.withdrawable <> greatest(0, least(coalesce(x.withdrawable, 0), x.balance))",
    ),
    (
        "a balance that was adjusted though it is what its rows come to",
        "SELECT count(*) FROM (
             SELECT account_id, sum(amount) FILTER (WHERE adjustment IS DISTINCT FROM 'balance') AS amount,
                    bool_or(adjustment = 'balance') AS is_adjusted
             FROM book.entries GROUP BY 1
         ) e JOIN book.expected_accounts x USING (account_id)
         WHERE is_adjusted AND e.amount = x.balance
               AND NOT EXISTS (SELECT FROM earlier.entries o WHERE o.account_id = e.account_id)",
    ),
    (
        "a running balance that was brought to zero though the next row fits",
        "SELECT count(*) FROM (
             SELECT adjustment, lead(adjustment) OVER w AS adjustment_after, lead(amount) OVER w AS amount_after, amount,
                    posted_after
             FROM book.entries WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e WHERE adjustment = 'overflow' AND adjustment_after IS NULL AND (
             posted_after <> 0 OR amount_after IS NULL OR sign(amount) = sign(amount_after)
         )",
    ),
    (
        "a payment that is not claimed by the first row that credited it, or by no row at all",
        "SELECT count(*) FROM book.expected_claims x FULL JOIN book.claims c USING (external_id)
         WHERE (x.account_id, x.sequence) IS DISTINCT FROM (c.account_id, c.sequence)",
    ),
    (
        "an account whose import is not told as it was",
        "SELECT count(*) FROM (
             SELECT x.*, greatest(0, least(coalesce(x.withdrawable, 0), x.balance)) AS may_leave,
                    coalesce(e.adjustment, 0) AS adjustment FROM book.expected_accounts x LEFT JOIN (
                 SELECT account_id, sum(amount) AS adjustment FROM book.entries WHERE adjustment IS NOT NULL GROUP BY 1
             ) e USING (account_id)
         ) x FULL JOIN (SELECT *, rows AS told_rows FROM book.imported) i USING (account_id)
         WHERE (x.rows, x.amount, x.adjustment, x.may_leave)
               IS DISTINCT FROM (told_rows, i.amount_micro_usd, i.adjustment_micro_usd, coalesce(i.withdrawable_micro_usd, 0))",
    ),
    (
        "an entry of an earlier import that is changed or lost",
        "SELECT count(*) FROM (SELECT * FROM earlier.entries EXCEPT SELECT * FROM book.entries) AS t",
    ),
];

/// A book beside the old database that was imported into it.
pub struct SideBySide {
    connection: AsyncPgConnection,
}

impl SideBySide {
    /// Copies the book's tables as they are now.
    pub async fn copy(old: &OldCoordinator, book: &TestBook) -> Self {
        let mut connection = old.connect().await;
        let tables = format!("{EARLIER};{};{BOOK}", foreign_tables(book.database()));
        let settings = "SET synchronous_commit = off; SET work_mem = '256MB'; SET client_min_messages = warning; SET TimeZone = 'UTC'; SET jit = off";
        connection.batch_execute(&format!("{settings};{tables}")).await.unwrap();
        let none_earlier = "CREATE TABLE IF NOT EXISTS earlier.entries AS TABLE book.entries WITH NO DATA";
        connection.batch_execute(&format!("{none_earlier};{EXPECTED}")).await.unwrap();
        Self { connection }
    }

    /// What is wrong, by the name of what must never be.
    pub async fn differences(&mut self) -> Vec<(&'static str, i64)> {
        let mut found = Vec::new();
        for (what, count) in NEVER {
            let times = number(&mut self.connection, count).await;
            if times > 0 {
                found.push((*what, times));
            }
        }
        found
    }

    /// Changes the copy.
    pub async fn damage(&mut self, sql: &str) {
        self.connection.batch_execute(sql).await.unwrap();
    }

    /// The one number that a query on both returns.
    pub async fn number(&mut self, sql: &str) -> i64 {
        number(&mut self.connection, sql).await
    }

    /// Holds the next import to what is there now.
    pub async fn remember(&mut self) {
        let sql = "INSERT INTO earlier.rows SELECT id, (SELECT coalesce(max(run), 0) + 1 FROM earlier.rows) FROM book.entries
                   WHERE id IS NOT NULL ON CONFLICT DO NOTHING;
                   INSERT INTO earlier.claims SELECT external_id, account_id, sequence FROM book.claims ON CONFLICT DO NOTHING;
                   DROP TABLE earlier.entries; CREATE TABLE earlier.entries AS TABLE book.entries";
        self.connection.batch_execute(sql).await.unwrap();
    }
}

/// Fails unless the book is what the import of this old database must have made of it: in itself, and beside it. What is there is
/// what the next import must leave as it is.
pub async fn check_import(old: &OldCoordinator, book: &TestBook) {
    book.check().await;
    audit(book).await;
    let mut both = SideBySide::copy(old, book).await;
    assert_eq!(both.differences().await, []);
    both.remember().await;
}
