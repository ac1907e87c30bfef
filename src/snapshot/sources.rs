//! What facts are read from: each source with its cursor and its query.

use crate::audit::AnswerTable;

/// How much of the leg e its payer's entry has paid with money that may leave the account; NULL if that entry does not list it.
macro_rules! paid_by_other {
    () => {
        "(\
                     SELECT greatest(0, least(l.amount_micro_usd, coalesce(s.funded_micro_usd, 0) - l.before - (\
                         SELECT coalesce(sum(d.amount_micro_usd), 0) \
                         FROM jsonb_to_recordset(s.grant_moves->'draws') AS d(amount_micro_usd bigint))))::bigint \
                     FROM ledger_entries s CROSS JOIN LATERAL (\
                         SELECT p.*, sum(p.amount_micro_usd) OVER (ORDER BY p.number) - p.amount_micro_usd AS before \
                         FROM ROWS FROM (jsonb_to_recordset(s.legs) \
                             AS (account_id text, sequence bigint, amount_micro_usd bigint)) \
                             WITH ORDINALITY AS p(account_id, sequence, amount_micro_usd, number)) l \
                     WHERE s.account_id = e.source_account_id AND s.sequence = e.source_sequence \
                         AND l.account_id = e.account_id AND l.sequence = e.sequence LIMIT 1)"
    };
}

pub(super) use paid_by_other;

/// What is read by a cursor of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Accounts,
    Entries,
    Refunds,
    Reversals,
    Claims,
    Replays,
    Answers(AnswerTable),
    Reservations,
    Steps,
    Grants,
}

/// The sources, each with the name of its cursor and its query, which has `{accounts}` in place of the account filter.
pub(super) const SOURCES: [(Source, &str, &str); 12] = [
    (
        Source::Accounts,
        "accounts_by_id",
        "SELECT account_id, posted_micro_usd, held_micro_usd, last_sequence, create_time, update_time, \
             next_expire_time, coalesce((facts).state, 1::smallint), (facts).debt_limit_micro_usd, \
             coalesce((facts).withdrawable_micro_usd, 0::bigint), (facts).granted_micro_usd \
         FROM accounts WHERE {accounts} ORDER BY account_id",
    ),
    (
        Source::Entries,
        "entries_by_sequence",
        concat!(
            "SELECT account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, posted_after, \
             held_after, create_time, refunded_sequence, external_ids, coalesce(effective_time, create_time), \
             coalesce(uncollected_micro_usd, 0)::bigint, account_state, debt_limit_micro_usd, \
             idempotency_key IS NOT NULL, \
             fingerprint IS NOT NULL, actor IS NOT NULL, reason IS NOT NULL, \
             num_nonnulls(reservation_id, reservation_state, reservation_held, reservation_captured, \
                 expire_time, expiry_policy), \
             reservation_id IS NOT NULL, reservation_state, close_time IS NOT NULL, \
             reversed_sequence, coalesce(withdrawable_delta_micro_usd, 0)::bigint, \
             coalesce(withdrawable_after, 0)::bigint, \
             CASE WHEN entry_type IN (7, 16) THEN (\
                 SELECT ARRAY[coalesce(u.withdrawable_delta_micro_usd, 0)::bigint, coalesce(sum(b.amount), 0)::bigint, \
                     coalesce(sum(b.withdrawable), 0)::bigint] \
                 FROM ledger_entries u LEFT JOIN LATERAL (\
                     SELECT r.amount_micro_usd, r.withdrawable_delta_micro_usd FROM ledger_entries r \
                     WHERE r.account_id = u.account_id AND r.refunded_sequence = u.sequence AND r.sequence < e.sequence \
                     UNION ALL \
                     SELECT -r.amount_micro_usd, -r.withdrawable_delta_micro_usd FROM ledger_entries r \
                     WHERE r.account_id = u.account_id AND r.reversed_sequence = u.sequence AND r.sequence < e.sequence\
                 ) b(amount, withdrawable) ON true \
                 WHERE u.account_id = e.account_id AND u.sequence = coalesce(e.refunded_sequence, e.reversed_sequence) \
                 GROUP BY u.withdrawable_delta_micro_usd) END, \
             CASE WHEN legs IS NOT NULL THEN (\
                 SELECT ARRAY[count(*) FILTER (WHERE l.sequence > 0), count(p.sequence), \
                     coalesce(sum(l.amount_micro_usd), 0)::bigint] \
                 FROM jsonb_to_recordset(e.legs) AS l(account_id text, sequence bigint, amount_micro_usd bigint) \
                 LEFT JOIN ledger_entries p ON p.account_id = l.account_id AND p.sequence = l.sequence \
                     AND p.amount_micro_usd = l.amount_micro_usd \
                     AND p.source_account_id = e.account_id AND p.source_sequence = e.sequence) END, \
             funded_micro_usd, \
             source_sequence IS NOT NULL, \
             CASE WHEN source_sequence IS NOT NULL THEN ",
            paid_by_other!(),
            " END, \
             grant_expire_time, grant_moves::jsonb, coalesce(granted_after, 0)::bigint, \
             coalesce(lapsed_micro_usd, 0)::bigint, \
             legs::jsonb, source_account_id, source_sequence \
         FROM ledger_entries e WHERE {accounts} ORDER BY account_id, sequence"
        ),
    ),
    (
        Source::Refunds,
        "refunds_by_charge",
        "SELECT account_id, refunded_sequence, sequence, amount_micro_usd, false, reversed_sequence FROM ledger_entries \
         WHERE refunded_sequence IS NOT NULL AND {accounts} \
         ORDER BY account_id, refunded_sequence, sequence",
    ),
    (
        Source::Reversals,
        "reversals_by_credit",
        "SELECT account_id, reversed_sequence, sequence, -amount_micro_usd, true, NULL::bigint FROM ledger_entries \
         WHERE reversed_sequence IS NOT NULL AND {accounts} \
         ORDER BY account_id, reversed_sequence, sequence",
    ),
    (
        Source::Claims,
        "claims_by_entry",
        "SELECT account_id, sequence, external_id FROM payments \
         WHERE {accounts} ORDER BY account_id, sequence, external_id",
    ),
    (
        Source::Replays,
        "replays_by_entry",
        "SELECT account_id, sequence, idempotency_key FROM external_replays \
         WHERE {accounts} ORDER BY account_id, sequence",
    ),
    (
        Source::Answers(AnswerTable::Entries),
        "entries_by_key",
        "SELECT account_id, idempotency_key FROM ledger_entries \
         WHERE idempotency_key IS NOT NULL AND {accounts} ORDER BY account_id, idempotency_key",
    ),
    (
        Source::Answers(AnswerTable::Refusals),
        "refusals_by_key",
        "SELECT account_id, idempotency_key FROM refusals \
         WHERE {accounts} ORDER BY account_id, idempotency_key",
    ),
    (
        Source::Answers(AnswerTable::Replays),
        "replays_by_key",
        "SELECT account_id, idempotency_key FROM external_replays \
         WHERE {accounts} ORDER BY account_id, idempotency_key",
    ),
    (
        Source::Reservations,
        "reservations_by_id",
        "SELECT account_id, reservation_id, sequence, create_time, close_sequence, \
             state, amount_micro_usd, captured_micro_usd, expire_time, expiry_policy, close_time, pins::jsonb \
         FROM reservations WHERE {accounts} ORDER BY account_id, reservation_id",
    ),
    (
        Source::Steps,
        "steps_by_reservation",
        "SELECT account_id, reservation_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, \
             create_time, coalesce(effective_time, create_time), \
             coalesce(starts_with(idempotency_key, 'billing/'), false), \
             idempotency_key = reservation_id, reservation_state, reservation_held, \
             reservation_captured, expire_time, close_time, expiry_policy, grant_moves->'pins' \
         FROM ledger_entries WHERE reservation_id IS NOT NULL AND {accounts} \
         ORDER BY account_id, reservation_id, sequence",
    ),
    (
        Source::Grants,
        "grants_by_sequence",
        "SELECT account_id, sequence, amount_micro_usd, remaining_micro_usd, pinned_micro_usd, \
             lapsed_micro_usd, reversed_micro_usd, expire_time \
         FROM grants WHERE {accounts} ORDER BY account_id, sequence",
    ),
];
