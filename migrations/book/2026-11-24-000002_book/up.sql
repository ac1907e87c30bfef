-- A book: the accounts of a ledger, or those that its part of them falls to. `account_id` leads every key.

CREATE TABLE accounts (
    account_id       account_id NOT NULL PRIMARY KEY,
    posted_micro_usd BIGINT NOT NULL DEFAULT 0,
    held_micro_usd   not_negative NOT NULL DEFAULT 0,
    last_sequence    not_negative NOT NULL DEFAULT 0,
    create_time      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    update_time      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    next_expire_time TIMESTAMPTZ,
    facts            account_facts,
    CONSTRAINT accounts_empty_before_first_entry
        CHECK (last_sequence > 0 OR (posted_micro_usd = 0 AND held_micro_usd = 0)),
    CONSTRAINT accounts_times CHECK (update_time >= create_time)
) WITH (fillfactor = 50);
-- Eight columns at most: with a ninth the bitmap of NULLs, and so each version of a row, is eight bytes longer.
-- Half of each page is left free: a balance changes with every entry, and a new version of the row on the same page
-- touches no index (a HOT update), unless the first lease to run out is another one.

-- Whose turn it is to have leases or grants written down that have run out, over all accounts of the book.
CREATE INDEX accounts_due ON accounts (next_expire_time, account_id) WHERE next_expire_time IS NOT NULL;

COMMENT ON TABLE accounts IS
    'The balance of each account, and the row whose lock puts its operations in order. A row with last_sequence = 0 is only that lock, and goes with the transaction that made it: the account does not exist yet.';
COMMENT ON COLUMN accounts.account_id IS 'The caller''s opaque name for the account.';
COMMENT ON COLUMN accounts.posted_micro_usd IS 'The sum of the amounts of all entries, in micro-USD.';
COMMENT ON COLUMN accounts.held_micro_usd IS 'The sum of what open reservations hold, in micro-USD.';
COMMENT ON COLUMN accounts.last_sequence IS 'The sequence of the newest entry.';
COMMENT ON COLUMN accounts.create_time IS 'When the first entry was written.';
COMMENT ON COLUMN accounts.update_time IS 'When the newest entry was written.';
COMMENT ON COLUMN accounts.next_expire_time IS
    'No lease of an open reservation runs out before this, and no grant that is not pinned as a whole. NULL if there is none.';
COMMENT ON COLUMN accounts.facts IS
    'What an operator has decided about the account: its state (1 ACTIVE, 2 FROZEN, 3 CLOSED), and what it may owe, if that is not what the service is configured with; and how much of what is posted may leave it, in micro-USD; and what is granted and free to be spent. NULL if it is active, nothing may leave it, and nothing remains of a grant.';

CREATE TABLE ledger_entries (
    account_id           account_id NOT NULL,
    sequence             sequence NOT NULL,
    entry_type           entry_type NOT NULL,
    amount_micro_usd     BIGINT NOT NULL,
    held_delta_micro_usd BIGINT NOT NULL,
    posted_after         BIGINT NOT NULL,
    held_after           not_negative NOT NULL,
    create_time          TIMESTAMPTZ NOT NULL,
    refunded_sequence    BIGINT,
    reversed_sequence    BIGINT,
    idempotency_key      idempotency_key,
    fingerprint          BYTEA,
    external_ids         TEXT[],
    reference            TEXT NOT NULL DEFAULT '',
    metadata             notes,
    actor                TEXT,
    reason               TEXT,
    reservation_id       idempotency_key,
    reservation_state    reservation_state,
    reservation_held     not_negative,
    reservation_captured not_negative,
    uncollected_micro_usd not_negative,
    expire_time          TIMESTAMPTZ,
    close_time           TIMESTAMPTZ,
    expiry_policy        expiry_policy,
    caller               caller_name,
    effective_time       TIMESTAMPTZ,
    account_state        account_state,
    debt_limit_micro_usd not_negative,
    withdrawable_delta_micro_usd BIGINT,
    withdrawable_after   not_negative,
    legs                 legs,
    funded_micro_usd     not_negative,
    source_account_id    account_id,
    source_sequence      sequence,
    grant_expire_time    TIMESTAMPTZ,
    grant_moves          notes,
    granted_after        not_negative,
    lapsed_micro_usd     not_negative,
    PRIMARY KEY (account_id, sequence),
    -- Always true, where the domain's own checks are.
    CONSTRAINT ledger_entries_rules CHECK ((ROW(
        account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, posted_after, held_after,
        refunded_sequence, reversed_sequence, idempotency_key, fingerprint, external_ids, actor, reason,
        reservation_id, reservation_state, reservation_held, reservation_captured, uncollected_micro_usd,
        expire_time, close_time, expiry_policy, account_state, debt_limit_micro_usd, withdrawable_after, legs,
        funded_micro_usd, source_account_id, source_sequence, grant_expire_time, grant_moves, granted_after,
        lapsed_micro_usd
    )::entry_rules).entry_type IS NOT NULL)
);

-- One operation, one entry, for ever. History from before this ledger has no key and is never in the way.
CREATE UNIQUE INDEX ledger_entries_idempotency_key_unique ON ledger_entries (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- What has been given back of a debit, and taken back of a credit. Costs only refunds and reversals.
CREATE INDEX ledger_entries_refunds ON ledger_entries (account_id, refunded_sequence)
    INCLUDE (amount_micro_usd, withdrawable_delta_micro_usd) WHERE refunded_sequence IS NOT NULL;
CREATE INDEX ledger_entries_reversals ON ledger_entries (account_id, reversed_sequence)
    INCLUDE (amount_micro_usd, withdrawable_delta_micro_usd) WHERE reversed_sequence IS NOT NULL;
-- What history from before this ledger took and gave back, without saying what of: it bounds refunds of that history. Costs only
-- imports.
CREATE INDEX ledger_entries_history ON ledger_entries (account_id, sequence)
    INCLUDE (entry_type, amount_micro_usd, refunded_sequence)
    WHERE idempotency_key IS NULL AND entry_type IN (6, 7, 10, 15, 16);
-- How an account stood at a time. Costs only changes of accounts.
CREATE INDEX ledger_entries_account_changes ON ledger_entries (account_id, sequence) WHERE entry_type = 14;

COMMENT ON TABLE ledger_entries IS
    'The journal: one immutable row for each applied operation. UPDATE, DELETE and TRUNCATE are refused.';
COMMENT ON COLUMN ledger_entries.account_id IS 'The account.';
COMMENT ON COLUMN ledger_entries.sequence IS 'The number of the entry in its account: 1, 2, 3 and so on, without gaps.';
COMMENT ON COLUMN ledger_entries.entry_type IS
    'Credits: 1 STRIPE_DEPOSIT, 2 DEPOSIT, 3 EARNING, 4 REFERRAL_REWARD, 5 INVITE_CREDIT; 6 CHARGE, 7 REFUND, 8 ADMIN_CREDIT, 9 RESERVE, 10 CAPTURE, 11 RELEASE, 12 EXTEND, 13 EXPIRE, 14 ACCOUNT_CHANGE, 15 WITHDRAWAL, 16 REVERSAL, 17 FEE, 18 GRANT_EXPIRE.';
COMMENT ON COLUMN ledger_entries.amount_micro_usd IS 'What was added to posted, in micro-USD; negative when money was taken.';
COMMENT ON COLUMN ledger_entries.held_delta_micro_usd IS 'What was added to held, in micro-USD; negative when a hold was freed.';
COMMENT ON COLUMN ledger_entries.posted_after IS 'The posted balance right after this entry, in micro-USD.';
COMMENT ON COLUMN ledger_entries.held_after IS 'What was held right after this entry, in micro-USD.';
COMMENT ON COLUMN ledger_entries.create_time IS
    'When it was written, by this server''s clock, under the account''s lock. Never earlier than the entry before it.';
COMMENT ON COLUMN ledger_entries.refunded_sequence IS 'The debit that a refund gives back.';
COMMENT ON COLUMN ledger_entries.reversed_sequence IS
    'The credit that a reversal takes back, or that the refund of a reversal restores.';
COMMENT ON COLUMN ledger_entries.idempotency_key IS
    'The caller''s name for the operation, unique within the account. NULL only on history from before this ledger.';
COMMENT ON COLUMN ledger_entries.fingerprint IS 'What was asked under the key, field by field, so that another request under it is recognised.';
COMMENT ON COLUMN ledger_entries.external_ids IS
    'The ids of the payment in other systems, as the operation gave them, sorted. Later calls may have added names: see payments.';
COMMENT ON COLUMN ledger_entries.reference IS 'Free text for people. Repeats freely; never used to recognise a repeated operation.';
COMMENT ON COLUMN ledger_entries.metadata IS 'The caller''s own notes: an object of texts. NULL when there are none.';
COMMENT ON COLUMN ledger_entries.actor IS 'Who decided (ADMIN_CREDIT, ACCOUNT_CHANGE).';
COMMENT ON COLUMN ledger_entries.reason IS 'Why (ADMIN_CREDIT, ACCOUNT_CHANGE, REVERSAL).';
COMMENT ON COLUMN ledger_entries.reservation_id IS 'The reservation that this entry opened, changed or ended.';
COMMENT ON COLUMN ledger_entries.reservation_state IS 'Its state right after this entry, as in reservations.state.';
COMMENT ON COLUMN ledger_entries.reservation_held IS 'What it held right after this entry, in micro-USD.';
COMMENT ON COLUMN ledger_entries.reservation_captured IS 'What had been captured of it right after this entry, in micro-USD.';
COMMENT ON COLUMN ledger_entries.uncollected_micro_usd IS 'What a charge, capture or reversal could not collect, in micro-USD. NULL if nothing.';
COMMENT ON COLUMN ledger_entries.expire_time IS 'When its lease ran out, as of this entry.';
COMMENT ON COLUMN ledger_entries.close_time IS 'When it ended; NULL while it was open right after this entry.';
COMMENT ON COLUMN ledger_entries.expiry_policy IS 'What was to become of the rest at the end of its lease, as of this entry.';
COMMENT ON COLUMN ledger_entries.effective_time IS
    'When it took effect, where that is not when it was written: the end of a lease. Never runs backwards along sequences.';
COMMENT ON COLUMN ledger_entries.account_state IS 'The state of the account right after this entry (ACCOUNT_CHANGE).';
COMMENT ON COLUMN ledger_entries.debt_limit_micro_usd IS
    'The account''s own debt limit right after this entry, in micro-USD (ACCOUNT_CHANGE); NULL if it has none.';
COMMENT ON COLUMN ledger_entries.withdrawable_delta_micro_usd IS
    'What was added to what may leave the account, in micro-USD; negative when less of it is left. NULL if nothing.';
COMMENT ON COLUMN ledger_entries.withdrawable_after IS
    'How much of what is posted right after this entry may leave the account, in micro-USD. NULL if nothing.';
COMMENT ON COLUMN ledger_entries.legs IS
    'What a charge or a capture passed on, or a refund took back, in the order of its legs: the payee''s account, the sequence of its entry, or 0 if it got none, and the amount of that in micro-USD.';
COMMENT ON COLUMN ledger_entries.funded_micro_usd IS
    'How much the legs could share: what was taken, without what went into debt, in micro-USD. NULL if there are none.';
COMMENT ON COLUMN ledger_entries.source_account_id IS 'The payer, if this entry is a leg of another account''s.';
COMMENT ON COLUMN ledger_entries.source_sequence IS 'The payer''s entry.';
COMMENT ON COLUMN ledger_entries.grant_expire_time IS 'When the credit expires. NULL if it does not: then it is no grant.';
COMMENT ON COLUMN ledger_entries.grant_moves IS
    'How it changes the grants of the account: an object with the shares (see the domain) that it draws, unwinds, makes other money (converted), ends (lapses) and pins. NULL if it changes none.';
COMMENT ON COLUMN ledger_entries.granted_after IS
    'How much of what is available right after this entry is granted, in micro-USD. NULL if nothing.';
COMMENT ON COLUMN ledger_entries.lapsed_micro_usd IS
    'What lapses of grants because of it, in micro-USD: it is posted, but not available; the next entry takes it off. NULL if nothing.';
COMMENT ON COLUMN ledger_entries.caller IS
    'Who asked for it, by the name that goes with its credentials. NULL where the service asked itself, and of callers without credentials.';

CREATE TABLE refusals (
    account_id      account_id NOT NULL,
    idempotency_key idempotency_key NOT NULL,
    fingerprint     BYTEA NOT NULL,
    code            INTEGER NOT NULL
        CONSTRAINT refusals_code CHECK (code = 9),
    reason          TEXT NOT NULL
        CONSTRAINT refusals_reason CHECK (reason ~ '^[A-Z][A-Z0-9_]*$' AND octet_length(reason) <= 63),
    message         TEXT NOT NULL,
    metadata        notes NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, idempotency_key)
);

COMMENT ON TABLE refusals IS
    'Operations answered "no" for a business reason, remembered so that a delayed duplicate is answered the same. Rows may be deleted by age: their keys are then unused again.';
COMMENT ON COLUMN refusals.account_id IS 'The account.';
COMMENT ON COLUMN refusals.idempotency_key IS 'The caller''s name for the operation.';
COMMENT ON COLUMN refusals.fingerprint IS 'What was asked under the key, field by field.';
COMMENT ON COLUMN refusals.code IS 'The number of the gRPC code: always 9, FAILED_PRECONDITION.';
COMMENT ON COLUMN refusals.reason IS 'The reason of the answer, such as INSUFFICIENT_FUNDS.';
COMMENT ON COLUMN refusals.message IS 'The message of the answer, as it was given.';
COMMENT ON COLUMN refusals.metadata IS 'The metadata of the answer: an object of texts.';
COMMENT ON COLUMN refusals.create_time IS 'When it was first refused, by this server''s clock.';

CREATE TABLE external_replays (
    account_id      account_id NOT NULL,
    idempotency_key idempotency_key NOT NULL,
    fingerprint     BYTEA NOT NULL,
    sequence        sequence NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, idempotency_key)
);

COMMENT ON TABLE external_replays IS
    'Keys answered with the entry of an earlier key, because both named the same payment by its external id. Kept so that one key has one answer.';
COMMENT ON COLUMN external_replays.account_id IS 'The account.';
COMMENT ON COLUMN external_replays.idempotency_key IS 'The later key.';
COMMENT ON COLUMN external_replays.fingerprint IS 'What was asked under the later key, field by field.';
COMMENT ON COLUMN external_replays.sequence IS 'The entry, written under the earlier key, that answered it.';
COMMENT ON COLUMN external_replays.create_time IS 'When it was first answered so, by this server''s clock.';

CREATE TABLE reservations (
    account_id         account_id NOT NULL,
    reservation_id     idempotency_key NOT NULL,
    state              reservation_state NOT NULL,
    amount_micro_usd   not_negative NOT NULL,
    captured_micro_usd not_negative NOT NULL DEFAULT 0,
    sequence           sequence NOT NULL,
    create_time        TIMESTAMPTZ NOT NULL,
    expire_time        TIMESTAMPTZ NOT NULL,
    close_time         TIMESTAMPTZ,
    expiry_policy      expiry_policy NOT NULL DEFAULT 1,
    close_sequence     sequence,
    reference          TEXT NOT NULL DEFAULT '',
    metadata           notes,
    pins               shares,
    PRIMARY KEY (account_id, reservation_id),
    CONSTRAINT reservations_closed_holds_nothing CHECK (state = 1 OR amount_micro_usd = 0),
    CONSTRAINT reservations_close CHECK (num_nulls(close_time, close_sequence) = CASE state WHEN 1 THEN 2 ELSE 0 END)
);

-- What is open: for leases that have run out, in the order in which they did, and for lists of what is open. Holds no more
-- than is under way.
CREATE INDEX reservations_open ON reservations (account_id, expire_time, sequence) WHERE state = 1;

COMMENT ON TABLE reservations IS 'Money held for work in progress: open, then captured, released or expired.';
COMMENT ON COLUMN reservations.account_id IS 'The account.';
COMMENT ON COLUMN reservations.reservation_id IS 'The idempotency key under which it was reserved.';
COMMENT ON COLUMN reservations.state IS '1 OPEN, 2 CAPTURED, 3 RELEASED, 4 EXPIRED.';
COMMENT ON COLUMN reservations.amount_micro_usd IS 'What it holds now, in micro-USD; nothing once it has ended.';
COMMENT ON COLUMN reservations.captured_micro_usd IS 'What has been captured of it so far, in micro-USD.';
COMMENT ON COLUMN reservations.sequence IS 'The entry that opened it.';
COMMENT ON COLUMN reservations.create_time IS 'When it was opened, by this server''s clock.';
COMMENT ON COLUMN reservations.expire_time IS 'When its lease runs out. From then on it holds nothing, whatever its state says.';
COMMENT ON COLUMN reservations.close_time IS
    'When it ended; NULL while it is open. If its lease ran out: the moment it did, not when that was written down.';
COMMENT ON COLUMN reservations.expiry_policy IS
    'What becomes of what it holds when its lease runs out: 1 RELEASE frees it, 2 CAPTURE charges it.';
COMMENT ON COLUMN reservations.close_sequence IS 'The entry that ended it; NULL while it is open.';
COMMENT ON COLUMN reservations.reference IS 'Free text for people.';
COMMENT ON COLUMN reservations.metadata IS 'The caller''s own notes: an object of texts. NULL when there are none.';

COMMENT ON COLUMN reservations.pins IS 'What it holds of grants, in the order in which they are spent. NULL if nothing.';

CREATE TABLE grants (
    account_id          account_id NOT NULL,
    sequence            sequence NOT NULL,
    amount_micro_usd    not_negative NOT NULL,
    remaining_micro_usd not_negative NOT NULL,
    pinned_micro_usd    not_negative NOT NULL DEFAULT 0,
    lapsed_micro_usd    not_negative NOT NULL DEFAULT 0,
    reversed_micro_usd  not_negative NOT NULL DEFAULT 0,
    expire_time         TIMESTAMPTZ NOT NULL,
    is_open             BOOLEAN NOT NULL GENERATED ALWAYS AS (remaining_micro_usd > 0) STORED,
    PRIMARY KEY (account_id, sequence),
    CONSTRAINT grants_parts CHECK (
        pinned_micro_usd <= remaining_micro_usd AND remaining_micro_usd <= amount_micro_usd
        AND lapsed_micro_usd + reversed_micro_usd <= amount_micro_usd)
) WITH (fillfactor = 70);

-- What remains of grants is read with every operation of an account that has some. The condition is a column of its own: one on
-- remaining_micro_usd would have every operation touch both indexes, since an update of a column that an index names is never HOT.
CREATE INDEX grants_open ON grants (account_id) WHERE is_open;

COMMENT ON TABLE grants IS 'Credits that expire, and what remains of them.';
COMMENT ON COLUMN grants.account_id IS 'The account.';
COMMENT ON COLUMN grants.sequence IS 'The entry that credited it.';
COMMENT ON COLUMN grants.amount_micro_usd IS 'What was granted, in micro-USD.';
COMMENT ON COLUMN grants.remaining_micro_usd IS
    'What has been neither spent nor made other money, and has not lapsed, in micro-USD. What is not pinned of it is no money from expire_time on, whether or not that is recorded.';
COMMENT ON COLUMN grants.pinned_micro_usd IS 'What open reservations hold of what remains, in micro-USD.';
COMMENT ON COLUMN grants.lapsed_micro_usd IS 'What has lapsed of it, in micro-USD.';
COMMENT ON COLUMN grants.reversed_micro_usd IS
    'What reversals have taken back of the credit, less what was given back of these, in micro-USD.';
COMMENT ON COLUMN grants.expire_time IS 'From when on it pays for nothing but what it is pinned for.';
COMMENT ON COLUMN grants.is_open IS 'Whether anything remains of it.';

CREATE TABLE imported_accounts (
    account_id             account_id NOT NULL PRIMARY KEY,
    rows                   not_negative NOT NULL,
    amount_micro_usd       NUMERIC NOT NULL,
    adjustment_micro_usd   NUMERIC NOT NULL,
    withdrawable_micro_usd BIGINT NOT NULL,
    last_create_time       TIMESTAMPTZ,
    last_id                BIGINT,
    CONSTRAINT imported_accounts_last
        CHECK (num_nulls(last_create_time, last_id) = CASE rows WHEN 0 THEN 2 ELSE 0 END)
);

COMMENT ON TABLE imported_accounts IS
    'How far the history that an account had in the replaced system is in the journal. Written with the entries, by `billing import` only.';
COMMENT ON COLUMN imported_accounts.account_id IS 'The account.';
COMMENT ON COLUMN imported_accounts.rows IS 'How many rows of the replaced system''s journal are entries here.';
COMMENT ON COLUMN imported_accounts.amount_micro_usd IS 'The sum of their amounts, in micro-USD.';
COMMENT ON COLUMN imported_accounts.adjustment_micro_usd IS
    'The sum of the adjustments, in micro-USD: entries that balance what did not add up in the replaced system.';
COMMENT ON COLUMN imported_accounts.withdrawable_micro_usd IS
    'How much of the balance could be paid out, by the replaced system, in micro-USD: at least 0 and at most the balance.';
COMMENT ON COLUMN imported_accounts.last_create_time IS 'The time of the last of the rows, in the order of time and number.';
COMMENT ON COLUMN imported_accounts.last_id IS 'The number of that row.';

-- What was written stays written.
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- The service takes away an account's row which it made only to lock it. No other goes.
CREATE TRIGGER accounts_stay BEFORE DELETE ON accounts
    FOR EACH ROW WHEN (OLD.last_sequence > 0) EXECUTE FUNCTION refuse_change();
-- Also under session_replication_role = replica, which skips ordinary triggers.
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_append_only;
