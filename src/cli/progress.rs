//! How far a command is that reads the journal: a bar on a terminal, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where it is not known how many entries there are.
const COUNT: &str = "{elapsed_precise} {human_pos} entries, {per_sec}";
const BAR: &str = "{elapsed_precise} [{bar:30}] {human_pos} of about {human_len} entries, {per_sec}";
/// Entries between two looks at the clock.
const STEP: u64 = 1_024;

/// A bar.
pub(super) struct Progress {
    bar: ProgressBar,
    entries: u64,
}

impl Progress {
    /// A count of entries, if standard error is a terminal.
    pub(super) fn on_terminal() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self { bar: with_template(bar, COUNT), entries: 0 }
    }

    /// No bar.
    pub(super) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), entries: 0 }
    }

    /// There are about so many entries: makes a bar of the count.
    pub(super) fn expect(self, entries: u64) -> Self {
        self.bar.set_length(entries);
        Self { bar: with_template(self.bar, BAR), ..self }
    }

    /// One entry more has been read.
    pub(super) fn entry(&mut self) {
        self.entries += 1;
        if self.entries.is_multiple_of(STEP) {
            self.bar.set_position(self.entries);
        }
    }

    /// So many entries have been written.
    pub(super) fn set(&mut self, entries: u64) {
        self.bar.set_position(entries);
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn with_template(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar, // a test keeps this from happening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [COUNT, BAR] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
