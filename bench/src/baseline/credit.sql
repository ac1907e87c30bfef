-- One credit of the replaced system, run by pgbench: look for the reference, raise the balance, write the entry.
-- (pgbench would take a colon within a text for the name of a variable.)
\set account random(0, :accounts - 1)
\set reference random(1000000000000, 9999999999999)
BEGIN;
SELECT EXISTS (SELECT FROM ledger_entries WHERE account_id = 'account-' || :account AND entry_type = 'stripe_deposit' AND reference = 'stripe-cs_' || :reference);
INSERT INTO balances (account_id, balance_micro_usd, updated_at) VALUES ('account-' || :account, 100, now()) ON CONFLICT (account_id) DO UPDATE SET balance_micro_usd = balances.balance_micro_usd + 100, updated_at = now() RETURNING balance_micro_usd AS balance \gset
INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference) VALUES ('account-' || :account, 'stripe_deposit', 100, :balance, 'stripe-cs_' || :reference);
COMMIT;
