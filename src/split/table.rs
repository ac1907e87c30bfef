//! The tables of a ledger, as they are copied.

use tokio_postgres::{Client, Error};

/// A table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    /// Whether rows change after they were written.
    pub(super) changes: bool,
    /// Whether it stands once, beside the books.
    pub(super) is_global: bool,
    /// What is summed up to compare it.
    sum: &'static str,
}

pub(super) const ACCOUNTS: Table = Table {
    name: "accounts",
    key: "account_id",
    changes: true,
    is_global: false,
    sum: "posted_micro_usd::numeric * 3 + held_micro_usd + last_sequence",
};
pub(super) const ENTRIES: Table = Table {
    name: "ledger_entries",
    key: "account_id, sequence",
    changes: false,
    is_global: false,
    sum: "posted_after::numeric * 3 + amount_micro_usd + sequence",
};
pub(super) const RESERVATIONS: Table = Table {
    name: "reservations",
    key: "account_id, reservation_id",
    changes: true,
    is_global: false,
    sum: "amount_micro_usd::numeric * 3 + captured_micro_usd + state",
};
pub(super) const GRANTS: Table = Table {
    name: "grants",
    key: "account_id, sequence",
    changes: true,
    is_global: false,
    sum: "remaining_micro_usd::numeric * 3 + pinned_micro_usd + lapsed_micro_usd",
};
/// What nobody changes, with the time when it was written.
pub(super) const ANSWERS: [Table; 3] = [
    Table {
        name: "refusals",
        key: "account_id, idempotency_key",
        changes: false,
        is_global: false,
        sum: "1",
    },
    Table {
        name: "external_replays",
        key: "account_id, idempotency_key",
        changes: false,
        is_global: false,
        sum: "sequence",
    },
    Table { name: "imported_accounts", key: "account_id", changes: true, is_global: false, sum: "rows" },
];
pub(super) const PAYMENTS: Table =
    Table { name: "payments", key: "external_id", changes: false, is_global: true, sum: "sequence" };

impl Table {
    pub(super) const ALL: [Self; 8] =
        [ACCOUNTS, ENTRIES, RESERVATIONS, GRANTS, ANSWERS[0], ANSWERS[1], ANSWERS[2], PAYMENTS];

    /// Whether its rows tell when they were written.
    pub(super) fn has_time(&self) -> bool {
        ["refusals", "external_replays"].contains(&self.name)
    }

    /// The statement that takes over rows from the table in which they were staged.
    pub(super) fn take_over(&self, columns: &str) -> String {
        let Self { name, key, .. } = self;
        let on_conflict = if self.changes {
            let set = columns.split(", ").map(|column| format!("{column} = excluded.{column}"));
            format!("DO UPDATE SET {}", set.collect::<Vec<_>>().join(", "))
        } else {
            "DO NOTHING".to_owned()
        };
        format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM staged_{name} ON CONFLICT ({key}) {on_conflict}"
        )
    }
}

/// The columns of a table that are written, quoted where that is needed.
pub(super) async fn columns(client: &Client, table: Table) -> Result<String, Error> {
    let text = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
                WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
    client.query_one(text, &[&table.name]).await?.try_get(0)
}

/// How many rows a table has, and what is summed up of them.
pub(super) async fn figures(client: &Client, table: Table) -> Result<(i64, i128), Error> {
    let text = format!("SELECT count(*), coalesce(sum({}), 0)::text FROM {}", table.sum, table.name);
    let row = client.query_one(&text, &[]).await?;
    let sum: String = row.try_get(1)?;
    Ok((row.try_get(0)?, sum.parse().unwrap_or(i128::MIN))) // sums of integers
}
