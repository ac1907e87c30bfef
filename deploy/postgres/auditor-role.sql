-- All that `billing audit` and `billing export` need: to read the book, on the server of the service or on a standby of it.
--
-- Run it as a superuser, after each `billing migrate`, in the database of the book:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/auditor-role.sql "$DATABASE_URL"
--
-- The role itself is made once: CREATE ROLE billing_auditor LOGIN PASSWORD '...';

GRANT USAGE ON SCHEMA public TO billing_auditor;
GRANT SELECT ON accounts, ledger_entries, reservations, refusals, external_credits, external_replays TO billing_auditor;
