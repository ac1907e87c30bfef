//! Compares the database's clock with this machine's. The database's time is written into the book, where times never go
//! back: a wrong time, once written, stays with an account until the real time has caught up with it.

use std::time::{Duration, SystemTime};

use crate::accounting::Timestamp;

/// The largest difference that is tolerated: more than synchronised clocks ever differ, and too little to harm a lease.
const APART_MAX: Duration = Duration::from_secs(60);

/// The clocks differ by too much.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database's clock is {apart} s {direction} this machine's: one of them is wrong",
    apart = .ahead_seconds.unsigned_abs(),
    direction = if *.ahead_seconds < 0 { "behind" } else { "ahead of" }
)]
pub(super) struct ClocksDiffer {
    ahead_seconds: i64,
}

/// A time read from the database, and the times of this machine between which it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    asked: SystemTime,
    told: SystemTime,
    database: Timestamp,
}

impl Reading {
    /// A time that was requested from the database at `asked`, and has just arrived.
    pub(super) fn told_now(asked: SystemTime, database: Timestamp) -> Self {
        Self { asked, told: SystemTime::now(), database }
    }

    /// How far the database's clock is ahead of this machine's, in microseconds; negative if it is behind. The duration of
    /// the round trip does not matter.
    fn ahead_micros(&self) -> i64 {
        let (asked, told, database) = (micros(self.asked), micros(self.told), self.database.unix_micros());
        // A clock that was set back in between reads earlier than `asked`.
        database.saturating_sub(database.clamp(asked.min(told), told.max(asked)))
    }

    /// The same in whole seconds.
    pub(super) fn ahead_seconds(&self) -> i64 {
        self.ahead_micros() / 1_000_000
    }

    /// Fails if the clocks differ by too much.
    pub(super) fn must_agree(&self) -> Result<(), ClocksDiffer> {
        if Duration::from_micros(self.ahead_micros().unsigned_abs()) <= APART_MAX {
            return Ok(());
        }
        Err(ClocksDiffer { ahead_seconds: self.ahead_seconds() })
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn clocks_agree_within_a_minute_however_long_the_answer_took() {
        for (asked, told, database, ahead) in [
            (1_000, 1_000, 1_000, 0),
            (1_000, 1_600, 1_300, 0),
            (1_000, 1_010, 1_070, 60),
            (1_000, 1_010, 940, -60),
            (1_000, 1_010, 1_071, 61),
            (1_000, 1_010, 939, -61),
            (1_000, 400, 700, 0),
            (1_000, 1_000, 32_000_000, 31_999_000),
        ] {
            let database = Timestamp::from_unix_micros(database * 1_000_000);
            let reading = Reading { asked: at(asked), told: at(told), database };
            assert_eq!(reading.ahead_seconds(), ahead, "{reading:?}");
            assert_eq!(reading.must_agree().is_ok(), ahead.abs() <= 60, "{reading:?}");
        }
    }

    #[test]
    fn who_is_told_learns_which_clock_is_ahead() {
        let ahead = ClocksDiffer { ahead_seconds: 3_600 }.to_string();
        assert_eq!(ahead, "the database's clock is 3600 s ahead of this machine's: one of them is wrong");
        assert!(ClocksDiffer { ahead_seconds: -90 }.to_string().contains("is 90 s behind this"));
    }
}
