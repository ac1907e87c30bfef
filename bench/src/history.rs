//! What earlier runs have found: `bench/history.csv`, one line for each case of each run, so that a commit that makes
//! something slower is seen.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;

use crate::{
    comparison::Comparison,
    results::Results,
    steps::{STEPS, Step},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/history.csv");
/// Rates are operations in a second, times are microseconds; what was not measured is empty.
const HEADER: &str = "date,commit,machine,rounds,seconds,quick,case,unit,ours,baseline,ratio,p50_us,p99_us,\
     postgres_cpu_us,service_cpu_us,wal_bytes";

/// A line, as far as it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) quick: bool,
    pub(crate) case: String,
    /// How many times the baseline.
    pub(crate) ratio: Option<f64>,
}

/// Adds what a run found.
pub(crate) fn append(results: &Results) -> anyhow::Result<()> {
    let mut text = if Path::new(PATH).exists() { String::new() } else { format!("{HEADER}\n") };
    text.extend(lines(results).map(|line| line + "\n"));
    let mut file = OpenOptions::new().create(true).append(true).open(PATH).context(PATH)?;
    file.write_all(text.as_bytes()).context(PATH)
}

/// All lines; none if there is no history.
pub(crate) fn read() -> anyhow::Result<Vec<Line>> {
    if !Path::new(PATH).exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(PATH).context(PATH)?;
    let lines = text.lines().skip(1);
    lines.map(|line| parse(line).with_context(|| format!("{PATH} has the line {line:?}"))).collect()
}

fn lines(results: &Results) -> impl Iterator<Item = String> {
    let measured = |step: &&Step| step.is_compared() && results.samples.contains_key(step.name);
    STEPS.iter().filter(measured).map(|step| line(results, step))
}

fn line(results: &Results, step: &Step) -> String {
    let (machine, extent) = (&results.machine, &results.extent);
    let comparison = Comparison::of(results, step);
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    let cells = [
        machine.date.clone(),
        machine.commit.clone(),
        format!("{} x {}", machine.cores, machine.cpu),
        extent.rounds.to_string(),
        extent.seconds.to_string(),
        extent.quick.to_string(),
        step.name.to_owned(),
        if step.is_about_latency() { "us" } else { "per second" }.to_owned(),
        number(comparison.ours, 0),
        number(comparison.baseline, 0),
        number(comparison.ratio(), 3),
        number(results.p50(step.name), 0),
        number(results.median(step.name, |sample| sample.p99_us as f64), 0),
        number(results.median_known(step.name, |sample| sample.postgres_us), 2),
        number(results.median_known(step.name, |sample| sample.service_us), 2),
        number(results.footprint(step.name, |footprint| footprint.wal_bytes), 0),
    ];
    // No cell needs quotes: what would is the name of a processor, and it reads as well with spaces.
    cells.map(|cell| cell.replace([',', '"', '\n'], " ")).join(",")
}

fn parse(line: &str) -> Option<Line> {
    let cells: Vec<_> = line.split(',').collect();
    let cell = |name: &str| cells.get(HEADER.split(',').position(|column| column == name)?).copied();
    let ratio = cell("ratio")?;
    Some(Line {
        date: cell("date")?.to_owned(),
        commit: cell("commit")?.to_owned(),
        quick: cell("quick")?.parse().ok()?,
        case: cell("case")?.to_owned(),
        ratio: if ratio.is_empty() { None } else { Some(ratio.parse().ok()?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::full;

    #[test]
    fn what_is_written_is_read_again() {
        let mut results = full();
        results.machine.cpu = "A, \"processor\"".to_owned();
        results.machine.commit = "abc1234".to_owned();
        let written: Vec<_> = lines(&results).collect();
        assert_eq!(written.len(), STEPS.iter().filter(|step| step.is_compared()).count());
        for line in &written {
            assert_eq!(line.split(',').count(), HEADER.split(',').count(), "{line}");
        }
        let read: Vec<_> = written.iter().map(|line| parse(line).unwrap()).collect();
        let many = read.iter().find(|line| line.case == "many-256").unwrap();
        assert_eq!((many.commit.as_str(), many.quick, many.ratio), ("abc1234", false, Some(1.0)));
        assert_eq!(read.iter().find(|line| line.case == "zipf").unwrap().ratio, None);
    }

    #[test]
    fn a_line_that_is_cut_off_is_an_error() {
        assert_eq!(parse("2026-11-26T00:00:00Z,abc,machine,3,8,false,many-256"), None);
        assert_eq!(parse(&"x,".repeat(15)), None);
    }

    #[test]
    fn only_what_was_measured_has_a_line() {
        assert_eq!(lines(&Results::default()).count(), 0);
    }

    #[test]
    fn the_kept_history_can_be_read() {
        read().unwrap();
    }
}
