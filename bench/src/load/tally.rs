//! Counts and latencies of the calls of one connection.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::Sample;

const LONGEST: Duration = Duration::from_secs(120);

/// The time that is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    from: Instant,
    length: Duration,
}

impl Window {
    pub(super) fn after(from: Instant, length: Duration) -> Self {
        Self { from, length }
    }

    pub(super) fn from(self) -> Instant {
        self.from
    }

    pub(super) fn until(self) -> Instant {
        self.from + self.length
    }

    fn contains(self, moment: Instant) -> bool {
        (self.from..self.until()).contains(&moment)
    }
}

/// Which calls count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Basis {
    /// Those answered in the window: a rate of answers.
    Answered,
    /// Those due in the window, whenever they were answered, so that the slow ones are not left out.
    Due,
}

/// Why an answer was not the expected one: its gRPC code or another name, and its message.
#[derive(Debug)]
pub(super) struct Unexpected {
    pub(super) code: String,
    pub(super) message: String,
}

/// Counts and latencies.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    basis: Basis,
    latencies: Histogram<u64>,
    calls: u64,
    errors: BTreeMap<String, (u64, String)>,
}

impl Tally {
    pub(super) fn new(window: Window, basis: Basis) -> Self {
        let longest = LONGEST.as_micros() as u64;
        let latencies =
            Histogram::new_with_max(longest, 3).expect("three digits up to two minutes are possible");
        Self { window, basis, latencies, calls: 0, errors: BTreeMap::new() }
    }

    /// Counts a call that was due then and has been answered now.
    pub(super) fn answered(&mut self, due: Instant, result: Result<(), Unexpected>) {
        if let Err(Unexpected { code, message }) = result {
            self.errors.entry(code).or_insert((0, message)).0 += 1;
            return;
        }
        self.calls += 1;
        let now = Instant::now();
        let counts = match self.basis {
            Basis::Answered => self.window.contains(now),
            Basis::Due => self.window.contains(due),
        };
        if counts {
            self.latencies.saturating_record((now - due).as_micros() as u64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latencies.add(&other.latencies).context("cannot merge the histograms")?;
        self.calls += other.calls;
        for (code, (count, message)) in &other.errors {
            self.errors.entry(code.clone()).or_insert((0, message.clone())).0 += count;
        }
        Ok(())
    }

    /// Tells people about answers that were not expected.
    pub(super) fn report(&self) {
        for (code, (count, message)) in &self.errors {
            eprintln!("{count} answers were {code}, the first: {message}");
        }
    }

    pub(super) fn sample(&self, unanswered: u64) -> Sample {
        let operations = self.latencies.len();
        let seconds = self.window.length.as_secs_f64();
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        Sample {
            operations,
            seconds,
            rate: operations as f64 / seconds,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.latencies.max(),
            errors: self.errors.iter().map(|(code, (count, _))| (code.clone(), *count)).collect(),
            unanswered,
            calls: self.calls,
            ..Sample::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_into_the_window_counts() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let window = Window::after(now - second, 2 * second);
        let mut answered = Tally::new(window, Basis::Answered);
        answered.answered(now - 2 * second, Ok(()));
        let mut due = Tally::new(window, Basis::Due);
        due.answered(now - 2 * second, Ok(()));
        due.answered(now, Err(Unexpected { code: "Unavailable".into(), message: String::new() }));
        assert_eq!(answered.sample(0).operations, 1);
        assert!(answered.sample(0).p50_us >= 2_000_000);
        let sample = due.sample(3);
        assert_eq!((sample.operations, sample.calls, sample.unanswered), (0, 1, 3));
        assert_eq!(sample.errors["Unavailable"], 1);
        assert_eq!(sample.fault().unwrap(), "1 x Unavailable, 3 unanswered, nothing was answered");
    }
}
