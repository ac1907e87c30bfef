//! How the ratios to the baseline went from run to run.

use super::svg::{GREY, Picture};
use crate::history::Line;

const WIDTH: f64 = 940.0;
const LEFT: f64 = 60.0;
const PLOT: (f64, f64) = (640.0, 300.0);
const TOP: f64 = 50.0;
/// So many of the newest runs are drawn.
const RUNS_MAX: usize = 40;

/// The cases that are drawn, their names and colours.
pub(super) const CASES: [(&str, &str, &str); 6] = [
    ("apply-100-one", "one account, lists of 100", "#d9622b"),
    ("one", "one account, single calls", "#c9a227"),
    ("apply-100", "10,000 accounts, lists of 100", "#9a6fc9"),
    ("many-256", "10,000 accounts, single calls", "#2f9e62"),
    ("reserve-capture", "reserve + capture", "#3b82c4"),
    ("read", "GetAccount", "#cf5c8f"),
];

/// A run: when, and of which commit.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    date: String,
    commit: String,
    quick: bool,
}

/// From ratios to heights; a step up is as many times as much everywhere.
#[derive(Debug, Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
}

pub(super) fn draw(lines: &[Line]) -> String {
    let mut picture = Picture::default();
    picture.head(24.0, "Times the baseline, run by run, logarithmic; quick runs are hollow");
    let runs = newest_runs(lines);
    let scale = Scale::of(lines);
    draw_grid(&mut picture, scale);
    let mut names: Vec<_> = Vec::new();
    for (case, name, colour) in CASES {
        let points = points(lines, &runs, case, scale);
        let dots: Vec<_> = points.iter().map(|(point, _)| *point).collect();
        picture.path(&dots, colour);
        for (point, quick) in &points {
            picture.dot(*point, colour, !quick);
        }
        names.extend(dots.last().map(|(_, y)| (*y, name, colour)));
    }
    draw_names(&mut picture, names);
    draw_runs(&mut picture, &runs);
    picture.document("billing: ratios to the baseline by run", WIDTH, TOP + PLOT.1 + 95.0)
}

fn newest_runs(lines: &[Line]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Line { date, commit, quick, .. } in lines {
        let run = Run { date: date.clone(), commit: commit.clone(), quick: *quick };
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    runs.split_off(runs.len().saturating_sub(RUNS_MAX))
}

fn place(number: usize, count: usize) -> f64 {
    LEFT + PLOT.0 * (number as f64 + 0.5) / count as f64
}

/// Where a case stands in each run, and whether that was quick.
fn points(lines: &[Line], runs: &[Run], case: &str, scale: Scale) -> Vec<((f64, f64), bool)> {
    let ratio = |run: &Run| {
        lines.iter().find(|line| line.case == case && line.date == run.date).and_then(|line| line.ratio)
    };
    let point = |(number, run): (usize, &Run)| {
        Some(((place(number, runs.len()), scale.height(ratio(run)?)), run.quick))
    };
    runs.iter().enumerate().filter_map(point).collect()
}

impl Scale {
    fn of(lines: &[Line]) -> Self {
        let drawn = |line: &&Line| CASES.iter().any(|(case, _, _)| *case == line.case);
        let ratios = lines.iter().filter(drawn).filter_map(|line| line.ratio);
        let (least, most) =
            ratios.fold((0.5, 32.0), |(least, most): (f64, f64), ratio| (least.min(ratio), most.max(ratio)));
        Self { least: least.max(0.01), most }
    }

    fn height(self, ratio: f64) -> f64 {
        let share = (ratio.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        TOP + PLOT.1 * (1.0 - share)
    }
}

fn draw_grid(picture: &mut Picture, scale: Scale) {
    for power in -6..=8 {
        let ratio = 2_f64.powi(power);
        if (scale.least..=scale.most).contains(&ratio) {
            let y = scale.height(ratio);
            let width = if power == 0 { "2" } else { "0.5" };
            let stroke = format!("stroke=\"{GREY}\" stroke-width=\"{width}\"");
            picture.line((LEFT, y), (LEFT + PLOT.0, y), &stroke);
            picture.text((LEFT - 8.0, y + 4.0), "text-anchor=\"end\"", &format!("{ratio} ×"));
        }
    }
}

/// Names stand where their lines end, from top to bottom, and never on each other.
fn draw_names(picture: &mut Picture, mut names: Vec<(f64, &str, &str)>) {
    names.sort_by(|(one, _, _), (other, _, _)| one.total_cmp(other));
    let mut lowest = 0.0;
    for (y, name, colour) in names {
        let y = f64::max(y, lowest + 17.0);
        picture.dot((LEFT + PLOT.0 + 16.0, y), colour, true);
        picture.text((LEFT + PLOT.0 + 26.0, y + 4.0), "", name);
        lowest = y;
    }
}

fn draw_runs(picture: &mut Picture, runs: &[Run]) {
    for (number, run) in runs.iter().enumerate() {
        let (x, y) = (place(number, runs.len()), TOP + PLOT.1 + 14.0);
        let day = run.date.get(..10).unwrap_or(&run.date);
        let turned = format!("text-anchor=\"end\" font-size=\"11\" transform=\"rotate(-35 {x:.1} {y:.1})\"");
        picture.text((x, y), &turned, &format!("{day} {}", run.commit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(date: &str, case: &str, ratio: f64) -> Line {
        Line { date: date.into(), commit: "abc".into(), quick: false, case: case.into(), ratio: Some(ratio) }
    }

    #[test]
    fn twice_as_much_is_the_same_step_everywhere() {
        let scale = Scale { least: 0.5, most: 32.0 };
        let step = |from: f64| scale.height(from) - scale.height(2.0 * from);
        assert!((step(1.0) - step(8.0)).abs() < 1e-9);
        assert!((scale.height(32.0) - TOP).abs() < 1e-9);
        assert!((scale.height(0.0) - TOP - PLOT.1).abs() < 1e-9);
    }

    #[test]
    fn a_case_has_a_point_in_each_run_that_measured_it() {
        let lines = [line("1", "one", 8.0), line("1", "read", 0.5), line("2", "one", 16.0)];
        let (runs, scale) = (newest_runs(&lines), Scale::of(&lines));
        assert_eq!(runs.len(), 2);
        assert_eq!(points(&lines, &runs, "one", scale).len(), 2);
        assert_eq!(points(&lines, &runs, "read", scale).len(), 1);
    }

    #[test]
    fn of_many_runs_the_newest_are_drawn() {
        let lines: Vec<_> = (0..100).map(|run| line(&run.to_string(), "one", 1.0)).collect();
        let runs = newest_runs(&lines);
        assert_eq!((runs.len(), runs[0].date.as_str()), (RUNS_MAX, "60"));
    }
}
