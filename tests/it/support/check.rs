//! The check of the book: what must hold at any moment, whatever has happened. Every test on a book ends with it.

use diesel_async::{AsyncConnection, AsyncPgConnection};

use super::{book::number, check_grants};

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
        "an entry whose balance is not the running sum, or that was written or took effect before the one before it",
        "SELECT count(*) FROM (
             SELECT *, sum(amount_micro_usd) OVER w AS posted, sum(held_delta_micro_usd) OVER w AS held,
                    lag(create_time) OVER w AS time_before,
                    coalesce(effective_time, create_time) AS effective,
                    lag(coalesce(effective_time, create_time)) OVER w AS effective_before
             FROM ledger_entries WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e WHERE e.posted_after <> e.posted OR e.held_after <> e.held OR e.create_time < e.time_before
                OR e.effective < e.effective_before OR e.effective > e.create_time",
    ),
    (
        "an entry that took effect before it was written, but is no end of a lease or of grants, or that is the end of a lease and did not",
        "SELECT count(*) FROM ledger_entries WHERE idempotency_key IS NOT NULL AND entry_type <> 18
         AND (coalesce(effective_time, create_time)
                  <> CASE WHEN starts_with(idempotency_key, 'billing/expire/') THEN expire_time ELSE create_time END
              OR starts_with(idempotency_key, 'billing/expire/') AND close_time <> expire_time)",
    ),
    (
        "an account whose state or debt limit is not what its newest change says",
        "SELECT count(*) FROM accounts a LEFT JOIN LATERAL (
             SELECT account_state, debt_limit_micro_usd FROM ledger_entries e
             WHERE e.account_id = a.account_id AND e.entry_type = 14 ORDER BY sequence DESC LIMIT 1
         ) e ON true
         WHERE (coalesce((a.facts).state, 1), (a.facts).debt_limit_micro_usd)
                   IS DISTINCT FROM (coalesce(e.account_state, 1), e.debt_limit_micro_usd)",
    ),
    (
        "a closed account with an open reservation",
        "SELECT count(*) FROM accounts a WHERE (a.facts).state = 3 AND (a.held_micro_usd <> 0
             OR EXISTS (SELECT FROM reservations v WHERE v.account_id = a.account_id AND v.state = 1))",
    ),
    (
        "a decision about an account that moved money other than all of it, to close the account",
        "SELECT count(*) FROM ledger_entries
         WHERE entry_type = 14 AND amount_micro_usd <> 0 AND (account_state <> 3 OR posted_after <> 0)",
    ),
    (
        "something that was spent of an account while it was frozen or closed",
        "SELECT count(*) FROM ledger_entries e CROSS JOIN LATERAL (
             SELECT account_state FROM ledger_entries c
             WHERE c.account_id = e.account_id AND c.entry_type = 14 AND c.sequence < e.sequence
             ORDER BY c.sequence DESC LIMIT 1
         ) c
         WHERE c.account_state <> 1 AND e.idempotency_key IS NOT NULL
           AND (e.entry_type IN (6, 9, 15) OR e.entry_type = 12 AND e.held_delta_micro_usd > 0
                OR c.account_state = 3 AND e.entry_type NOT IN (7, 14, 16, 18))",
    ),
    (
        "more refunded than was taken",
        "SELECT count(*) FROM (
             SELECT account_id, refunded_sequence AS sequence, sum(amount_micro_usd) AS refunded,
                    coalesce(sum(withdrawable_delta_micro_usd), 0) AS restored
             FROM ledger_entries WHERE refunded_sequence IS NOT NULL GROUP BY 1, 2
         ) r LEFT JOIN ledger_entries c USING (account_id, sequence)
         WHERE c.sequence IS NULL OR c.entry_type NOT IN (6, 10, 15, 16) OR r.refunded > -c.amount_micro_usd
            OR r.restored > -coalesce(c.withdrawable_delta_micro_usd, 0)",
    ),
    (
        "more reversed than was credited, or more given back of it than was reversed",
        "SELECT count(*) FROM (
             SELECT account_id, reversed_sequence AS sequence, sum(-amount_micro_usd) AS reversed
             FROM ledger_entries WHERE reversed_sequence IS NOT NULL GROUP BY 1, 2
         ) r LEFT JOIN ledger_entries c USING (account_id, sequence)
         WHERE c.sequence IS NULL OR c.entry_type NOT IN (1, 2, 3, 4, 5, 8, 17)
            OR r.reversed NOT BETWEEN 0 AND greatest(c.amount_micro_usd, 0)",
    ),
    (
        "a reversal or the refund of one that does not say which credit it is about, or something else that does",
        "SELECT count(*) FROM ledger_entries e LEFT JOIN ledger_entries o
             ON (o.account_id, o.sequence) = (e.account_id, e.refunded_sequence)
         WHERE e.idempotency_key IS NOT NULL
           AND e.reversed_sequence IS NOT NULL <> (e.entry_type = 16 OR coalesce(o.entry_type = 16, false))
            OR o.entry_type = 16 AND o.reversed_sequence <> e.reversed_sequence",
    ),
    (
        "a leg that its payer's entry does not list so, or one that is listed and not there",
        "SELECT count(*) FROM (
             SELECT e.account_id AS payer, e.sequence AS payer_sequence, l.*
             FROM ledger_entries e
             CROSS JOIN jsonb_to_recordset(e.legs) AS l(account_id text, sequence bigint, amount_micro_usd bigint)
             WHERE l.sequence > 0
         ) l FULL JOIN (SELECT * FROM ledger_entries WHERE source_sequence IS NOT NULL) p USING (account_id, sequence)
         WHERE (l.payer, l.payer_sequence, l.amount_micro_usd)
                   IS DISTINCT FROM (p.source_account_id::text, p.source_sequence::bigint, p.amount_micro_usd)",
    ),
    (
        "a debit whose legs come to more than is funded of it, or of which more is funded than was taken",
        "SELECT count(*) FROM ledger_entries e CROSS JOIN LATERAL (
             SELECT coalesce(sum(l.amount_micro_usd), 0) AS paid, min(l.amount_micro_usd) AS least
             FROM jsonb_to_recordset(e.legs) AS l(amount_micro_usd bigint)
         ) l WHERE e.legs IS NOT NULL AND e.entry_type <> 7
             AND (paid > funded_micro_usd OR funded_micro_usd > -amount_micro_usd OR least < 0)",
    ),
    (
        "an account or an entry of which more may leave than is posted, or other than the entries before it say",
        "SELECT count(*) FROM accounts a FULL JOIN (
             SELECT *, coalesce(withdrawable_after, 0) AS may_leave,
                    sum(coalesce(withdrawable_delta_micro_usd, 0)) OVER w AS running,
                    row_number() OVER (PARTITION BY account_id ORDER BY sequence DESC) AS from_end
             FROM ledger_entries WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e USING (account_id)
         WHERE may_leave <> running OR may_leave NOT BETWEEN 0 AND greatest(posted_after, 0)
            OR from_end = 1 AND coalesce((a.facts).withdrawable_micro_usd, 0) <> may_leave",
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
        // History from before this ledger may repeat a payment, whose name one of its entries has.
        "a name of a payment that does not lead to the entry that gives it",
        "SELECT count(*) FROM ledger_entries e CROSS JOIN unnest(e.external_ids) AS n(external_id)
         LEFT JOIN payments p USING (external_id)
         WHERE p.sequence IS NULL
            OR e.idempotency_key IS NOT NULL AND (p.account_id, p.sequence) <> (e.account_id, e.sequence)",
    ),
    (
        "a name of a payment that neither its entry gives nor a later key that was answered with it",
        "SELECT count(*) FROM payments p LEFT JOIN ledger_entries e USING (account_id, sequence)
         WHERE e.external_ids IS NULL OR NOT (p.external_id = ANY(e.external_ids) OR EXISTS (
             SELECT FROM external_replays x WHERE (x.account_id, x.sequence) = (p.account_id, p.sequence)))",
    ),
    (
        "an entry whose names of a payment are not sorted and distinct",
        "SELECT count(*) FROM ledger_entries e
         WHERE e.external_ids <> ARRAY(SELECT DISTINCT n COLLATE \"C\" FROM unnest(e.external_ids) n ORDER BY 1)",
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
                    (array_agg(reservation_state ORDER BY sequence DESC))[1] AS state, min(sequence) AS sequence,
                    (array_agg(expiry_policy ORDER BY sequence DESC))[1] AS expiry_policy,
                    max(sequence) FILTER (WHERE reservation_state <> 1 AND reservation_state <> state_before) AS ended_by
             FROM (SELECT *, lag(reservation_state::int, 1, 1) OVER w AS state_before FROM ledger_entries
                   WHERE reservation_id IS NOT NULL
                   WINDOW w AS (PARTITION BY account_id, reservation_id ORDER BY sequence)) s
             GROUP BY 1, 2
         ) e USING (account_id, reservation_id)
         WHERE (v.amount_micro_usd, v.captured_micro_usd, v.state, v.sequence, v.expiry_policy, v.close_sequence)
                   IS DISTINCT FROM (e.held, e.captured, e.state, e.sequence, e.expiry_policy, e.ended_by)",
    ),
    (
        "an account that came below zero other than by a charge, a capture, a reversal, or history",
        "SELECT count(*) FROM (
             SELECT *, lag(available_after, 1, 0) OVER w AS available_before
             FROM (SELECT *, posted_after - held_after - coalesce(lapsed_micro_usd, 0) AS available_after
                   FROM ledger_entries) e
             WINDOW w AS (PARTITION BY account_id ORDER BY sequence)
         ) e WHERE available_after < least(available_before, 0)
               AND entry_type NOT IN (6, 10, 16) AND idempotency_key IS NOT NULL",
    ),
];

/// Fails unless everything in the book adds up.
pub async fn check_book(url: &str) {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    let others = NEVER.iter().map(|(what, count)| (*what, (*count).to_owned()));
    for (what, count) in others.chain(check_grants::never()) {
        let found =
            number(&mut connection, &format!("SELECT coalesce(sum(n), 0) FROM ({count}) AS t(n)")).await;
        assert_eq!(found, 0, "the book has {what}");
    }
}
