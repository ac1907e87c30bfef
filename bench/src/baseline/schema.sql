-- What the replaced system keeps for one credit: a balance, and a journal with the indexes that its pages and its search
-- for a reference need. Its further indexes, which only refunds and rewards touch, are left out, in its favour.

CREATE TABLE balances (
    account_id             TEXT PRIMARY KEY,
    balance_micro_usd      BIGINT NOT NULL DEFAULT 0,
    withdrawable_micro_usd BIGINT NOT NULL DEFAULT 0,
    updated_at             TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE ledger_entries (
    id               BIGSERIAL PRIMARY KEY,
    account_id       TEXT NOT NULL,
    entry_type       TEXT NOT NULL,
    amount_micro_usd BIGINT NOT NULL,
    balance_after    BIGINT NOT NULL,
    reference        TEXT NOT NULL DEFAULT '',
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ledger_entries_history ON ledger_entries (account_id, created_at DESC);
CREATE INDEX ledger_entries_reference ON ledger_entries (account_id, entry_type, reference);

INSERT INTO balances (account_id) SELECT 'account-' || number FROM generate_series(0, 9999) AS number;
