//! The targets, and whether they are met.

use crate::{
    figures,
    results::{Growth, Memory, Results},
    steps::{BASELINE_MANY, BASELINE_ONE, SINGLE},
};

const MEMORY_KIB_MAX: f64 = 64.0 * 1_024.0;
/// How much memory may grow in the second half of the calls and still be called flat.
const FLAT_MAX: f64 = 1.05;

/// A target.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) measured: Option<f64>,
    pub(crate) bound: Bound,
    pub(crate) unit: Unit,
}

/// What the measured value is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// How the value is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Times,
    Share,
    Memory,
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    NotMet,
    NotMeasured,
}

impl Target {
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.measured, self.bound) {
            (None, _) => Verdict::NotMeasured,
            (Some(value), Bound::AtLeast(least)) if value >= least => Verdict::Met,
            (Some(value), Bound::AtMost(most)) if value <= most => Verdict::Met,
            (Some(_), _) => Verdict::NotMet,
        }
    }

    /// 1 is just on target, more is better, whichever way the target points.
    pub(crate) fn attainment(&self) -> Option<f64> {
        Some(match self.bound {
            Bound::AtLeast(least) => self.measured? / least,
            Bound::AtMost(most) => most / self.measured?,
        })
    }

    pub(crate) fn write(&self, value: f64) -> String {
        match self.unit {
            Unit::Times => figures::times(value),
            Unit::Share => figures::percent(value),
            Unit::Memory => figures::mebibytes(value),
        }
    }

    pub(crate) fn written_bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {}", self.write(least)),
            Bound::AtMost(most) => format!("≤ {}", self.write(most)),
        }
    }
}

impl Verdict {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Every target, with what was measured.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    let against = |step, baselines| ratio(results.rate(step), results.best_rate(baselines));
    let times =
        |text: &str, measured, bound| Target { text: text.to_owned(), measured, bound, unit: Unit::Times };
    let mut targets = vec![
        times(
            "10,000 accounts, 256 in flight: rate / baseline",
            against("many-256", BASELINE_MANY),
            AtLeast(3.0),
        ),
        times("one account, 256 in flight: rate / baseline", against("one", BASELINE_ONE), AtLeast(12.0)),
        times(
            "1 in flight: median latency / baseline",
            ratio(results.p50("single"), results.p50(SINGLE)),
            AtMost(1.5),
        ),
        times(
            "reserve + capture, 256 in flight: rate / baseline",
            against("reserve-capture", BASELINE_MANY),
            AtLeast(1.5),
        ),
    ];
    for (in_flight, step, empty) in [
        ("32", "many-32", "empty-32"),
        ("256", "many-256", "empty-256"),
        ("1,024", "many-1024", "empty-1024"),
    ] {
        let text = format!("{in_flight} in flight: rate / empty tonic call");
        let measured = ratio(results.rate(step), results.rate(empty));
        targets.push(Target { text, measured, bound: AtLeast(0.5), unit: Unit::Share });
    }
    targets.extend(of_memory(results.memory.as_ref()));
    targets.push(of_growth(results.growth.as_ref()));
    targets
}

fn of_memory(memory: Option<&Memory>) -> [Target; 3] {
    let calls =
        memory.map_or_else(|| "a million".to_owned(), |memory| figures::grouped(memory.calls() as f64));
    let resident = |text, kib: Option<u64>| Target {
        text,
        measured: kib.map(|kib| kib as f64),
        bound: Bound::AtMost(MEMORY_KIB_MAX),
        unit: Unit::Memory,
    };
    [
        resident("resident memory, 1,024 in flight, the most".to_owned(), memory.map(|memory| memory.peak)),
        resident(format!("resident memory after {calls} calls"), memory.and_then(Memory::at_end)),
        Target {
            text: "flat: resident memory after all calls / after half".to_owned(),
            measured: memory.and_then(Memory::second_half),
            bound: Bound::AtMost(FLAT_MAX),
            unit: Unit::Times,
        },
    ]
}

fn of_growth(growth: Option<&Growth>) -> Target {
    let entries = |entries: fn(&Growth) -> i64, otherwise: &str| {
        growth.map_or_else(|| otherwise.to_owned(), |growth| figures::grouped(entries(growth) as f64))
    };
    let large = entries(|growth| growth.large_entries, "10,000,000");
    let small = entries(|growth| growth.small_entries, "100,000");
    Target {
        text: format!("rate at {large} entries / at {small}"),
        measured: growth.and_then(Growth::rates).map(|(small, large)| large / small),
        bound: Bound::AtLeast(0.8),
        unit: Unit::Times,
    }
}

pub(crate) fn ratio(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base.filter(|base| *base > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    fn target(measured: Option<f64>, bound: Bound) -> Target {
        Target { text: String::new(), measured, bound, unit: Unit::Times }
    }

    #[test]
    fn verdicts() {
        let at_least = Bound::AtLeast(3.0);
        let at_most = Bound::AtMost(1.5);
        for (measured, bound, verdict) in [
            (Some(3.0), at_least, Verdict::Met),
            (Some(2.99), at_least, Verdict::NotMet),
            (Some(1.5), at_most, Verdict::Met),
            (Some(1.51), at_most, Verdict::NotMet),
            (Some(f64::NAN), at_most, Verdict::NotMet),
            (None, at_most, Verdict::NotMeasured),
        ] {
            assert_eq!(target(measured, bound).verdict(), verdict, "{measured:?} {bound:?}");
        }
    }

    #[test]
    fn attainment_is_better_when_higher() {
        assert_eq!(target(Some(6.0), Bound::AtLeast(3.0)).attainment(), Some(2.0));
        assert_eq!(target(Some(3.0), Bound::AtMost(1.5)).attainment(), Some(0.5));
    }

    #[test]
    fn a_target_is_the_ratio_to_the_better_baseline() {
        let mut results = Results::default();
        for (name, rate) in
            [("many-256", 9_000.0), ("baseline-many-8", 1_500.0), ("baseline-many-32", 2_000.0)]
        {
            results.samples.insert(name.to_owned(), vec![Sample { rate, ..Sample::default() }]);
        }
        let targets = targets(&results);
        assert_eq!(targets[0].measured, Some(4.5));
        assert_eq!(targets[0].verdict(), Verdict::Met);
        assert_eq!(targets[0].written_bound(), "≥ 3.00 ×");
        assert!(targets[1..].iter().all(|target| target.verdict() == Verdict::NotMeasured));
    }
}
