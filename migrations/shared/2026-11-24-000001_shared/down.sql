DROP TABLE payments;
DROP TABLE billing_books;
DROP FUNCTION refuse_change();
DROP DOMAIN entry_rules;
DROP TYPE entry_columns;
DROP DOMAIN account_facts;
DROP TYPE facts;
DROP DOMAIN account_id, idempotency_key, caller_name, entry_type, reservation_state, expiry_policy, account_state, sequence,
    not_negative, legs, shares, notes;
