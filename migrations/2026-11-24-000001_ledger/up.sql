-- The book. `account_id` leads every key, and nothing joins across accounts, so the same schema can be distributed by
-- account. Enumerations are SMALLINTs with the numbers of the proto.

-- What is true of one value is said by its type. It is also cheaper so: a session prepares the checks of a type once, those of
-- a table anew for each statement that writes to it; and an UPDATE checks only the types of what it sets.
-- Bytewise collation, because the service sorts account ids bytewise before it locks them. A name is checked by looking
-- for a byte that may not be in it: a regular expression with a counted repetition, such as {1,128}, took a third of the
-- time of writing an entry.
CREATE DOMAIN account_id AS TEXT COLLATE "C"
    CONSTRAINT account_id CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN idempotency_key AS TEXT COLLATE "C"
    CONSTRAINT idempotency_key CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 270);
CREATE DOMAIN external_id AS TEXT COLLATE "C"
    CONSTRAINT external_id CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN caller_name AS TEXT COLLATE "C"
    CONSTRAINT caller_name CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN entry_type AS SMALLINT CONSTRAINT entry_type CHECK (VALUE BETWEEN 1 AND 18);
CREATE DOMAIN reservation_state AS SMALLINT CONSTRAINT reservation_state CHECK (VALUE BETWEEN 1 AND 4);
CREATE DOMAIN expiry_policy AS SMALLINT CONSTRAINT expiry_policy CHECK (VALUE BETWEEN 1 AND 2);
CREATE DOMAIN account_state AS SMALLINT CONSTRAINT account_state CHECK (VALUE BETWEEN 1 AND 3);
CREATE DOMAIN sequence AS BIGINT CONSTRAINT sequence CHECK (VALUE >= 1);
CREATE DOMAIN not_negative AS BIGINT CONSTRAINT not_negative CHECK (VALUE >= 0);
CREATE TYPE facts AS (
    state account_state, debt_limit_micro_usd not_negative, withdrawable_micro_usd not_negative, granted_micro_usd not_negative
);
CREATE DOMAIN account_facts AS facts
    CONSTRAINT account_facts CHECK (num_nonnulls((VALUE).state, (VALUE).withdrawable_micro_usd) = 2 OR VALUE IS NULL);
CREATE DOMAIN legs AS JSONB CONSTRAINT legs CHECK (jsonb_typeof(VALUE) = 'array');
CREATE DOMAIN shares AS JSONB CONSTRAINT shares CHECK (jsonb_typeof(VALUE) = 'array');
CREATE DOMAIN notes AS JSONB CONSTRAINT notes CHECK (jsonb_typeof(VALUE) = 'object');

-- What the columns of an entry say together. A type of its own, so that a session prepares these checks once: as checks of the table
-- they took four fifths of the time in which one entry is written. History from before this ledger has no key, and keeps whatever
-- signs and gaps in its facts it had.
CREATE TYPE entry_columns AS (
    account_id TEXT, sequence BIGINT, entry_type SMALLINT, amount_micro_usd BIGINT, held_delta_micro_usd BIGINT,
    posted_after BIGINT, held_after BIGINT, refunded_sequence BIGINT, reversed_sequence BIGINT, idempotency_key TEXT,
    fingerprint BYTEA, external_ids TEXT[], actor TEXT, reason TEXT, reservation_id TEXT, reservation_state SMALLINT,
    reservation_held BIGINT, reservation_captured BIGINT, uncollected_micro_usd BIGINT, expire_time TIMESTAMPTZ,
    close_time TIMESTAMPTZ, expiry_policy SMALLINT, account_state SMALLINT, debt_limit_micro_usd BIGINT,
    withdrawable_after BIGINT, legs JSONB, funded_micro_usd BIGINT, source_account_id TEXT, source_sequence BIGINT,
    grant_expire_time TIMESTAMPTZ, grant_moves JSONB, granted_after BIGINT, lapsed_micro_usd BIGINT
);
CREATE DOMAIN entry_rules AS entry_columns
    CONSTRAINT ledger_entries_refunded_sequence
        CHECK ((VALUE).refunded_sequence BETWEEN 1 AND (VALUE).sequence - 1)
    CONSTRAINT ledger_entries_key_has_fingerprint
        CHECK (((VALUE).idempotency_key IS NULL) = ((VALUE).fingerprint IS NULL))
    CONSTRAINT ledger_entries_signs CHECK (
        (VALUE).idempotency_key IS NULL OR CASE
            WHEN (VALUE).entry_type IN (6, 16) THEN
                (VALUE).held_delta_micro_usd = 0 AND (VALUE).amount_micro_usd <= 0
                AND (VALUE).amount_micro_usd < coalesce((VALUE).uncollected_micro_usd, 0)
            WHEN (VALUE).entry_type <= 8 THEN (VALUE).held_delta_micro_usd = 0 AND (VALUE).amount_micro_usd > 0
            WHEN (VALUE).entry_type = 10 THEN (VALUE).amount_micro_usd <= 0 AND (VALUE).held_delta_micro_usd <= 0
            WHEN (VALUE).entry_type IN (9, 12) THEN (VALUE).amount_micro_usd = 0 AND (VALUE).held_delta_micro_usd >= 0
            WHEN (VALUE).entry_type = 14 THEN (VALUE).held_delta_micro_usd = 0
            WHEN (VALUE).entry_type IN (15, 18) THEN (VALUE).held_delta_micro_usd = 0 AND (VALUE).amount_micro_usd < 0
            WHEN (VALUE).entry_type = 17 THEN (VALUE).held_delta_micro_usd = 0 AND (VALUE).amount_micro_usd > 0
            ELSE (VALUE).amount_micro_usd = 0 AND (VALUE).held_delta_micro_usd <= 0
        END
    )
    CONSTRAINT ledger_entries_facts CHECK (
        (VALUE).idempotency_key IS NULL OR (
            ((VALUE).entry_type <> 1 OR (VALUE).external_ids IS NOT NULL)
            AND cardinality((VALUE).external_ids) BETWEEN 1 AND 4
            AND ((VALUE).entry_type = 7) = ((VALUE).refunded_sequence IS NOT NULL)
            AND (VALUE).reversed_sequence BETWEEN 1 AND (VALUE).sequence - 1
            AND (VALUE).withdrawable_after BETWEEN 1 AND (VALUE).posted_after
            AND (VALUE).granted_after
                BETWEEN 1 AND (VALUE).posted_after - (VALUE).held_after - coalesce((VALUE).lapsed_micro_usd, 0)
            AND ((VALUE).entry_type IN (2, 3, 4, 5, 8) OR (VALUE).grant_expire_time IS NULL)
            AND ((VALUE).entry_type <> 18 OR (VALUE).grant_moves IS NOT NULL)
            AND CASE (VALUE).entry_type
                WHEN 16 THEN (VALUE).reversed_sequence IS NOT NULL
                WHEN 7 THEN true
                ELSE (VALUE).reversed_sequence IS NULL
            END
            AND ((VALUE).entry_type IN (8, 14)) = ((VALUE).actor IS NOT NULL)
            AND CASE
                WHEN (VALUE).entry_type IN (8, 14) THEN (VALUE).reason IS NOT NULL
                ELSE (VALUE).entry_type = 16 OR (VALUE).reason IS NULL
            END
            AND ((VALUE).entry_type BETWEEN 9 AND 13) = ((VALUE).reservation_id IS NOT NULL)
            AND ((VALUE).entry_type = 14) = ((VALUE).account_state IS NOT NULL)
            AND ((VALUE).entry_type = 14 OR (VALUE).debt_limit_micro_usd IS NULL)
            AND ((VALUE).entry_type IN (6, 10, 16) OR (VALUE).uncollected_micro_usd IS NULL)
            AND ((VALUE).entry_type IN (6, 7, 10) OR (VALUE).legs IS NULL)
            AND ((VALUE).entry_type IN (6, 10) AND (VALUE).legs IS NOT NULL) = ((VALUE).funded_micro_usd IS NOT NULL)
            AND ((VALUE).source_account_id IS NULL) = ((VALUE).source_sequence IS NULL)
            AND ((VALUE).entry_type <> 17 OR (VALUE).source_sequence IS NOT NULL)
            AND ((VALUE).source_sequence IS NULL
                OR (VALUE).entry_type IN (3, 4, 16, 17) AND (VALUE).source_account_id <> (VALUE).account_id)
        )
    )
    CONSTRAINT ledger_entries_reservation CHECK (
        num_nonnulls((VALUE).reservation_id, (VALUE).reservation_state, (VALUE).reservation_held,
                     (VALUE).reservation_captured, (VALUE).expire_time, (VALUE).expiry_policy) IN (0, 6)
        AND ((VALUE).close_time IS NULL) = ((VALUE).reservation_state IS NULL OR (VALUE).reservation_state = 1)
    );

COMMENT ON DOMAIN account_id IS 'The caller''s opaque name for an account: visible ASCII.';
COMMENT ON DOMAIN idempotency_key IS
    'The name of an operation: visible ASCII. A caller''s has up to 255 characters; the service''s own puts a prefix in front of one.';
COMMENT ON DOMAIN external_id IS 'The id of a payment in another system: visible ASCII.';
COMMENT ON DOMAIN caller_name IS 'The name that goes with a caller''s credentials: visible ASCII.';
COMMENT ON DOMAIN entry_type IS 'The type of an entry, by its number in the proto.';
COMMENT ON DOMAIN reservation_state IS 'The state of a reservation, by its number in the proto.';
COMMENT ON DOMAIN expiry_policy IS
    'What becomes of what a reservation holds when its lease runs out, by the number in the proto.';
COMMENT ON DOMAIN account_state IS 'The state of an account, by its number in the proto.';
COMMENT ON DOMAIN sequence IS 'The number of an entry in its account: 1, 2, 3 and so on.';
COMMENT ON DOMAIN not_negative IS 'A number, such as an amount in micro-USD, that is never below zero.';
COMMENT ON TYPE facts IS
    'The state of an account, its own debt limit in micro-USD, if it has one, how much of its balance may leave it, and if anything remains of its grants, how much of that is free to be spent.';
COMMENT ON DOMAIN account_facts IS
    'What is true of few accounts. All of it is known, but a debt limit may be missing, and what is granted where nothing remains of a grant.';
COMMENT ON TYPE entry_columns IS 'The columns of ledger_entries that are checked together.';
COMMENT ON DOMAIN entry_rules IS 'What is true of every entry that has a key, by its type.';
COMMENT ON DOMAIN legs IS 'The legs of an entry: an array.';
COMMENT ON DOMAIN shares IS 'Parts of grants: an array of the sequence of each grant and an amount in micro-USD.';
COMMENT ON DOMAIN notes IS 'The caller''s own notes, or other facts: an object.';

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

-- Whose turn it is to have leases or grants written down that have run out. Not led by the account: each part of a distributed table
-- has its own.
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

CREATE TABLE payments (
    external_id external_id NOT NULL PRIMARY KEY,
    account_id  account_id NOT NULL,
    sequence    sequence NOT NULL
);

COMMENT ON TABLE payments IS
    'The names of payments in other systems: each names one entry, over all accounts, methods and keys. UPDATE, DELETE and TRUNCATE are refused.';
COMMENT ON COLUMN payments.external_id IS 'The id of the payment in the other system.';
COMMENT ON COLUMN payments.account_id IS 'The account of the entry.';
COMMENT ON COLUMN payments.sequence IS 'The entry.';

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

-- What was written stays written: for the service, for an operator in psql, and for a mistaken script.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was written stays written', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Correct a mistake by a further entry.';
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Refuses the statement. Never runs when entries are written.';

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- The service takes away an account's row which it made only to lock it. No other goes.
CREATE TRIGGER accounts_stay BEFORE DELETE ON accounts
    FOR EACH ROW WHEN (OLD.last_sequence > 0) EXECUTE FUNCTION refuse_change();
-- Also under session_replication_role = replica, which skips ordinary triggers.
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_append_only;
ALTER TABLE payments ENABLE ALWAYS TRIGGER payments_append_only;
