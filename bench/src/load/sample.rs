//! What one measurement found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figures;

/// What one measurement found, of us or of a peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sample {
    /// Calls that counted.
    pub(crate) operations: u64,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Operations in a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    /// Answers that were not expected, by gRPC code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Calls that were still without an answer when patience ended.
    pub(crate) unanswered: u64,
    /// Calls that were answered as expected in all, while warming up too.
    pub(crate) calls: u64,
    /// The share of one core that the caller used.
    pub(crate) caller_core: f64,
    /// Processor time of the service for each operation in the measured time, in microseconds.
    pub(crate) service_us: Option<f64>,
    /// The same of PostgreSQL, all its processes together.
    pub(crate) postgres_us: Option<f64>,
}

impl Sample {
    /// What went wrong, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let mut faults: Vec<_> =
            self.errors.iter().map(|(code, count)| format!("{count} x {code}")).collect();
        if self.unanswered > 0 {
            faults.push(format!("{} unanswered", self.unanswered));
        }
        if self.operations == 0 {
            faults.push("nothing was answered".to_owned());
        }
        (!faults.is_empty()).then(|| faults.join(", "))
    }

    /// Takes out what went wrong, where only what went well counts.
    pub(crate) fn take_errors(&mut self) -> Option<String> {
        let faults =
            std::mem::take(&mut self.errors).into_iter().map(|(error, count)| format!("{count} x {error}"));
        Some(faults.collect::<Vec<_>>().join(", ")).filter(|faults| !faults.is_empty())
    }

    /// The rate, and the latencies where they are known.
    pub(crate) fn summary(&self) -> String {
        let rate = figures::rate(self.rate);
        let [p50, p99] = [self.p50_us, self.p99_us].map(|micros| figures::latency(micros as f64));
        if self.max_us == 0 { format!("{rate:>9}") } else { format!("{rate:>9}  p50 {p50:>8}  p99 {p99:>8}") }
    }
}
