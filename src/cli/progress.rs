//! How far a command is that reads the whole journal: a bar on a terminal, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{elapsed_precise} [{bar:30}] {human_pos} of about {human_len} entries, {per_sec}";
/// Entries between two looks at the clock.
const STEP: u64 = 1_024;

/// A bar.
pub(super) struct Progress {
    bar: ProgressBar,
    entries: u64,
}

impl Progress {
    /// A bar, if standard error is a terminal.
    pub(super) fn on_terminal() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self { bar, entries: 0 }
    }

    /// No bar.
    pub(super) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), entries: 0 }
    }

    /// There are about so many entries.
    pub(super) fn expect(&self, entries: u64) {
        self.bar.set_length(entries);
    }

    /// One entry more has been read.
    pub(super) fn entry(&mut self) {
        self.entries += 1;
        if self.entries.is_multiple_of(STEP) {
            self.bar.set_position(self.entries);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
