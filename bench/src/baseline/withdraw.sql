-- One withdrawal by hand, run by pgbench: lock the account, check and lower its balance, write the entry under a unique key.
\set account random(0, :accounts - 1)
\set key random(1000000000000, 9999999999999)
BEGIN;
SELECT withdrawable_micro_usd AS withdrawable FROM purses WHERE account_id = 'account-' || :account FOR UPDATE \gset
\if :withdrawable >= 100
UPDATE purses SET balance_micro_usd = balance_micro_usd - 100, withdrawable_micro_usd = withdrawable_micro_usd - 100, updated_at = now() WHERE account_id = 'account-' || :account RETURNING balance_micro_usd AS balance \gset
INSERT INTO purse_entries (account_id, entry_type, amount_micro_usd, balance_after, idempotency_key, reference) VALUES ('account-' || :account, 'withdrawal', -100, :balance, 'payout_' || :key, 'payout');
\endif
COMMIT;
