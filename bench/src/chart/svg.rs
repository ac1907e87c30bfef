//! The parts of a picture: text, bars and lines, without a background, in colours that are readable on white and on black.

use std::fmt::Write as _;

pub(super) const GREY: &str = "#8a8f98";

/// A picture that is being drawn.
#[derive(Debug, Default)]
pub(super) struct Picture(String);

impl Picture {
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\" rx=\"2\"/>"
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), attributes: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>"));
    }

    pub(super) fn head(&mut self, y: f64, words: &str) {
        self.text((10.0, y), "class=\"head\"", words);
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>"
        ));
    }

    /// A dot, filled or hollow.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str, filled: bool) {
        let fill = if filled { colour } else { "none" };
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
    }

    /// The document, with a title for those who do not see it.
    pub(super) fn document(self, title: &str, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <title>{title}</title>\n\
             <style>text {{ fill: #57606a }} .head {{ font-weight: bold; font-size: 15px }} \
             @media (prefers-color-scheme: dark) {{ text {{ fill: #b8c0ca }} }}</style>\n{}</svg>\n",
            self.0
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a text takes all that is written");
    }
}
