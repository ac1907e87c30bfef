//! Moments, as the database counts them: whole microseconds.

use std::fmt;

use jiff::civil;

/// How long a date is, such as `2026-11-24`.
const DATE_LENGTH: usize = 10;

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

    /// Parses a time as in RFC 3339, such as `2026-11-24T07:28:25Z`, or a date, at whose beginning in UTC it is.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let of_date = || {
            // A date reads a time without an offset, too, and would forget the time.
            let date = Some(text).filter(|text| text.len() == DATE_LENGTH)?.parse::<civil::Date>().ok()?;
            Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        };
        match text.parse::<jiff::Timestamp>().ok().or_else(of_date) {
            Some(time) => Ok(Self(time.as_microsecond())),
            None => Err("must be a date or a time such as 2026-11-24 or 2026-11-24T07:28:25Z".into()),
        }
    }

    /// The date in UTC, or `None` where it is beyond the year 9999.
    #[must_use]
    pub fn date(self) -> Option<civil::Date> {
        let time = jiff::Timestamp::from_microsecond(self.0).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

/// As in RFC 3339, in UTC, to the microsecond. What is beyond the year 9999, as PostgreSQL's infinity is, has no such form.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} microseconds after 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_in_rfc_3339_and_read_again() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_795_505_305_746_213, "2026-11-24T07:28:25.746213Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
        ] {
            let time = Timestamp::from_unix_micros(micros);
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(time));
        }
    }

    #[test]
    fn a_date_is_its_beginning_in_utc() {
        assert_eq!(Timestamp::parse("2026-11-24").unwrap().to_string(), "2026-11-24T00:00:00.000000Z");
        assert_eq!(Timestamp::parse("2026-11-24T02:00:00+02:00"), Timestamp::parse("2026-11-24"));
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-24T07:28:25"] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_no_calendar_has_is_written_all_the_same() {
        let infinity = Timestamp::from_unix_micros(i64::MAX);
        assert_eq!(infinity.to_string(), "9223372036854775807 microseconds after 1970");
        assert_eq!(infinity.date(), None);
    }
}
