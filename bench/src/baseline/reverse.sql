-- One reversal by hand, run by pgbench: lock the account, look up the credit and what was reversed of it, lower the balance,
-- note it with the credit, write the entry under a unique key.
\set account random(0, :accounts - 1)
\set key random(1000000000000, 9999999999999)
BEGIN;
SELECT balance_micro_usd AS balance FROM purses WHERE account_id = 'account-' || :account FOR UPDATE \gset
SELECT amount_micro_usd - reversed_micro_usd AS remaining FROM purse_entries WHERE account_id = 'account-' || :account AND idempotency_key = 'opening' \gset
\if :remaining >= 100 and :balance >= 100
UPDATE purses SET balance_micro_usd = balance_micro_usd - 100, updated_at = now() WHERE account_id = 'account-' || :account RETURNING balance_micro_usd AS balance \gset
UPDATE purse_entries SET reversed_micro_usd = reversed_micro_usd + 100 WHERE account_id = 'account-' || :account AND idempotency_key = 'opening';
INSERT INTO purse_entries (account_id, entry_type, amount_micro_usd, balance_after, reverses, idempotency_key, reference) VALUES ('account-' || :account, 'reversal', -100, :balance, 'opening', 'dispute_' || :key, 'dispute');
\endif
COMMIT;
