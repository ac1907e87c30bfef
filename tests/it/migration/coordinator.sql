-- A small coordinator of the replaced kind, with a little of everything that its ledger let happen.
CREATE TABLE balances (
    account_id TEXT PRIMARY KEY,
    balance_micro_usd BIGINT NOT NULL DEFAULT 0,
    withdrawable_micro_usd BIGINT NOT NULL DEFAULT 0,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE ledger_entries (
    id BIGSERIAL PRIMARY KEY,
    account_id TEXT NOT NULL,
    entry_type TEXT NOT NULL,
    amount_micro_usd BIGINT NOT NULL,
    balance_after BIGINT NOT NULL,
    reference TEXT DEFAULT '',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, created_at DESC);

INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at) VALUES
    ('ann', 'stripe_deposit', 10000000, 10000000, 'stripe:cs_live_a1', '2026-08-01 09:00:00Z'),
    ('ann', 'charge', -1500000, 8500000, 'reserve:ann', '2026-08-01 09:05:00Z'),
    ('ann', 'refund', 400000, 8900000, 'reservation_refund', '2026-08-01 09:06:00Z'),
    ('ann', 'charge', -1500000, 7400000, 'reserve:ann', '2026-08-02 11:00:00Z'),
    ('ann', 'refund', 400000, 7800000, 'reservation_refund', '2026-08-02 11:01:00Z'),
    -- One payment, delivered twice.
    ('bob', 'stripe_deposit', 25000000, 25000000, 'stripe:cs_live_b1', '2026-08-03 08:00:00Z'),
    ('bob', 'stripe_deposit', 25000000, 50000000, 'stripe:cs_live_b1', '2026-08-03 08:00:01Z'),
    ('bob', 'admin_credit', 2000000, 52000000, 'admin_credit', '2026-08-04 10:00:00Z'),
    -- The balance was raised twice, and one row was written.
    ('cat', 'deposit', 5000000, 10000000, 'wire 17', '2026-08-05 12:00:00Z'),
    ('dan', 'payout', 3000000, 3000000, 'job-7', '2026-08-06 12:00:00Z'),
    ('dan', 'withdrawal', -1000000, 2000000, 'stripe_withdraw:w1', '2026-08-07 12:00:00Z'),
    ('dan', 'loyalty_bonus', 50000, 2050000, '', '2026-08-08 12:00:00Z'),
    ('platform', 'platform_fee', 75000, 75000, 'job-7', '2026-08-06 12:00:01Z');
INSERT INTO balances VALUES
    ('ann', 7800000, 0, '2026-08-02 11:01:00Z'),
    ('bob', 52000000, 0, '2026-08-04 10:00:00Z'),
    ('cat', 10000000, 0, '2026-08-05 12:00:00Z'),
    ('dan', 2050000, 2000000, '2026-08-08 12:00:00Z'),
    ('eve', 0, 0, '2026-08-01 00:00:00Z'),
    ('platform', 75000, 75000, '2026-08-06 12:00:01Z');
ANALYZE;
