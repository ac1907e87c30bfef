DROP TABLE reservations;
DROP TABLE external_replays;
DROP TABLE external_credits;
DROP TABLE refusals;
DROP TABLE ledger_entries;
DROP TABLE accounts;
DROP FUNCTION refuse_change();
