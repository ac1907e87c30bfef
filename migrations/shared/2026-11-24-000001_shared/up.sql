-- What stands once in a ledger, however many books its accounts are spread over: the types of the columns, the names of payments, and
-- how many books there are. The tables of a book are made by the migrations in `book`: in this schema if there is one book, and in a
-- schema for each if there are several. Enumerations are SMALLINTs with the numbers of the proto.

-- What is true of one value is said by its type. It is also cheaper so: a session prepares the checks of a type once, those of
-- a table anew for each statement that writes to it; and an UPDATE checks only the types of what it sets.
-- Bytewise collation, because the service sorts account ids bytewise before it locks them. A name is checked by looking
-- for a byte that may not be in it: a regular expression with a counted repetition, such as {1,128}, took a third of the
-- time of writing an entry.
CREATE DOMAIN account_id AS TEXT COLLATE "C"
    CONSTRAINT account_id CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN idempotency_key AS TEXT COLLATE "C"
    CONSTRAINT idempotency_key CHECK (VALUE !~ '[^!-~]' AND octet_length(VALUE) BETWEEN 1 AND 270);
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

CREATE TABLE billing_books (
    is_only_row BOOLEAN PRIMARY KEY DEFAULT true CONSTRAINT billing_books_one_row CHECK (is_only_row),
    count       SMALLINT NOT NULL CONSTRAINT billing_books_count CHECK (count BETWEEN 1 AND 64),
    hash        TEXT NOT NULL CONSTRAINT billing_books_hash CHECK (hash = 'sha256')
);

COMMENT ON TABLE billing_books IS
    'How the accounts are spread over books. Fixed when the ledger is made: `billing migrate --books`.';
COMMENT ON COLUMN billing_books.is_only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN billing_books.count IS
    'How many books there are. One stands in this schema; several in the schemas book_00, book_01 and so on.';
COMMENT ON COLUMN billing_books.hash IS
    'How an account id leads to its book: the first four bytes of its SHA-256 as a big-endian number, modulo the count.';

CREATE TABLE payments (
    -- No domain: Citus distributes this table by it, and looks in the wrong place for a value of a domain.
    external_id TEXT COLLATE "C" NOT NULL PRIMARY KEY
        CONSTRAINT external_id CHECK (external_id !~ '[^!-~]' AND octet_length(external_id) BETWEEN 1 AND 255),
    account_id  account_id NOT NULL,
    sequence    sequence NOT NULL
);

COMMENT ON TABLE payments IS
    'The names of payments in other systems: each names one entry, over all accounts, methods and keys. UPDATE, DELETE and TRUNCATE are refused.';
COMMENT ON COLUMN payments.external_id IS 'The id of the payment in the other system.';
COMMENT ON COLUMN payments.account_id IS 'The account of the entry.';
COMMENT ON COLUMN payments.sequence IS 'The entry.';

-- What was written stays written: for the service, for an operator in psql, and for a mistaken script.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was written stays written', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Correct a mistake by a further entry.';
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Refuses the statement. Never runs when entries are written.';

CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Also under session_replication_role = replica, which skips ordinary triggers.
ALTER TABLE payments ENABLE ALWAYS TRIGGER payments_append_only;
