//! The database of the system that this one replaces, with a history in it.
//!
//! The history is decided by hashes of its rows' numbers, so it is the same in every run.

use diesel_async::AsyncPgConnection;

use crate::support::TestBook;

/// Its tables. Nothing but the key is constrained: the old system relied on its program for the rest.
const TABLES: &str = "
    CREATE TABLE balances (
        account_id TEXT PRIMARY KEY, balance_micro_usd BIGINT, withdrawable_micro_usd BIGINT, updated_at TIMESTAMPTZ
    );
    CREATE TABLE ledger_entries (
        id BIGSERIAL, account_id TEXT, entry_type TEXT, amount_micro_usd BIGINT, balance_after BIGINT,
        reference TEXT DEFAULT '', created_at TIMESTAMPTZ DEFAULT now()
    )";

/// Made when the rows are there, which is much quicker.
const INDEXES: &str = "
    ALTER TABLE ledger_entries ADD PRIMARY KEY (id);
    CREATE INDEX ledger_entries_account_created ON ledger_entries (account_id, created_at DESC);
    SELECT setval('ledger_entries_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM ledger_entries));
    ANALYZE";

/// A database of its own, with the tables of the old system.
pub struct OldCoordinator {
    pub database: TestBook,
}

impl OldCoordinator {
    /// One with a history of so many rows in which nothing is irregular: a hundred rows of each account, but a fifth of all in
    /// one that is called `hot`.
    pub async fn with_history(rows: i64) -> Self {
        Self::with_history_in(TestBook::create_empty().await, rows).await
    }

    /// The same in an empty database.
    pub async fn with_history_in(database: TestBook, rows: i64) -> Self {
        let fill = [TABLES, &history(rows, (rows / 100).max(1)), BALANCES, INDEXES].join(";");
        let settings =
            "SET synchronous_commit = off; SET work_mem = '512MB'; SET maintenance_work_mem = '512MB'";
        database.run_sql(&format!("{settings};{fill}")).await.unwrap();
        Self { database }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.database.url
    }

    /// A connection.
    pub async fn connect(&self) -> AsyncPgConnection {
        self.database.connect().await
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.database.run_sql(sql).await.unwrap();
    }

    /// Adds a row with ten micro-USD, and a balance that includes it.
    pub async fn deposit(&self, id: i64, account: &str, time: &str) {
        self.run(&format!(
            "INSERT INTO ledger_entries (id, account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
             VALUES ({id}, '{account}', 'deposit', 10, 10, '', '{time}');
             INSERT INTO balances AS b VALUES ('{account}', 10, 0, now())
             ON CONFLICT (account_id) DO UPDATE SET balance_micro_usd = b.balance_micro_usd + 10"
        ))
        .await;
    }

    /// The one number that a query returns.
    pub async fn number(&self, sql: &str) -> i64 {
        self.database.number(sql).await
    }
}

/// Fills the journal.
///
/// * Four rows in a row are mostly of one account, as a reservation and its settlement are.
/// * The first row of each account is a large deposit, so no balance is ever below zero.
/// * A time is that of the transaction's begin: up to 96 ms before its row, which has 16 ms, so it often runs against the ids. A
///   third of the times are rounded, so many are equal.
/// * Ids have gaps, as those of a sequence do.
fn history(rows: i64, accounts: i64) -> String {
    format!(
        "
        CREATE FUNCTION pg_temp.chance(n BIGINT, of_what BIGINT, below BIGINT) RETURNS BIGINT IMMUTABLE LANGUAGE sql
            RETURN (hashint8extended(n, of_what) & 9223372036854775807) % below;
        INSERT INTO ledger_entries (id, account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
        WITH accounts AS (
            SELECT n, pg_temp.chance(n, 1, 1000) AS kind, pg_temp.chance(n, 2, 1000000) AS size,
                CASE WHEN pg_temp.chance(n / 4, 3, 100) < 20 THEN 'hot'
                     WHEN pg_temp.chance(n / 4, 3, 100) < 22 THEN 'platform'
                     ELSE 'account-' || pg_temp.chance(n / 4, 4, {accounts}) END COLLATE \"C\" AS account_id
            FROM generate_series(1, {rows}::bigint) n
        ), types AS (
            SELECT *, n = min(n) OVER (PARTITION BY account_id) AS is_first,
                CASE WHEN n = min(n) OVER (PARTITION BY account_id) THEN 'stripe_deposit'
                     WHEN account_id = 'platform' THEN 'platform_fee'
                     WHEN kind < 490 THEN 'charge'
                     WHEN kind < 860 THEN 'refund'
                     WHEN kind < 930 THEN 'payout'
                     WHEN kind < 955 THEN 'referral_reward'
                     WHEN kind < 967 THEN 'stripe_deposit'
                     WHEN kind < 970 THEN 'deposit'
                     WHEN kind < 975 THEN 'invite_credit'
                     WHEN kind < 980 THEN 'admin_credit'
                     WHEN kind < 983 THEN 'admin_reward'
                     WHEN kind < 988 THEN 'provider_floor_draw'
                     WHEN kind < 992 THEN 'withdrawal'
                     WHEN kind < 994 THEN 'stripe_payout'
                     WHEN kind < 997 THEN 'migration'
                     WHEN kind < 998 THEN 'erasure_forfeit'
                     ELSE 'charge' END AS entry_type
            FROM accounts
        ), amounts AS (
            SELECT *,
                CASE WHEN is_first THEN 1000000000
                     WHEN entry_type = 'charge' THEN -100 - size % 60000
                     WHEN entry_type = 'refund' THEN 50 + size % 40000
                     WHEN entry_type IN ('payout', 'platform_fee', 'referral_reward') THEN 1 + size % 3000
                     WHEN entry_type IN ('stripe_deposit', 'deposit') THEN (5 + size % 196) * 1000000
                     WHEN entry_type IN ('invite_credit', 'admin_credit', 'admin_reward') THEN (1 + size % 20) * 1000000
                     WHEN entry_type = 'withdrawal' THEN -(1 + size % 20) * 1000000
                     WHEN entry_type = 'migration' THEN (size % 2 * 2 - 1) * (1 + size)
                     WHEN entry_type = 'erasure_forfeit' THEN -1 - size
                     ELSE 1 + size END AS amount,
                CASE WHEN entry_type = 'stripe_deposit' THEN 'stripe:cs_live_' || md5(n::text) || left(md5('-' || n), 26)
                     WHEN entry_type = 'charge' AND size % 10 > 0 THEN 'reserve:' || account_id
                     WHEN entry_type = 'charge' THEN 'overage:chatcmpl-' || md5((n / 4)::text)
                     WHEN entry_type = 'refund' AND size % 10 < 5 THEN 'reservation_refund'
                     WHEN entry_type = 'refund' AND size % 10 < 7 THEN 'reservation_refund:chatcmpl-' || md5((n / 4)::text)
                     WHEN entry_type = 'refund' AND size % 10 < 8 THEN 'reservation_extra_refund:' || md5((n / 4)::text)
                     WHEN entry_type = 'invite_credit' THEN 'invite:' || upper(left(md5(n::text), 8))
                     WHEN entry_type IN ('admin_credit', 'admin_reward') AND size % 2 = 0 THEN 'admin_credit'
                     WHEN entry_type IN ('admin_credit', 'admin_reward') THEN 'admin_credit:sorry for the outage, ' || size
                     WHEN entry_type = 'withdrawal' THEN 'stripe_withdraw:' || md5(n::text)
                     WHEN entry_type = 'stripe_payout' THEN 'stripe_withdraw_fee:' || md5(n::text)
                     WHEN entry_type = 'migration' THEN (ARRAY['migrate:out', 'migrate:in'])[1 + size % 2]
                     WHEN entry_type IN ('deposit', 'erasure_forfeit') THEN ''
                     ELSE 'chatcmpl-' || md5((n / 4)::text) END AS reference,
                CASE WHEN pg_temp.chance(n, 5, 3) = 0 THEN (16 * n - pg_temp.chance(n, 6, 96)) / 32 * 32000
                     ELSE (16 * n - pg_temp.chance(n, 6, 96)) * 1000 + size % 1000 END AS micros
            FROM types
        )
        SELECT n + n / 37, account_id, entry_type, amount,
            sum(amount) OVER (PARTITION BY account_id ORDER BY n ROWS UNBOUNDED PRECEDING)::bigint, reference,
            '2025-03-01 00:00:00+00'::timestamptz + micros * interval '1 microsecond'
        FROM amounts ORDER BY n"
    )
}

/// What the history comes to: the balance is the last running sum, and some of it may be withdrawn.
const BALANCES: &str = "
    INSERT INTO balances
    SELECT account_id, sum(amount_micro_usd), sum(amount_micro_usd)::bigint / 7 * (max(id) % 8), max(created_at)
    FROM ledger_entries GROUP BY account_id";

#[tokio::test(flavor = "multi_thread")]
async fn the_history_to_be_imported_is_like_the_one_in_production() {
    let old = OldCoordinator::with_history(20_000).await;
    let share = |what: &str| format!("100 * count(*) FILTER (WHERE {what}) / count(*) FROM ledger_entries");
    for (what, least, most) in [
        ("SELECT count(*) FROM ledger_entries", 20_000, 20_000),
        ("SELECT count(DISTINCT account_id) FROM ledger_entries", 190, 202),
        ("SELECT count(DISTINCT entry_type) FROM ledger_entries", 15, 15),
        (&format!("SELECT {}", share("account_id = 'hot'")), 17, 23),
        (&format!("SELECT {}", share("entry_type IN ('charge', 'refund')")), 80, 90),
        ("SELECT count(*) FROM ledger_entries WHERE balance_after < 0", 0, 0),
        (
            "SELECT count(*) FROM balances
             WHERE withdrawable_micro_usd NOT BETWEEN 0 AND balance_micro_usd OR updated_at > now()",
            0,
            0,
        ),
        (
            "SELECT count(*) FROM (
                 SELECT created_at < lag(created_at) OVER (PARTITION BY account_id ORDER BY id) FROM ledger_entries
             ) AS t(is_inverted) WHERE is_inverted",
            3_000,
            10_000,
        ),
        (
            "SELECT count(*) FROM (
                 SELECT created_at = lag(created_at) OVER (PARTITION BY account_id ORDER BY created_at) FROM ledger_entries
             ) AS t(is_equal) WHERE is_equal",
            500,
            10_000,
        ),
    ] {
        let found = old.number(what).await;
        assert!((least..=most).contains(&found), "{found}: {what}");
    }
}
