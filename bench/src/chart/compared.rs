//! The picture for whoever has never seen the project: the same credit by billing, by hand and by other ledgers.

use super::svg::{GREY, Picture};
use crate::{
    figures::rate,
    results::Results,
    steps::{BASELINE_MANY, BASELINE_ONE},
};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 215.0;
const BARS: f64 = 400.0;
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;
const OURS: &str = "#2f9e62";

/// Who is compared: a name, and the cases over many accounts and on one account, of which the best is drawn.
type Ledger = (&'static str, &'static [&'static str], &'static [&'static str]);

const LEDGERS: [Ledger; 4] = [
    ("billing", &["many-256"], &["one"]),
    ("PostgreSQL by hand", BASELINE_MANY, BASELINE_ONE),
    ("cala-ledger", &["peer-cala"], &["peer-cala-one-256", "peer-cala-one-1"]),
    ("sqlx-ledger", &["peer-sqlx"], &["peer-sqlx-one-1"]),
];

pub(super) fn draw(results: &Results) -> String {
    let mut picture = Picture::default();
    picture.head(24.0, "Credits in a second, each durable on the same PostgreSQL");
    let rates = |of: fn(&Ledger) -> &'static [&'static str]| {
        LEDGERS.map(|ledger| (ledger.0, results.best_rate(of(&ledger))))
    };
    let panels = [
        ("over 10,000 accounts", rates(|ledger| ledger.1)),
        ("all on one account", rates(|ledger| ledger.2)),
    ];
    let all = panels.iter().flat_map(|(_, rates)| rates.iter().filter_map(|(_, rate)| *rate));
    let most = all.fold(1.0, f64::max);
    let mut y = 40.0;
    for (title, rates) in &panels {
        y = draw_panel(&mut picture, y, title, rates, most);
    }
    picture.document("credits in a second: billing, PostgreSQL by hand, and other ledgers", WIDTH, y)
}

/// Draws from `top` down, and returns where it ends.
fn draw_panel(picture: &mut Picture, top: f64, title: &str, rates: &[(&str, Option<f64>)], most: f64) -> f64 {
    picture.text((LABELS + 10.0, top + 16.0), "font-weight=\"bold\"", title);
    let mut y = top + 26.0;
    for (place, (name, measured)) in rates.iter().enumerate() {
        picture.text((LABELS, y + BAR - 5.0), "text-anchor=\"end\"", name);
        let length = measured.unwrap_or_default() / most * BARS;
        if measured.is_some() {
            let colour = if place == 0 { OURS } else { GREY };
            picture.rect((LABELS + 10.0, y), (length, BAR), colour);
        }
        let note = measured.map_or_else(|| "not measured".to_owned(), rate);
        picture.text((LABELS + 18.0 + length, y + BAR - 5.0), "", &note);
        y += ROW;
    }
    y + 8.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::tests::full, steps::find};

    #[test]
    fn every_case_that_is_drawn_exists() {
        for (name, many, one) in LEDGERS {
            assert!(many.iter().chain(one).all(|case| find(case).is_some()), "{name}");
        }
    }

    #[test]
    fn what_was_not_measured_has_words_and_no_bar() {
        let mut results = full();
        results.samples.retain(|case, _| !case.starts_with("peer-sqlx-one"));
        let picture = draw(&results);
        assert_eq!(picture.matches("<rect").count(), 7);
        assert_eq!(picture.matches("not measured").count(), 1);
    }
}
