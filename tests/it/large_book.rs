//! How long an audit and an export of a large book take, and in how little memory. `make large` does it at the size of a
//! real one.

use std::process::Stdio;

use crate::support::{
    measured::{Measured, run_measured},
    process::Process,
    *,
};

/// No more than this is ever in use, in KiB.
const MEMORY_MAX_KIB: u64 = 44 * 1_024;

/// Fills a book as if so many accounts had gone through so many rounds of six entries: payment, charge, refund, reservation,
/// capture, deposit. In the order in which they would have come: one of each account in turn.
fn fill_sql(accounts: i64, rounds: i64) -> String {
    format!(
        "
        INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
            posted_after, held_after, create_time, refunded_sequence, idempotency_key, fingerprint, external_ids,
            reference, reservation_id, reservation_state, reservation_held, reservation_captured,
            expire_time, close_time, expiry_policy)
        SELECT 'account-' || a, 6 * r + p, (ARRAY[2, 6, 7, 9, 10, 2])[p], (ARRAY[100, -30, 10, 0, -15, 5])[p],
            (ARRAY[0, 0, 0, 20, -20, 0])[p], 70 * r + (ARRAY[100, 70, 80, 80, 65, 70])[p],
            CASE WHEN p = 4 THEN 20 ELSE 0 END, t, CASE WHEN p = 3 THEN 6 * r + 2 END,
            (ARRAY['payment', 'job', 'refund', 'task', 'capture', 'deposit'])[p] || '-' || md5(a || '/' || r),
            '\\x0101000000000000', CASE WHEN p = 1 THEN ARRAY['pay_' || md5(a || '/' || r)] END, 'job ' || r,
            CASE WHEN p IN (4, 5) THEN 'task-' || md5(a || '/' || r) END, CASE p WHEN 4 THEN 1 WHEN 5 THEN 2 END,
            CASE p WHEN 4 THEN 20 WHEN 5 THEN 0 END, CASE p WHEN 4 THEN 0 WHEN 5 THEN 15 END,
            CASE WHEN p IN (4, 5) THEN t + (5 - p) * interval '1 s' + interval '1 h' END,
            CASE WHEN p = 5 THEN t END, CASE WHEN p IN (4, 5) THEN 1 END
        FROM generate_series(0, {rounds} - 1) r, generate_series(1, 6) p, generate_series(1, {accounts}) a,
            LATERAL (SELECT '2026-01-01'::timestamptz + (6 * r + p) * interval '1 s') AS time(t);
        INSERT INTO accounts (account_id, posted_micro_usd, last_sequence, create_time, update_time)
        SELECT 'account-' || a, 70 * {rounds}, 6 * {rounds}, '2026-01-01 00:00:01+00',
            '2026-01-01 00:00:00+00'::timestamptz + 6 * {rounds} * interval '1 s'
        FROM generate_series(1, {accounts}) a;
        INSERT INTO payments SELECT external_ids[1], account_id, sequence FROM ledger_entries
        WHERE external_ids IS NOT NULL;
        INSERT INTO reservations (account_id, reservation_id, state, amount_micro_usd, captured_micro_usd, sequence,
            create_time, expire_time, close_time, close_sequence)
        SELECT o.account_id, o.reservation_id, 2, 0, 15, o.sequence, o.create_time, o.expire_time, c.close_time, c.sequence
        FROM ledger_entries o JOIN ledger_entries c ON c.account_id = o.account_id AND c.sequence = o.sequence + 1
        WHERE o.entry_type = 9;
        ANALYZE"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_book_is_audited_and_exported_in_little_memory() {
    let entries = std::env::var("LARGE_BOOK_ENTRIES").map_or(60_000, |text| text.parse().unwrap());
    for accounts in [1, 10_000] {
        let book = TestBook::create().await;
        book.run_sql("SET synchronous_commit = off").await.unwrap();
        book.run_sql(&fill_sql(accounts, entries / 6 / accounts)).await.unwrap();
        book.run_sql("VACUUM").await.unwrap();
        let total = book.number("SELECT count(*) FROM ledger_entries").await;
        for flags in [
            &["audit"][..],
            &["export", "--format", "csv"],
            &["export", "--format", "jsonl"],
            &["export", "--format", "hledger"],
        ] {
            let mut command = Process::command();
            command.args(flags).args(["--database-url", &book.url]).stdout(Stdio::null());
            let Measured { elapsed, peak_kib } = run_measured(&mut command);
            let rate = u128::try_from(total).unwrap() * 1_000 / elapsed.as_millis();
            let what = flags.join(" ");
            println!("{accounts} accounts, {total} entries: {what}: {elapsed:.1?}, {rate}/s, {peak_kib} KiB");
            assert!(peak_kib < MEMORY_MAX_KIB, "{what}: {peak_kib} KiB");
        }
    }
}
