-- All that `billing audit` and `billing export` need: to read the book, on the server of the service or on a standby of it.
--
-- Run it as a superuser, after each `billing migrate`, in the database of the book, whatever schema that is in:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/auditor-role.sql "$DATABASE_URL"
--
-- The role itself is made once: CREATE ROLE billing_auditor LOGIN PASSWORD '...';

-- The schema of the book: the role may use it, and looks nowhere else; the rest of this script neither.
DO $$
DECLARE
    book text;
BEGIN
    SELECT a.relnamespace::regnamespace INTO STRICT book
    FROM pg_class a JOIN pg_class b USING (relnamespace)
    WHERE a.relname = 'ledger_entries' AND b.relname = 'payments' AND a.relkind IN ('r', 'p');
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO billing_auditor', book);
    EXECUTE format('ALTER ROLE billing_auditor IN DATABASE %I SET search_path = %s', current_database(), book);
    PERFORM set_config('search_path', book, false);
END
$$;

GRANT SELECT ON accounts, ledger_entries, reservations, grants, refusals, payments, external_replays TO billing_auditor;
