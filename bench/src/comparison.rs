//! What a case is compared with, and how it does.

use crate::{load::Sample, results::Results, steps::Step};

/// A case beside its baseline. Both are rates per second, or median latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) ours: Option<f64>,
    pub(crate) baseline: Option<f64>,
}

impl Comparison {
    pub(crate) fn of(results: &Results, step: &Step) -> Self {
        let baseline = if step.is_about_latency() {
            step.versus.iter().filter_map(|name| results.p50(name)).min_by(f64::total_cmp)
        } else {
            results.best_rate(step.versus)
        };
        Self { ours: results.median(step.name, |sample| compared(step, sample)), baseline }
    }

    pub(crate) fn ratio(self) -> Option<f64> {
        ratio(self.ours, self.baseline)
    }
}

/// What of a sample is compared.
pub(crate) fn compared(step: &Step, sample: &Sample) -> f64 {
    if step.is_about_latency() { sample.p50_us as f64 } else { sample.rate }
}

/// How many times the base a value is, if there is a base.
pub(crate) fn ratio(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base.filter(|base| *base > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::find;

    fn results(samples: &[(&str, f64, u64)]) -> Results {
        let mut results = Results::default();
        for (name, rate, p50_us) in samples {
            let sample = Sample { rate: *rate, p50_us: *p50_us, ..Sample::default() };
            results.samples.insert((*name).to_owned(), vec![sample]);
        }
        results
    }

    #[test]
    fn rates_are_compared_with_the_better_baseline() {
        let results = results(&[
            ("many-256", 9_000.0, 1),
            ("baseline-many-8", 1_500.0, 1),
            ("baseline-many-32", 2_000.0, 1),
        ]);
        let comparison = Comparison::of(&results, &find("many-256").unwrap());
        assert_eq!(comparison, Comparison { ours: Some(9_000.0), baseline: Some(2_000.0) });
        assert_eq!(comparison.ratio(), Some(4.5));
    }

    #[test]
    fn single_calls_are_compared_by_their_median() {
        let results = results(&[("single", 1.0, 900), ("baseline-1-client", 2.0, 600)]);
        assert_eq!(Comparison::of(&results, &find("single").unwrap()).ratio(), Some(1.5));
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        let results = results(&[("zipf", 5.0, 1), ("one", 5.0, 1)]);
        for name in ["zipf", "one", "stripe"] {
            assert_eq!(Comparison::of(&results, &find(name).unwrap()).ratio(), None, "{name}");
        }
        assert_eq!(ratio(Some(1.0), Some(0.0)), None);
    }
}
