-- All that the role of the service needs. `billing migrate` needs more: it runs as the owner of the schema.
--
-- Run it as a superuser, after each `billing migrate`, in the database of the ledger, whatever schema that is in:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/service-role.sql "$DATABASE_URL"
--
-- The role itself is made once: CREATE ROLE billing_service LOGIN PASSWORD '...';

DO $$
DECLARE
    ledger text;
    book text;
BEGIN
    -- The schema of the ledger: the role looks nowhere else.
    SELECT a.relnamespace::regnamespace INTO STRICT ledger
    FROM pg_class a JOIN pg_class b USING (relnamespace)
    WHERE a.relname = 'payments' AND b.relname = 'billing_books' AND a.relkind IN ('r', 'p');
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO billing_service', ledger);
    EXECUTE format('ALTER ROLE billing_service IN DATABASE %I SET search_path = %s', current_database(), ledger);

    -- To see at the start that the schema is up to date.
    EXECUTE format('GRANT SELECT ON %s.__diesel_schema_migrations TO billing_service', ledger);

    -- Its one book is in the same schema; several have a schema each.
    FOR book IN
        SELECT relnamespace::regnamespace FROM pg_class
        WHERE relname = 'ledger_entries' AND relkind IN ('r', 'p')
            AND (relnamespace = ledger::regnamespace OR relnamespace::regnamespace::text LIKE 'book\_%')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO billing_service', book);
        PERFORM set_config('search_path', book || ', ' || ledger, true);

        GRANT SELECT ON __diesel_schema_migrations, billing_books TO billing_service;

        -- What is written for ever. No UPDATE and no DELETE; triggers refuse both to everybody else, too.
        GRANT SELECT, INSERT ON ledger_entries, payments, external_replays, refusals TO billing_service;

        -- What changes. No account, reservation or grant changes its name or its birth.
        GRANT SELECT, INSERT ON accounts, reservations, grants TO billing_service;
        -- Only of rows without an entry, which were made to be locked: a trigger refuses all others.
        GRANT DELETE ON accounts TO billing_service;
        GRANT UPDATE (posted_micro_usd, held_micro_usd, last_sequence, create_time, update_time, next_expire_time, facts)
            ON accounts TO billing_service;
        GRANT UPDATE (state, amount_micro_usd, captured_micro_usd, expire_time, close_time, expiry_policy, close_sequence, pins)
            ON reservations TO billing_service;
        GRANT UPDATE (remaining_micro_usd, pinned_micro_usd, lapsed_micro_usd, reversed_micro_usd) ON grants TO billing_service;
    END LOOP;
END
$$;
