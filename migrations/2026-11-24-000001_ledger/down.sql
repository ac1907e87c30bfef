DROP TABLE imported_accounts;
DROP TABLE grants;
DROP TABLE reservations;
DROP TABLE external_replays;
DROP TABLE payments;
DROP TABLE refusals;
DROP TABLE ledger_entries;
DROP TABLE accounts;
DROP FUNCTION refuse_change();
DROP DOMAIN entry_rules;
DROP TYPE entry_columns;
DROP DOMAIN account_facts;
DROP TYPE facts;
DROP DOMAIN account_id, idempotency_key, external_id, caller_name, entry_type, reservation_state, expiry_policy, account_state, sequence,
    not_negative, legs, shares, notes;
