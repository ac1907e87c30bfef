//! How far a command is that reads the journal: a bar on a terminal, and nothing elsewhere.

use std::{env, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where it is not known how many entries there are.
const COUNT: &str = "{elapsed_precise} {human_pos} entries, {per_sec}";
const BAR: &str = "{elapsed_precise} [{bar:30}] {human_pos} of about {human_len} entries, {per_sec}";
/// Where a server is at work, and tells nothing of it.
const STEP_TEMPLATE: &str = "{elapsed_precise} {spinner} {msg}";
/// How often that is drawn.
const TICK: Duration = Duration::from_millis(200);
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
        let bar = ProgressBar::with_draw_target(None, target());
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

/// What a server is at work on, and how long it has been at work by now.
pub(super) struct Steps {
    bar: ProgressBar,
}

impl Steps {
    /// Nothing yet; shown if standard error is a terminal.
    pub(super) fn on_terminal() -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        Self { bar: with_template(bar, STEP_TEMPLATE) }
    }

    /// The next step, from now on.
    pub(super) fn begin(&self, step: &'static str) {
        self.bar.set_message(step);
        self.bar.enable_steady_tick(TICK);
    }

    /// Takes it away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Standard error, if it is a terminal that can be drawn on.
fn target() -> ProgressDrawTarget {
    if env::var_os("TERM").is_some_and(|terminal| terminal == "dumb") {
        return ProgressDrawTarget::hidden();
    }
    ProgressDrawTarget::stderr()
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
        for template in [COUNT, BAR, STEP_TEMPLATE] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
