-- All that `billing audit` and `billing export` need: to read the ledger, on the server of the service or on a standby of it.
--
-- Run it as a superuser, after each `billing migrate`, in the database of the ledger, whatever schema that is in:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/auditor-role.sql "$DATABASE_URL"
--
-- The role itself is made once: CREATE ROLE billing_auditor LOGIN PASSWORD '...';

DO $$
DECLARE
    ledger text;
    book text;
BEGIN
    -- The schema of the ledger: the role looks nowhere else.
    SELECT a.relnamespace::regnamespace INTO STRICT ledger
    FROM pg_class a JOIN pg_class b USING (relnamespace)
    WHERE a.relname = 'payments' AND b.relname = 'billing_books' AND a.relkind IN ('r', 'p');
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO billing_auditor', ledger);
    EXECUTE format('ALTER ROLE billing_auditor IN DATABASE %I SET search_path = %s', current_database(), ledger);

    -- Its one book is in the same schema; several have a schema each.
    FOR book IN
        SELECT relnamespace::regnamespace FROM pg_class
        WHERE relname = 'ledger_entries' AND relkind IN ('r', 'p')
            AND (relnamespace = ledger::regnamespace OR relnamespace::regnamespace::text LIKE 'book\_%')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO billing_auditor', book);
        PERFORM set_config('search_path', book || ', ' || ledger, true);

        GRANT SELECT ON accounts, ledger_entries, reservations, grants, refusals, payments, external_replays, billing_books
            TO billing_auditor;
    END LOOP;
END
$$;
