//! The check of the book: what must hold at any moment, whatever has happened. Every test on a book ends with it.

use diesel_async::{AsyncConnection, AsyncPgConnection};

use super::book::number;

/// What must never be, and a query that counts it.
const NEVER: &[(&str, &str)] = &[
    (
        "an account whose figures are not those of its entries",
        "SELECT count(*) FROM accounts a LEFT JOIN (
             SELECT account_id, sum(amount_micro_usd) AS posted, sum(held_delta_micro_usd) AS held, count(*) AS entries,
                    min(sequence) AS first, max(sequence) AS last, max(create_time) AS time
             FROM ledger_entries GROUP BY account_id
         ) e USING (account_id)
         WHERE (a.posted_micro_usd, a.held_micro_usd, a.last_sequence)
                   IS DISTINCT FROM (coalesce(e.posted, 0), coalesce(e.held, 0), coalesce(e.last, 0))
            OR e.entries <> e.last OR e.first <> 1 OR a.update_time < e.time",
    ),
    (
        "an entry without an account",
        "SELECT count(*) FROM ledger_entries e LEFT JOIN accounts a USING (account_id) WHERE a.account_id IS NULL",
    ),
    (
        "an entry whose balance is not the running sum, or that is older than the one before it",
        "SELECT count(*) FROM (
             SELECT *, sum(amount_micro_usd) OVER w AS posted, sum(held_delta_micro_usd) OVER w AS held,
                    lag(create_time) OVER w AS time_before
             FROM ledger_entries WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e WHERE e.posted_after <> e.posted OR e.held_after <> e.held OR e.create_time < e.time_before",
    ),
    (
        "more refunded than was charged",
        "SELECT count(*) FROM (
             SELECT account_id, refunded_sequence AS sequence, sum(amount_micro_usd) AS refunded
             FROM ledger_entries WHERE refunded_sequence IS NOT NULL GROUP BY 1, 2
         ) r LEFT JOIN ledger_entries c USING (account_id, sequence)
         WHERE c.sequence IS NULL OR c.entry_type NOT IN (6, 10) OR r.refunded > -c.amount_micro_usd",
    ),
    (
        "a key with two answers",
        "SELECT count(*) FROM (
             SELECT account_id, idempotency_key FROM ledger_entries WHERE idempotency_key IS NOT NULL
             UNION ALL SELECT account_id, idempotency_key FROM refusals
             UNION ALL SELECT account_id, idempotency_key FROM external_replays
         ) k GROUP BY account_id, idempotency_key HAVING count(*) > 1",
    ),
    (
        // History from before this ledger may repeat a payment, which one of its entries claims.
        "a payment that is credited without a claim, claimed without a credit, or credited twice",
        "SELECT count(*) FROM external_credits c FULL JOIN (
             SELECT * FROM ledger_entries WHERE external_id IS NOT NULL
         ) e ON (c.entry_type, c.external_id, c.account_id, c.sequence)
              = (e.entry_type, e.external_id, e.account_id, e.sequence)
         WHERE e.sequence IS NULL OR (c.sequence IS NULL AND e.idempotency_key IS NOT NULL)",
    ),
    (
        "an account that holds other than its open reservations do",
        "SELECT count(*) FROM accounts a LEFT JOIN (
             SELECT account_id, sum(amount_micro_usd) AS held FROM reservations WHERE state = 1 GROUP BY account_id
         ) r USING (account_id) WHERE a.held_micro_usd <> coalesce(r.held, 0)",
    ),
    (
        "an open reservation whose lease runs out before its account says that any does",
        "SELECT count(*) FROM reservations v JOIN accounts a USING (account_id)
         WHERE v.state = 1 AND v.expire_time < coalesce(a.next_expire_time, 'infinity')",
    ),
    (
        "a reservation that is not as its entries say",
        "SELECT count(*) FROM reservations v FULL JOIN (
             SELECT account_id, reservation_id, sum(held_delta_micro_usd) AS held, sum(-amount_micro_usd) AS captured,
                    (array_agg(reservation_state ORDER BY sequence DESC))[1] AS state, min(sequence) AS sequence
             FROM ledger_entries WHERE reservation_id IS NOT NULL GROUP BY 1, 2
         ) e USING (account_id, reservation_id)
         WHERE (v.amount_micro_usd, v.captured_micro_usd, v.state, v.sequence)
                   IS DISTINCT FROM (e.held, e.captured, e.state, e.sequence)",
    ),
    (
        "an account that came below zero other than by a capture, or by history",
        "SELECT count(*) FROM (
             SELECT *, lag(posted_after - held_after, 1, 0) OVER w AS available_before
             FROM ledger_entries WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e WHERE posted_after - held_after < least(available_before, 0)
               AND entry_type <> 10 AND idempotency_key IS NOT NULL",
    ),
];

/// Fails unless everything in the book adds up.
pub async fn check_book(url: &str) {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    for (what, count) in NEVER {
        let found =
            number(&mut connection, &format!("SELECT coalesce(sum(n), 0) FROM ({count}) AS t(n)")).await;
        assert_eq!(found, 0, "the book has {what}");
    }
}
