//! How far each target is reached, and latency by load.

use super::svg::{GREY, Picture};
use crate::{
    figures::latency,
    results::Results,
    targets::{Target, Verdict, targets},
};

const WIDTH: f64 = 960.0;
const LABELS: f64 = 360.0;
const BARS: f64 = 380.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
const PANEL_HEAD: f64 = 62.0;
/// Where the line of the targets stands among the bars; what is twice as good fills them.
const ON_TARGET: f64 = 0.5;
pub(super) const MET: &str = "#2f9e62";
pub(super) const NOT_MET: &str = "#d9622b";
const MEDIAN: &str = "#3b82c4";
const TAIL: &str = "#9a6fc9";

/// The loads whose latency is drawn, and their names.
pub(super) const LOADS: [(&str, &str); 8] = [
    ("single", "1 in flight"),
    ("many-32", "32 in flight"),
    ("many-256", "256 in flight"),
    ("many-1024", "1,024 in flight"),
    ("one", "one account, 256 in flight"),
    ("zipf", "Zipf mix, 256 in flight"),
    ("read", "GetAccount, 256 in flight"),
    ("far-256", "1 ms from PostgreSQL, 256 in flight"),
];

pub(super) fn draw(results: &Results) -> String {
    let mut picture = Picture::default();
    let below = draw_targets(&mut picture, 0.0, &targets(results));
    let height = draw_latencies(&mut picture, below + 20.0, &loads(results)) + 10.0;
    picture.document("billing: targets and latency", WIDTH, height)
}

/// Draws from `top` down, and returns where it ends.
fn draw_targets(picture: &mut Picture, top: f64, targets: &[Target]) -> f64 {
    picture.head(top + 24.0, "Targets: longer is better, the line is the target");
    let mut y = top + PANEL_HEAD;
    for target in targets {
        picture.text((LABELS, y + BAR - 2.0), "text-anchor=\"end\"", &target.text);
        let reached = target.attainment().unwrap_or_default().min(1.0 / ON_TARGET);
        let colour = if target.verdict() == Verdict::Met { MET } else { NOT_MET };
        bar(picture, y, BAR, reached * ON_TARGET * BARS, colour);
        let measured = target.measured.map_or_else(|| "not measured".to_owned(), |value| target.write(value));
        let note = format!("{measured} ({})", target.written_bound());
        picture.text((LABELS + BARS + 20.0, y + BAR - 2.0), "", &note);
        y += ROW;
    }
    let x = LABELS + 10.0 + ON_TARGET * BARS;
    let stroke = format!("stroke=\"{GREY}\" stroke-width=\"2\" stroke-dasharray=\"5 3\"");
    picture.line((x, top + PANEL_HEAD - 12.0), (x, y - 4.0), &stroke);
    y
}

/// The loads that were measured: name, p50 and p99 in microseconds.
fn loads(results: &Results) -> Vec<(String, f64, f64)> {
    let closed = LOADS.iter().filter_map(|(step, name)| {
        let p99 = results.median(step, |sample| sample.p99_us as f64)?;
        Some(((*name).to_owned(), results.p50(step)?, p99))
    });
    let open = results.open_loop.iter().map(|load| {
        let name = format!("fixed rate, {:.0} % of the highest", load.share * 100.0);
        (name, load.sample.p50_us as f64, load.sample.p99_us as f64)
    });
    closed.chain(open).collect()
}

fn draw_latencies(picture: &mut Picture, top: f64, loads: &[(String, f64, f64)]) -> f64 {
    picture.head(top + 24.0, "Latency of a call by load, logarithmic; a credit unless it says otherwise");
    let mut key = |x: f64, colour: &str, name: &str| {
        picture.rect((x, top + 34.0), (11.0, 11.0), colour);
        picture.text((x + 16.0, top + 44.0), "", name);
    };
    key(LABELS + 10.0, MEDIAN, "half of the calls are faster (p50)");
    key(LABELS + 260.0, TAIL, "99 of 100 are faster (p99)");
    let most = loads.iter().map(|(_, _, p99)| *p99).fold(1_000.0, f64::max);
    let mut y = top + PANEL_HEAD;
    for (name, p50, p99) in loads {
        picture.text((LABELS, y + BAR), "text-anchor=\"end\"", name);
        bar(picture, y, BAR / 2.0, log_share(*p50, most) * BARS, MEDIAN);
        bar(picture, y + BAR / 2.0 + 1.0, BAR / 2.0, log_share(*p99, most) * BARS, TAIL);
        let note = format!("{} / {}", latency(*p50), latency(*p99));
        picture.text((LABELS + BARS + 20.0, y + BAR), "", &note);
        y += ROW;
    }
    y
}

/// Where a latency stands between 100 µs and the longest.
fn log_share(micros: f64, most: f64) -> f64 {
    let share = (micros / 100.0).max(1.0).ln() / (most / 100.0).ln();
    share.clamp(0.01, 1.0)
}

fn bar(picture: &mut Picture, y: f64, height: f64, width: f64, colour: &str) {
    picture.rect((LABELS + 10.0, y), (width, height), colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_within_the_picture() {
        assert!((log_share(1e9, 1e6) - 1.0).abs() < 1e-9);
        assert!((log_share(0.0, 1e6) - 0.01).abs() < 1e-9);
    }
}
