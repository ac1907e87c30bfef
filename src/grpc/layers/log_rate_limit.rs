//! How many lines of the log callers can cause: of each sort only so many in a while, and then one that counts the others.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// For how long lines are counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// How many lines of one sort are written in that time.
const LINES_MAX: u64 = 100;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Counts lines by their sort: the code of the calls that they are about.
#[derive(Debug, Default)]
pub(crate) struct LogRateLimit(Mutex<BTreeMap<&'static str, Lines>>);

/// The lines of one sort since the first of them.
#[derive(Debug)]
struct Lines {
    since: Instant,
    count: u64,
}

impl LogRateLimit {
    /// Counts a line, and tells whether it is to be written.
    pub(crate) fn admits(&self, code: &'static str, now: Instant) -> bool {
        let mut lines = self.lines();
        let lines = lines.entry(code).or_insert(Lines { since: now, count: 0 });
        lines.count += 1;
        lines.count <= LINES_MAX
    }

    /// Says from time to time, forever, how many lines were left out.
    pub(crate) async fn report(&self) {
        loop {
            sleep(REPORT_INTERVAL).await;
            for (code, left_out) in self.take_left_out(Instant::now()) {
                tracing::warn!(code, left_out, "more calls failed than have a line");
            }
        }
    }

    /// Begins again where lines were counted for long enough. Returns the codes of which too many came, and how many too many.
    fn take_left_out(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut left_out = Vec::new();
        self.lines().retain(|code, lines| {
            let is_over = now.duration_since(lines.since) >= WINDOW;
            if is_over && lines.count > LINES_MAX {
                left_out.push((*code, lines.count - LINES_MAX));
            }
            !is_over
        });
        left_out
    }

    /// Nothing panics while it holds the lock.
    fn lines(&self) -> MutexGuard<'_, BTreeMap<&'static str, Lines>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_has_its_lines_and_what_is_left_out_is_counted_once() {
        let (limit, begin) = (LogRateLimit::default(), Instant::now());
        let written = (0..250).filter(|_| limit.admits("UNAVAILABLE", begin)).count();
        assert_eq!(written, 100);
        assert!(limit.admits("ABORTED", begin + WINDOW / 2));
        assert_eq!(limit.take_left_out(begin + WINDOW / 2), []);
        assert_eq!(limit.take_left_out(begin + WINDOW), [("UNAVAILABLE", 150)]);
        assert_eq!(limit.take_left_out(begin + 2 * WINDOW), []);
        assert!(limit.admits("UNAVAILABLE", begin + 2 * WINDOW));
    }
}
