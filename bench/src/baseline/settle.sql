-- One settlement by hand, run by pgbench: hold the money of a job in one transaction; in the next, charge it and pay the
-- consumer's own provider, one of 100 partners and the platform, whose rows are locked in sorted order.
\set account random(0, :accounts - 1)
\set partner random(0, 99)
\set key random(1000000000000, 9999999999999)
BEGIN;
SELECT balance_micro_usd - held_micro_usd AS available FROM purses WHERE account_id = 'account-' || :account FOR UPDATE \gset
\if :available >= 100
UPDATE purses SET held_micro_usd = held_micro_usd + 100, updated_at = now() WHERE account_id = 'account-' || :account RETURNING balance_micro_usd AS balance \gset
INSERT INTO purse_entries (account_id, entry_type, amount_micro_usd, balance_after, idempotency_key) VALUES ('account-' || :account, 'reserve', 0, :balance, 'req_' || :key);
\endif
COMMIT;
BEGIN;
SELECT account_id FROM purses WHERE account_id IN ('account-' || :account, 'provider-' || :account, 'partner-' || :partner, 'platform') ORDER BY account_id FOR UPDATE;
UPDATE purses SET balance_micro_usd = balance_micro_usd - 100, held_micro_usd = held_micro_usd - 100, updated_at = now() WHERE account_id = 'account-' || :account RETURNING balance_micro_usd AS payer \gset
UPDATE purses SET balance_micro_usd = balance_micro_usd + 60, updated_at = now() WHERE account_id = 'provider-' || :account RETURNING balance_micro_usd AS provider \gset
UPDATE purses SET balance_micro_usd = balance_micro_usd + 20, updated_at = now() WHERE account_id = 'partner-' || :partner RETURNING balance_micro_usd AS partner_balance \gset
UPDATE purses SET balance_micro_usd = balance_micro_usd + 20, updated_at = now() WHERE account_id = 'platform' RETURNING balance_micro_usd AS platform \gset
INSERT INTO purse_entries (account_id, entry_type, amount_micro_usd, balance_after, idempotency_key) VALUES ('account-' || :account, 'capture', -100, :payer, 'cap_' || :key), ('provider-' || :account, 'earning', 60, :provider, 'cap_' || :key), ('partner-' || :partner, 'earning', 20, :partner_balance, 'cap_' || :key), ('platform', 'fee', 20, :platform, 'cap_' || :key);
COMMIT;
