//! The part of the check of the book that is about grants: each is recomputed from the entries.

/// What the entries say of each grant: `parts` has what each entry changes of it, `lots` what that leaves of it, until the
/// next one does.
const FROM_ENTRIES: &str = "
    WITH moves AS (
        SELECT e.account_id, e.sequence AS entry, kind, s.sequence, s.amount_micro_usd AS amount, e.entry_type,
               coalesce(e.effective_time, e.create_time) AS effective
        FROM ledger_entries e CROSS JOIN jsonb_each(e.grant_moves) AS k(kind, shares)
        CROSS JOIN jsonb_to_recordset(k.shares) AS s(sequence bigint, amount_micro_usd bigint)
    ), credits AS (
        SELECT account_id, sequence, amount_micro_usd AS amount, grant_expire_time AS expire_time
        FROM ledger_entries WHERE grant_expire_time IS NOT NULL
    ), parts AS (
        SELECT account_id, entry, sequence, sum(remaining) AS remaining, sum(pinned) AS pinned, sum(lapsed) AS lapsed,
               sum(reversed) AS reversed
        FROM (
            SELECT account_id, sequence AS entry, sequence, amount AS remaining, 0 AS pinned, 0 AS lapsed, 0 AS reversed
            FROM credits
            UNION ALL
            SELECT account_id, entry, sequence, CASE kind WHEN 'pins' THEN 0 WHEN 'unwinds' THEN amount ELSE -amount END,
                   CASE kind WHEN 'pins' THEN amount ELSE 0 END, CASE kind WHEN 'lapses' THEN amount ELSE 0 END, 0
            FROM moves
            UNION ALL
            SELECT e.account_id, e.sequence, c.sequence, 0, 0, 0, -e.amount_micro_usd
            FROM credits c JOIN ledger_entries e ON (e.account_id, e.reversed_sequence) = (c.account_id, c.sequence)
        ) p GROUP BY 1, 2, 3
    ), lots AS (
        SELECT account_id, sequence, c.amount, c.expire_time, p.entry AS from_entry,
               lead(p.entry, 1, 9223372036854775807) OVER w AS until_entry, row_number() OVER (
                   PARTITION BY account_id, sequence ORDER BY p.entry DESC) AS from_end,
               sum(p.remaining) OVER w AS remaining, sum(p.pinned) OVER w AS pinned, sum(p.lapsed) OVER w AS lapsed,
               sum(p.reversed) OVER w AS reversed
        FROM parts p LEFT JOIN credits c USING (account_id, sequence)
        WINDOW w AS (PARTITION BY account_id, sequence ORDER BY p.entry)
    )";

/// What must never be, and a query that counts it.
const NEVER: &[(&str, &str)] = &[
    (
        "a grant that is not as its entries say",
        "SELECT count(*) FROM grants g FULL JOIN (SELECT * FROM lots WHERE from_end = 1) l USING (account_id, sequence)
         WHERE (g.amount_micro_usd, g.expire_time, g.remaining_micro_usd, g.pinned_micro_usd, g.lapsed_micro_usd,
                g.reversed_micro_usd)
                   IS DISTINCT FROM (l.amount, l.expire_time, l.remaining, l.pinned, l.lapsed, l.reversed)",
    ),
    (
        "a part of a grant that was more than the whole, or less than nothing",
        "SELECT count(*) FROM lots
         WHERE (0 <= pinned AND pinned <= remaining AND remaining <= amount AND 0 <= lapsed AND 0 <= reversed
                AND lapsed + reversed <= amount AND remaining - pinned <= amount - lapsed - reversed) IS NOT true",
    ),
    (
        "a part of a grant that an entry changed before the grant was credited, or by nothing",
        "SELECT count(*) FROM moves WHERE sequence > entry OR amount = 0 OR amount < 0 AND kind <> 'pins'",
    ),
    (
        "an entry after which other is granted than is left of grants and not pinned, or other lapses, or more than is available",
        "SELECT count(*) FROM (
             SELECT e.account_id, e.sequence, coalesce(e.granted_after, 0) AS granted,
                    coalesce(e.lapsed_micro_usd, 0) AS lapsed, posted_after - held_after AS unheld,
                    coalesce(sum(p.unpinned) OVER (PARTITION BY e.account_id ORDER BY e.sequence), 0) AS unpinned
             FROM ledger_entries e LEFT JOIN (
                 SELECT account_id, entry AS sequence, sum(remaining - pinned) AS unpinned FROM parts GROUP BY 1, 2
             ) p USING (account_id, sequence)
         ) e LEFT JOIN (
             SELECT e.account_id, e.sequence, sum(l.remaining - l.pinned) AS lapsing
             FROM lots l JOIN ledger_entries e
                 ON e.account_id = l.account_id AND e.sequence >= l.from_entry AND e.sequence < l.until_entry
                 AND coalesce(e.effective_time, e.create_time) >= l.expire_time
             WHERE l.remaining <> l.pinned GROUP BY 1, 2
         ) l USING (account_id, sequence)
         WHERE lapsed <> coalesce(lapsing, 0) OR granted + lapsed <> unpinned OR granted > greatest(0, unheld - lapsed)",
    ),
    (
        "something that lapsed because of an entry, but not right behind it",
        "SELECT count(*) FROM ledger_entries e LEFT JOIN ledger_entries n
             ON n.account_id = e.account_id AND n.sequence = e.sequence + 1
         WHERE e.lapsed_micro_usd IS NOT NULL
           AND (n.entry_type, -n.amount_micro_usd, coalesce(n.effective_time, n.create_time))
                   IS DISTINCT FROM (18, e.lapsed_micro_usd, coalesce(e.effective_time, e.create_time))",
    ),
    (
        "an end of grants that is not that of its amount, or of grants that have not expired, or no end of grants that is one",
        "SELECT count(*) FROM (SELECT * FROM ledger_entries WHERE entry_type = 18) e FULL JOIN (
             SELECT m.account_id, m.entry AS sequence, sum(m.amount) AS lapsed, bool_and(c.expire_time <= m.effective) AS is_over
             FROM moves m LEFT JOIN credits c USING (account_id, sequence) WHERE kind = 'lapses' GROUP BY 1, 2
         ) m USING (account_id, sequence)
         WHERE (-e.amount_micro_usd, true) IS DISTINCT FROM (m.lapsed, m.is_over)",
    ),
    (
        "a reservation that holds other of grants than its entries say, or more than it holds",
        "SELECT count(*) FROM (
             SELECT v.account_id, v.reservation_id, p.sequence, sum(p.amount_micro_usd) AS pinned
             FROM reservations v CROSS JOIN jsonb_to_recordset(v.pins) AS p(sequence bigint, amount_micro_usd bigint)
             GROUP BY 1, 2, 3
         ) v FULL JOIN (
             SELECT m.account_id, e.reservation_id, m.sequence, sum(m.amount) AS pinned
             FROM moves m JOIN ledger_entries e ON (e.account_id, e.sequence) = (m.account_id, m.entry)
             WHERE kind = 'pins' GROUP BY 1, 2, 3 HAVING sum(m.amount) <> 0
         ) m USING (account_id, reservation_id, sequence)
         WHERE v.pinned IS DISTINCT FROM m.pinned
         UNION ALL
         SELECT count(*) FROM reservations v CROSS JOIN LATERAL (
             SELECT sum(p.amount_micro_usd) AS pinned FROM jsonb_to_recordset(v.pins) AS p(amount_micro_usd bigint)
         ) p WHERE p.pinned > v.amount_micro_usd",
    ),
    (
        "an account that says other of what is granted than its newest entry, or says it though nothing remains of a grant",
        "SELECT count(*) FROM accounts a LEFT JOIN ledger_entries e
             ON e.account_id = a.account_id AND e.sequence = a.last_sequence
         WHERE (a.facts).granted_micro_usd IS DISTINCT FROM CASE
             WHEN EXISTS (SELECT FROM lots l WHERE l.account_id = a.account_id AND from_end = 1 AND remaining > 0)
             THEN coalesce(e.granted_after, 0) END",
    ),
    (
        "a grant that expires before its account says that any does",
        "SELECT count(*) FROM lots l JOIN accounts a USING (account_id)
         WHERE from_end = 1 AND remaining > pinned AND l.expire_time < coalesce(a.next_expire_time, 'infinity')",
    ),
    (
        "an entry after which money of grants may leave",
        "SELECT count(*) FROM (
             SELECT e.*, coalesce(sum(p.remaining) OVER (PARTITION BY e.account_id ORDER BY e.sequence), 0) AS remaining
             FROM ledger_entries e LEFT JOIN (
                 SELECT account_id, entry AS sequence, sum(remaining) AS remaining FROM parts GROUP BY 1, 2
             ) p USING (account_id, sequence)
         ) e WHERE idempotency_key IS NOT NULL
               AND coalesce(withdrawable_after, 0) > greatest(0, posted_after - remaining)",
    ),
];

/// What must never be of grants, and queries that count it.
pub fn never() -> impl Iterator<Item = (&'static str, String)> {
    NEVER.iter().map(|(what, count)| (*what, format!("{FROM_ENTRIES} {count}")))
}
