//! How far a command is that reads the journal, on a terminal, and how fast it was.

use std::{env, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where it is not known how many entries there are.
const COUNT: &str = "{elapsed_precise} {human_pos} entries, {per_sec}";
const BAR: &str = "{elapsed_precise} [{bar:30}] {human_pos} of about {human_len} entries, {per_sec}";
/// Where a server is at work, and tells nothing of it.
const STEP: &str = "{elapsed_precise} {spinner} {msg}";
/// How often that is drawn.
const TICK: Duration = Duration::from_millis(200);

/// A count of entries, if standard error is a terminal.
pub(super) fn count_entries() -> ProgressBar {
    on_terminal(COUNT)
}

/// There are about so many entries: makes a bar of the count.
pub(super) fn expect_entries(count: ProgressBar, entries: u64) -> ProgressBar {
    count.set_length(entries);
    with_template(count, BAR)
}

/// What a server is at work on, and how long it has been at work by now, if standard error is a terminal.
pub(super) fn steps() -> ProgressBar {
    on_terminal(STEP)
}

/// The next step, from now on.
pub(super) fn begin_step(steps: &ProgressBar, step: &'static str) {
    steps.set_message(step);
    steps.enable_steady_tick(TICK);
}

/// How many in a second.
pub(super) fn rate(count: u64, elapsed: Duration) -> u128 {
    u128::from(count) * 1_000 / elapsed.as_millis().max(1)
}

/// A bar on standard error, if it is a terminal that can be drawn on.
fn on_terminal(template: &str) -> ProgressBar {
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let target = if is_dumb { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    with_template(ProgressBar::with_draw_target(None, target), template)
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
        for template in [COUNT, BAR, STEP] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
