//! Moments, as the database counts them: whole microseconds.

/// A moment in microseconds since 1970-01-01T00:00:00Z. The database's clock makes it, never the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// How long something lasts: at least a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(i64);

impl Ttl {
    /// The shortest time that there is.
    pub const SHORTEST: Self = Self(1);

    /// So many microseconds, or `None` if that is no time at all.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros >= 1 { Some(Self(micros)) } else { None }
    }

    /// How many microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
}

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

    /// The moment so much later, or the last one that there is.
    #[must_use]
    pub const fn after(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(ttl.0))
    }
}
