//! Points in time and durations in whole microseconds, as in the database.

use std::fmt;

use jiff::{
    civil::{Date, Time, date},
    fmt::temporal::Pieces,
    tz::Offset,
};

/// A point in time, in microseconds since 1970-01-01T00:00:00Z. It comes from the database's clock, never the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A duration from a microsecond to a hundred years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(i64);

impl Ttl {
    /// The shortest duration.
    pub const SHORTEST: Self = Self(1);
    /// A hundred years. A longer duration is a mistake in the unit, and would leave the calendar.
    pub const LONGEST: Self = Self(36_525 * 24 * 60 * 60 * 1_000_000);

    /// A duration in microseconds, or `None` if it is out of range.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if Self::SHORTEST.0 <= micros && micros <= Self::LONGEST.0 { Some(Self(micros)) } else { None }
    }

    /// The number of microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl Timestamp {
    /// The beginning of the year 1.
    pub const FIRST: Self = Self(-62_135_596_800_000_000);
    /// The last microsecond of the year 9999.
    pub const LAST: Self = Self(253_402_300_799_999_999);

    /// The time that is so many microseconds after 1970-01-01.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// The time after a duration, or the latest possible one.
    #[must_use]
    pub const fn after(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(ttl.0))
    }

    /// Parses a time as in RFC 3339, such as `2026-11-24T07:28:25Z`, or a date, at whose beginning in UTC it is.
    ///
    /// # Errors
    /// When it is neither, is more precise than a microsecond, or is not in the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, String> {
        const PROBLEM: &str = "must be a date or a time such as 2026-11-24 or 2026-11-24T07:28:25.5Z, to the microsecond, in the years 1 to 9999";
        parse_in_any_year(text).filter(|time| (Self::FIRST..=Self::LAST).contains(time)).ok_or(PROBLEM.into())
    }

    /// The date in UTC, or `None` after the year 9999.
    #[must_use]
    pub fn date(self) -> Option<Date> {
        let time = jiff::Timestamp::from_microsecond(self.0).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

/// Does not use `jiff::Timestamp`, which ends 26 hours before the year 9999 does.
fn parse_in_any_year(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok().filter(|pieces| pieces.time_zone_annotation().is_none())?;
    let (time, offset) = match (pieces.time(), pieces.to_numeric_offset()) {
        (Some(time), Some(offset)) => (time, offset),
        (None, None) => (Time::midnight(), Offset::UTC),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let local = pieces.date().to_datetime(time).duration_since(date(1970, 1, 1).at(0, 0, 0, 0));
    let micros = local.as_micros() - i128::from(offset.seconds()) * 1_000_000;
    let is_whole = local.subsec_nanos() % 1_000 == 0;
    i64::try_from(micros).ok().filter(|_| is_whole).map(Timestamp)
}

/// RFC 3339 in UTC, with microseconds. Times after the year 9999, such as PostgreSQL's infinity, have no such form.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} microseconds after 1970", self.0),
        }
    }
}

/// Seconds, with as many decimals as needed.
impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let text = format!("{seconds}.{micros:06}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_written_in_seconds() {
        for (micros, text) in
            [(1, "0.000001"), (500_000, "0.5"), (10_000_000, "10"), (86_400_000_001, "86400.000001")]
        {
            assert_eq!(Ttl::from_micros(micros).unwrap().to_string(), text);
        }
    }

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
        let too_precise = "2026-11-24T07:28:25.1234567Z"; // which would be rounded one way or the other
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-24T07:28:25", too_precise] {
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
