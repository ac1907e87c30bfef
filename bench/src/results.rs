//! Everything that a run found, as it is kept in `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{load::Sample, machine::Machine, statistics::median};

/// Everything that a run found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) extent: Extent,
    /// The samples of each step, one of a round.
    pub(crate) samples: BTreeMap<String, Vec<Sample>>,
    /// What the steps of credits over many accounts wrote, one of a round.
    pub(crate) footprints: BTreeMap<String, Vec<Footprint>>,
    pub(crate) open_loop: Vec<OpenLoop>,
    pub(crate) memory: Option<Memory>,
    pub(crate) growth: Option<Growth>,
    /// What could not be measured, and why it is no failure.
    pub(crate) notes: Vec<String>,
    pub(crate) failures: Vec<String>,
}

/// How long and how often was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
    pub(crate) billing_flags: Vec<String>,
    pub(crate) only: Vec<String>,
}

/// What the database wrote for each operation.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Footprint {
    pub(crate) wal_bytes: f64,
    /// Operations in one transaction.
    pub(crate) batch: f64,
}

/// Calls that arrived at a fixed rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpenLoop {
    pub(crate) share: f64,
    pub(crate) asked_rate: f64,
    pub(crate) sample: Sample,
}

/// Resident memory of the service, in KiB.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) start: u64,
    pub(crate) in_flight: usize,
    /// The most that was seen in the first run.
    pub(crate) sampled_peak: u64,
    /// The kernel's own account of the most there ever was.
    pub(crate) peak: u64,
    /// How many calls had been answered in all, and what was resident then, after each run.
    pub(crate) after: Vec<(u64, u64)>,
}

/// The same load on a small and a large book.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) small_entries: i64,
    pub(crate) large_entries: i64,
    pub(crate) small: Vec<Sample>,
    pub(crate) large: Vec<Sample>,
    /// How long the large book took to fill.
    pub(crate) fill_seconds: f64,
    /// Bytes for each entry of the large book: the table, then each of its indexes.
    pub(crate) bytes_per_entry: Vec<(String, f64)>,
}

impl Results {
    pub(crate) fn median(&self, step: &str, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.get(step)?.iter().map(of))
    }

    /// The median of what is known of some samples only.
    pub(crate) fn median_known(&self, step: &str, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.get(step)?.iter().filter_map(of))
    }

    pub(crate) fn rate(&self, step: &str) -> Option<f64> {
        self.median(step, |sample| sample.rate)
    }

    pub(crate) fn p50(&self, step: &str) -> Option<f64> {
        self.median(step, |sample| sample.p50_us as f64)
    }

    /// The better of several.
    pub(crate) fn best_rate(&self, steps: &[&str]) -> Option<f64> {
        steps.iter().filter_map(|step| self.rate(step)).max_by(f64::total_cmp)
    }

    pub(crate) fn footprint(&self, step: &str, of: impl Fn(&Footprint) -> f64) -> Option<f64> {
        median(self.footprints.get(step)?.iter().map(of))
    }
}

impl Memory {
    pub(crate) fn calls(&self) -> u64 {
        self.after.last().map_or(0, |(calls, _)| *calls)
    }

    pub(crate) fn at_end(&self) -> Option<u64> {
        self.after.last().map(|(_, resident)| *resident)
    }

    /// After about half of the calls: how many, and what was resident then.
    pub(crate) fn half_way(&self) -> Option<(u64, u64)> {
        let (_, before_end) = self.after.split_last()?;
        before_end.iter().copied().min_by_key(|(calls, _)| calls.abs_diff(self.calls() / 2))
    }

    /// What is resident after all calls, against after half of them.
    pub(crate) fn second_half(&self) -> Option<f64> {
        Some(self.at_end()? as f64 / self.half_way()?.1 as f64)
    }
}

impl Growth {
    pub(crate) fn rates(&self) -> Option<(f64, f64)> {
        let rate = |samples: &[Sample]| median(samples.iter().map(|sample| sample.rate));
        Some((rate(&self.small)?, rate(&self.large)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_baseline_is_the_one_that_counts() {
        let sample = |rate| Sample { rate, ..Sample::default() };
        let mut results = Results::default();
        results.samples.insert("a".into(), vec![sample(1.0), sample(9.0), sample(2.0)]);
        results.samples.insert("b".into(), vec![sample(3.0)]);
        assert_eq!(results.best_rate(&["a", "b", "c"]), Some(3.0));
        assert_eq!(results.best_rate(&["c"]), None);
    }

    #[test]
    fn flat_memory_is_that_of_the_second_half() {
        let after = vec![(100, 10_000), (500, 40_000), (1_000, 42_000)];
        let memory = Memory { after, ..Memory::default() };
        assert!((memory.second_half().unwrap() - 1.05).abs() < 1e-9);
        assert_eq!(Memory::default().second_half(), None);
    }
}
