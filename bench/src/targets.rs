//! The targets, and whether they are met.

use crate::{
    comparison::{Comparison, ratio},
    figures,
    results::{Growth, Memory, Results},
    statistics::median,
    steps::{BASELINE_MANY, BASELINE_ONE, BASELINE_READ, BASELINE_SETTLE, CHARGE, CHARGE_SINGLE, find},
};

const MEMORY_KIB_MAX: f64 = 64.0 * 1_024.0;
/// How much memory may grow in the second half of the calls and still be called flat.
const FLAT_MAX: f64 = 1.05;
/// A disk that makes 8 KiB durable in less time is a fast one.
const FAST_DISK_US: u64 = 100;

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
    Rate,
    /// In microseconds.
    Latency,
    /// Processor time in microseconds.
    Micros,
    Bytes,
    /// In KiB.
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
    fn new(text: &str, measured: Option<f64>, bound: Bound, unit: Unit) -> Self {
        Self { text: text.to_owned(), measured, bound, unit }
    }

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
            Unit::Rate => figures::rate(value),
            Unit::Latency => figures::latency(value),
            Unit::Micros => figures::micros(value),
            Unit::Bytes => figures::bytes(value),
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
    let mut targets = of_rates(results);
    targets.push(of_a_single_call(results));
    targets.extend(of_grants(results));
    targets.extend(of_reads(results));
    targets.extend(of_cost(results));
    targets.extend(of_memory(results.memory.as_ref()));
    targets.push(of_growth(results.growth.as_ref()));
    targets
}

fn of_rates(results: &Results) -> Vec<Target> {
    let against = |step: &str, base: &[&str]| ratio(results.rate(step), results.best_rate(base));
    let wanted: [(&str, &str, &[&str], f64); 8] = [
        ("10,000 accounts, lists of 100: rate / single calls", "apply-100", &["many-256"], 2.0),
        ("10,000 accounts, lists of 100: rate / baseline", "apply-100", BASELINE_MANY, 6.0),
        ("10,000 accounts, single calls: rate / baseline", "many-256", BASELINE_MANY, 3.6),
        ("one account, lists of 100: rate / baseline", "apply-100-one", BASELINE_ONE, 20.0),
        ("one account, single calls: rate / baseline", "one", BASELINE_ONE, 13.0),
        ("reserve + capture: rate / baseline", "reserve-capture", BASELINE_MANY, 1.5),
        ("reserve + capture with three legs: rate / by hand", "settle", BASELINE_SETTLE, 1.5),
        ("GetAccount: rate / prepared read by pgbench", "read", BASELINE_READ, 0.5),
    ];
    let target = |(text, step, base, least): (&str, &str, &[&str], f64)| {
        Target::new(text, against(step, base), Bound::AtLeast(least), Unit::Times)
    };
    wanted.map(target).into()
}

/// What a grant costs: of a rate, and of how long a single caller waits.
fn of_grants(results: &Results) -> [Target; 2] {
    const COST_MAX: f64 = 1.3;
    let cost = ratio(results.best_rate(CHARGE), results.rate("charge-1-grant-256"));
    let wait =
        ratio(results.p50("charge-1-grant-single"), CHARGE_SINGLE.first().and_then(|name| results.p50(name)));
    [
        ("charge from a grant, 256 in flight: time / without", cost),
        ("charge from a grant, 1 in flight: p50 / without", wait),
    ]
    .map(|(text, measured)| Target::new(text, measured, Bound::AtMost(COST_MAX), Unit::Times))
}

/// Where a commit takes next to no time, what the service adds weighs more.
fn of_a_single_call(results: &Results) -> Target {
    let most = if results.machine.sync_us < FAST_DISK_US { 2.0 } else { 1.4 };
    let measured = find("single").and_then(|step| Comparison::of(results, &step).ratio());
    Target::new("1 in flight: median latency / baseline", measured, Bound::AtMost(most), Unit::Times)
}

fn of_reads(results: &Results) -> [Target; 2] {
    let p99 = results.median("read", |sample| sample.p99_us as f64);
    [
        Target::new("GetAccount: rate", results.rate("read"), Bound::AtLeast(40_000.0), Unit::Rate),
        Target::new("GetAccount: p99", p99, Bound::AtMost(20_000.0), Unit::Latency),
    ]
}

fn of_cost(results: &Results) -> [Target; 5] {
    let service = |step: &str| results.median_known(step, |sample| sample.service_us);
    let postgres = |step: &str| results.median_known(step, |sample| sample.postgres_us);
    let wal = results.footprint("many-256", |footprint| footprint.wal_bytes);
    let micros = |text, measured, most| Target::new(text, measured, Bound::AtMost(most), Unit::Micros);
    [
        micros("PostgreSQL's processor time for a batch of one", postgres("single"), 300.0),
        micros("PostgreSQL's processor time for a credit, 256 in flight", postgres("many-256"), 30.0),
        micros("the service's processor time for a call, 256 in flight", service("many-256"), 18.0),
        Target::new(
            "the same with traces at 1 % / without",
            cost_of_traces(results),
            Bound::AtMost(1.05),
            Unit::Times,
        ),
        Target::new("WAL for a credit, 256 in flight", wal, Bound::AtMost(600.0), Unit::Bytes),
    ]
}

/// What a call costs the service with traces, against without: the median of the rounds' own ratios, since the machine
/// changes more from round to round than from one case to the next.
fn cost_of_traces(results: &Results) -> Option<f64> {
    let (on, off) = (results.samples.get("traces-on")?, results.samples.get("traces-off")?);
    let ratios = on.iter().zip(off).filter_map(|(on, off)| ratio(on.service_us, off.service_us));
    median(ratios)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    fn target(measured: Option<f64>, bound: Bound) -> Target {
        Target::new("", measured, bound, Unit::Times)
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

    fn results(samples: &[(&str, Sample)]) -> Results {
        let mut results = Results::default();
        for (name, sample) in samples {
            results.samples.entry((*name).to_owned()).or_default().push(sample.clone());
        }
        results
    }

    fn rate(rate: f64) -> Sample {
        Sample { rate, ..Sample::default() }
    }

    fn measured(results: &Results, text: &str) -> Option<Target> {
        let target = targets(results).into_iter().find(|target| target.text == text);
        target.filter(|target| target.verdict() != Verdict::NotMeasured)
    }

    #[test]
    fn a_target_is_the_ratio_to_the_better_baseline() {
        let results = results(&[
            ("many-256", rate(9_000.0)),
            ("baseline-many-8", rate(1_500.0)),
            ("baseline-many-32", rate(2_000.0)),
        ]);
        let target = measured(&results, "10,000 accounts, single calls: rate / baseline").unwrap();
        assert_eq!((target.measured, target.verdict()), (Some(4.5), Verdict::Met));
        assert_eq!(target.written_bound(), "≥ 3.60 ×");
        let others = targets(&results).into_iter().filter(|target| target.measured.is_some()).count();
        assert_eq!(others, 1);
    }

    #[test]
    fn a_fast_disk_allows_a_single_call_more() {
        for (sync_us, bound) in [(99, 2.0), (100, 1.4), (237, 1.4)] {
            let mut results = Results::default();
            results.machine.sync_us = sync_us;
            assert_eq!(of_a_single_call(&results).bound, Bound::AtMost(bound), "{sync_us}");
        }
    }

    #[test]
    fn what_traces_cost_is_compared_within_a_round() {
        let sample = |service_us| Sample { service_us: Some(service_us), ..Sample::default() };
        let results = results(&[
            ("traces-off", sample(10.0)),
            ("traces-on", sample(11.0)),
            ("traces-off", sample(20.0)),
            ("traces-on", sample(20.0)),
            ("traces-off", sample(40.0)),
            ("traces-on", sample(41.0)),
        ]);
        assert!((cost_of_traces(&results).unwrap() - 1.025).abs() < 1e-9);
    }

    #[test]
    fn cost_is_known_only_where_it_was_watched() {
        let watched = Sample { postgres_us: Some(280.0), ..rate(1.0) };
        let results = results(&[("single", watched), ("many-256", rate(1.0))]);
        let text = "PostgreSQL's processor time for a batch of one";
        assert_eq!(measured(&results, text).unwrap().measured, Some(280.0));
        assert!(measured(&results, "PostgreSQL's processor time for a credit, 256 in flight").is_none());
    }
}
