//! The results as a picture: how far each target is reached, and latency by load.
//!
//! Drawn without a background and in colours that are readable on white and on black.

use std::fmt::Write as _;

use crate::{
    figures::latency,
    results::Results,
    targets::{Target, Verdict, targets},
};

const WIDTH: f64 = 940.0;
const LABELS: f64 = 360.0;
const BARS: f64 = 380.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
const PANEL_HEAD: f64 = 62.0;
/// Where the line of the targets stands among the bars; what is twice as good fills them.
const ON_TARGET: f64 = 0.5;
const MET: &str = "#2f9e62";
const NOT_MET: &str = "#d9622b";
const MEDIAN: &str = "#3b82c4";
const TAIL: &str = "#9a6fc9";
const LINE: &str = "#8a8f98";

/// The loads whose latency is drawn, and their names.
const LOADS: [(&str, &str); 6] = [
    ("single", "1 in flight"),
    ("many-32", "32 in flight"),
    ("many-256", "256 in flight"),
    ("many-1024", "1,024 in flight"),
    ("one", "one account, 256 in flight"),
    ("zipf", "Zipf mix, 256 in flight"),
];

/// An SVG document.
pub(crate) fn chart(results: &Results) -> String {
    let mut body = String::new();
    let below = draw_targets(&mut body, 0.0, &targets(results));
    let height = draw_latencies(&mut body, below + 20.0, &loads(results)) + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>billing: targets and latency</title>\n\
         <style>text {{ fill: #57606a }} .head {{ font-weight: bold; font-size: 15px }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #b8c0ca }} }}</style>\n{body}</svg>\n"
    )
}

/// Draws from `top` down, and returns where it ends.
fn draw_targets(body: &mut String, top: f64, targets: &[Target]) -> f64 {
    text(body, 10.0, top + 24.0, "class=\"head\"", "Targets: longer is better, the line is the target");
    let mut y = top + PANEL_HEAD;
    for target in targets {
        text(body, LABELS, y + BAR - 2.0, "text-anchor=\"end\"", &target.text);
        let reached = target.attainment().unwrap_or_default().min(1.0 / ON_TARGET);
        let colour = if target.verdict() == Verdict::Met { MET } else { NOT_MET };
        bar(body, y, BAR, reached * ON_TARGET * BARS, colour);
        let measured = target.measured.map_or_else(|| "not measured".to_owned(), |value| target.write(value));
        let note = format!("{measured} ({})", target.written_bound());
        text(body, LABELS + BARS + 20.0, y + BAR - 2.0, "", &note);
        y += ROW;
    }
    let x = LABELS + 10.0 + ON_TARGET * BARS;
    let (from, to) = (top + PANEL_HEAD - 12.0, y - 4.0);
    let line = format!(
        "<line x1=\"{x}\" y1=\"{from}\" x2=\"{x}\" y2=\"{to}\" stroke=\"{LINE}\" stroke-width=\"2\" \
         stroke-dasharray=\"5 3\"/>\n"
    );
    body.push_str(&line);
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

fn draw_latencies(body: &mut String, top: f64, loads: &[(String, f64, f64)]) -> f64 {
    text(body, 10.0, top + 24.0, "class=\"head\"", "Latency of a credit by load, logarithmic");
    let key = |body: &mut String, x: f64, colour: &str, name: &str| {
        let square =
            format!("<rect x=\"{x}\" y=\"{}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\n", top + 34.0);
        body.push_str(&square);
        text(body, x + 16.0, top + 44.0, "", name);
    };
    key(body, LABELS + 10.0, MEDIAN, "half of the calls are faster (p50)");
    key(body, LABELS + 260.0, TAIL, "99 of 100 are faster (p99)");
    let most = loads.iter().map(|(_, _, p99)| *p99).fold(1_000.0, f64::max);
    let mut y = top + PANEL_HEAD;
    for (name, p50, p99) in loads {
        text(body, LABELS, y + BAR, "text-anchor=\"end\"", name);
        bar(body, y, BAR / 2.0, log_share(*p50, most) * BARS, MEDIAN);
        bar(body, y + BAR / 2.0 + 1.0, BAR / 2.0, log_share(*p99, most) * BARS, TAIL);
        let note = format!("{} / {}", latency(*p50), latency(*p99));
        text(body, LABELS + BARS + 20.0, y + BAR, "", &note);
        y += ROW;
    }
    y
}

/// Where a latency stands between 100 µs and the longest.
fn log_share(micros: f64, most: f64) -> f64 {
    let share = (micros / 100.0).max(1.0).ln() / (most / 100.0).ln();
    share.clamp(0.01, 1.0)
}

fn bar(body: &mut String, y: f64, height: f64, width: f64, colour: &str) {
    let x = LABELS + 10.0;
    let rect = format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\" rx=\"2\"/>\n"
    );
    body.push_str(&rect);
}

fn text(body: &mut String, x: f64, y: f64, attributes: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" {attributes}>{words}</text>")
        .expect("a text takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::full;

    /// Whether every element is closed in order, and no stray `<`, `&` or quote breaks the document.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, words) = part.split_once('>').expect("every tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(
                !words.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").contains('&'),
                "{words}"
            );
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_chart_is_well_formed_and_complete() {
        for results in [full(), Results::default()] {
            let svg = chart(&results);
            assert_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        }
        let svg = chart(&full());
        for (_, name) in LOADS {
            assert!(svg.contains(name), "{name}");
        }
        assert_eq!(svg.matches(MET).count() + svg.matches(NOT_MET).count(), targets(&full()).len());
    }

    #[test]
    fn bars_stay_within_the_picture() {
        assert!((log_share(1e9, 1e6) - 1.0).abs() < 1e-9);
        assert!((log_share(0.0, 1e6) - 0.01).abs() < 1e-9);
    }
}
