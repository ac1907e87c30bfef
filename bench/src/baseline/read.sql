-- One read of an account, run by pgbench in the service's own database: its row, by primary key.
\set account random(0, :accounts - 1)
SELECT posted_micro_usd, held_micro_usd, last_sequence, create_time, update_time, next_expire_time, facts FROM accounts WHERE account_id = 'account-' || :account;
