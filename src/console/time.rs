//! Times for people: in UTC, and the page says so.

use std::time::{SystemTime, UNIX_EPOCH};

use maud::{Markup, html};
use prost_types::Timestamp as Proto;

use crate::accounting::Timestamp;

/// The time of a message; the first of all if it has none.
pub(super) fn of(time: Option<&Proto>) -> Timestamp {
    let micros =
        time.map(|time| time.seconds.saturating_mul(1_000_000).saturating_add((time.nanos / 1_000).into()));
    Timestamp::from_unix_micros(micros.unwrap_or_default())
}

/// The message of a time.
pub(super) fn message(time: Timestamp) -> Proto {
    let micros = time.unix_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default(); // fewer than 10^9
    Proto { seconds: micros.div_euclid(1_000_000), nanos }
}

/// The time now, by this machine's clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time to the second, such as `2026-11-25 22:06:04 UTC`.
pub(super) fn short(time: Option<&Proto>) -> Markup {
    let time = of(time);
    element(time, &to_the_second(time))
}

/// A time to the microsecond.
pub(super) fn exact(time: Option<&Proto>) -> Markup {
    let time = of(time);
    element(time, &time.to_string().replace('T', " ").replace('Z', " UTC"))
}

/// A time to the second, as text.
pub(super) fn to_the_second(time: Timestamp) -> String {
    let text = time.to_string().replace('T', " ");
    format!("{} UTC", text.split(['.', 'Z']).next().unwrap_or_default())
}

fn element(time: Timestamp, text: &str) -> Markup {
    html! { time datetime=(time) { (text) } }
}

/// A month of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// Reads a month such as `2026-11`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let are_digits = [year, month].concat().bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = year.len() == 4 && month.len() == 2 && are_digits;
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        (is_plain && (1..=9998).contains(&year) && (1..=12).contains(&month)).then_some(Self { year, month })
    }

    /// The month that a time is in.
    pub(super) fn containing(time: Timestamp) -> Option<Self> {
        Self::parse(time.to_string().get(..7)?)
    }

    /// The one after.
    pub(super) fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { month: self.month + 1, ..self }
        }
    }

    /// The one before.
    pub(super) fn previous(self) -> Self {
        if self.month == 1 {
            Self { year: self.year - 1, month: 12 }
        } else {
            Self { month: self.month - 1, ..self }
        }
    }

    /// Its first day, such as `2026-11-01`.
    pub(super) fn first_day(self) -> String {
        format!("{self}-01")
    }

    /// When it begins.
    pub(super) fn begin(self) -> Timestamp {
        Timestamp::parse(&self.first_day()).unwrap_or(Timestamp::FIRST) // every month has a first day
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_its_zone() {
        let time = message(Timestamp::parse("2026-11-24T07:28:25.746213Z").unwrap());
        assert_eq!(
            short(Some(&time)).into_string(),
            r#"<time datetime="2026-11-24T07:28:25.746213Z">2026-11-24 07:28:25 UTC</time>"#
        );
        assert!(exact(Some(&time)).into_string().contains(">2026-11-24 07:28:25.746213 UTC<"));
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let december = Month::parse("2026-12").unwrap();
        assert_eq!(december.next().to_string(), "2027-01");
        assert_eq!(december.next().previous(), december);
        assert_eq!(december.begin(), Timestamp::parse("2026-12-01").unwrap());
        for wrong in ["", "2026", "2026-13", "2026-00", "26-12", "2026-1", "2026-12-01", "9999-12", "+026-12"]
        {
            assert_eq!(Month::parse(wrong), None, "{wrong}");
        }
    }
}
