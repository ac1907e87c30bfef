//! A running sum, compared with the recorded value at each step.

/// The sum so far, and the last recorded value. They differ only right after a step where a difference was found: the next
/// step shows which of the two was wrong, so that one wrong figure is reported once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Running {
    sum: i128,
    written: i128,
}

impl Running {
    /// Adds a step. Returns the expected value if the recorded one differs.
    pub(super) fn step(&mut self, delta: i64, written: i64) -> Option<i128> {
        let written = i128::from(written);
        let (sum, from_written) = (self.sum + i128::from(delta), self.written + i128::from(delta));
        if written == sum || written == from_written {
            *self = Self { sum: written, written };
            return None;
        }
        *self = Self { sum, written };
        Some(sum)
    }

    /// Continues from the recorded value, after missing steps.
    pub(super) fn go_on_from(&mut self, written: i64) {
        *self = Self { sum: written.into(), written: written.into() };
    }

    pub(super) fn sum(&self) -> i128 {
        self.sum
    }

    /// Whether a figure equals the sum or the last recorded value.
    pub(super) fn is(&self, figure: i64) -> bool {
        [self.sum, self.written].contains(&figure.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_figure_is_reported_once() {
        let mut running = Running::default();
        let steps = [(5, 5), (5, 11), (5, 15), (5, 20)];
        assert_eq!(steps.map(|(delta, written)| running.step(delta, written)), [None, Some(10), None, None]);
        assert!(running.is(20));
    }

    #[test]
    fn a_wrong_step_is_reported_once() {
        let mut running = Running::default();
        let steps = [(5, 5), (6, 10), (5, 15), (5, 20)];
        assert_eq!(steps.map(|(delta, written)| running.step(delta, written)), [None, Some(11), None, None]);
        assert!(running.is(20));
    }

    #[test]
    fn no_sum_is_too_large() {
        let mut running = Running::default();
        let steps = [(i64::MAX, i64::MAX), (i64::MAX, 0)];
        let expected = Some(2 * i128::from(i64::MAX));
        assert_eq!(steps.map(|(delta, written)| running.step(delta, written)), [None, expected]);
    }
}
