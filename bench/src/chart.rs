//! The results as pictures, readable on white and on black.

mod compared;
mod history;
mod loads;
mod svg;

use crate::{history::Line, results::Results};

/// A picture: the name of its file, and its text.
pub(crate) type Chart = (&'static str, String);

/// All pictures.
pub(crate) fn charts(results: &Results, lines: &[Line]) -> [Chart; 3] {
    [
        ("benchmarks.svg", loads::draw(results)),
        ("benchmarks-compared.svg", compared::draw(results)),
        ("benchmarks-history.svg", history::draw(lines)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::tests::full, targets::targets};

    const RUN: &str = "2026-11-26T01:02:03Z";

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

    /// Every case of two runs.
    fn lines() -> Vec<Line> {
        let line = |date: &str, case: &str| Line {
            date: date.to_owned(),
            commit: "abc1234-dirty".to_owned(),
            quick: date == RUN,
            case: case.to_owned(),
            ratio: Some(7.5),
        };
        let cases = history::CASES.iter().map(|(case, _, _)| *case);
        cases.flat_map(|case| [line(RUN, case), line("2026-11-27T01:02:03Z", case)]).collect()
    }

    #[test]
    fn the_charts_are_well_formed() {
        for (results, lines) in [(full(), lines()), (Results::default(), Vec::new())] {
            for (name, svg) in charts(&results, &lines) {
                assert_well_formed(&svg);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
            }
        }
    }

    #[test]
    fn the_charts_are_complete() {
        let [(_, svg), _, (_, over_time)] = charts(&full(), &lines());
        for (_, name) in loads::LOADS {
            assert!(svg.contains(name), "{name}");
        }
        let bars = svg.matches(loads::MET).count() + svg.matches(loads::NOT_MET).count();
        assert_eq!(bars, targets(&full()).len());
        assert_eq!(over_time.matches("<polyline").count(), history::CASES.len());
        assert_eq!(over_time.matches("<circle").count(), 3 * history::CASES.len());
    }
}
