//! Moments, as the database counts them: whole microseconds.

/// A moment in microseconds since 1970-01-01T00:00:00Z. The database's clock makes it, never the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment so many microseconds after 1970 began.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 began.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }
}
