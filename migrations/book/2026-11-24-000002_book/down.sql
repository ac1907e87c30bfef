DROP TABLE imported_accounts;
DROP TABLE grants;
DROP TABLE reservations;
DROP TABLE external_replays;
DROP TABLE refusals;
DROP TABLE ledger_entries;
DROP TABLE accounts;
