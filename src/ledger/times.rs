//! Converts between the times of PostgreSQL and the domain's.

use diesel::data_types::PgTimestamp;

use crate::accounting::Timestamp;

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

pub(crate) fn timestamp(timestamp: PgTimestamp) -> Timestamp {
    Timestamp::from_unix_micros(timestamp.0.saturating_add(POSTGRES_EPOCH_MICROS))
}

pub(crate) fn pg_timestamp(timestamp: Timestamp) -> PgTimestamp {
    match timestamp.unix_micros() {
        i64::MAX => PgTimestamp(i64::MAX), // infinity, and times too close to it to be told apart
        micros => PgTimestamp(micros.saturating_sub(POSTGRES_EPOCH_MICROS)),
    }
}
