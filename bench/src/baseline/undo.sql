-- What a careful successor of the replaced system would keep for withdrawals, reversals and settlements: each entry has a key that is
-- unique in its account, and a credit knows how much of it was reversed. Tables of their own, so that credits pay nothing
-- for them. Every account begins with one credit.

CREATE TABLE purses (
    account_id             TEXT PRIMARY KEY,
    balance_micro_usd      BIGINT NOT NULL,
    withdrawable_micro_usd BIGINT NOT NULL,
    held_micro_usd         BIGINT NOT NULL DEFAULT 0,
    updated_at             TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE purse_entries (
    id                 BIGSERIAL PRIMARY KEY,
    account_id         TEXT NOT NULL,
    entry_type         TEXT NOT NULL,
    amount_micro_usd   BIGINT NOT NULL,
    balance_after      BIGINT NOT NULL,
    reversed_micro_usd BIGINT NOT NULL DEFAULT 0,
    reverses           TEXT,
    idempotency_key    TEXT NOT NULL,
    reference          TEXT NOT NULL DEFAULT '',
    created_at         TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX purse_entries_history ON purse_entries (account_id, created_at DESC);
CREATE UNIQUE INDEX purse_entries_key ON purse_entries (account_id, idempotency_key);

INSERT INTO purses (account_id, balance_micro_usd, withdrawable_micro_usd)
    SELECT 'account-' || number, 1000000000000, 1000000000000 FROM generate_series(0, 9999) AS number;
INSERT INTO purses (account_id, balance_micro_usd, withdrawable_micro_usd)
    SELECT 'provider-' || number, 0, 0 FROM generate_series(0, 9999) AS number
    UNION ALL SELECT 'partner-' || number, 0, 0 FROM generate_series(0, 99) AS number
    UNION ALL SELECT 'platform', 0, 0;
INSERT INTO purse_entries (account_id, entry_type, amount_micro_usd, balance_after, idempotency_key)
    SELECT account_id, 'earning', balance_micro_usd, balance_micro_usd, 'opening' FROM purses;
