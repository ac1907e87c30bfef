//! The results as Markdown: for the terminal and for the documentation.

use crate::{
    comparison::{Comparison, compared, ratio},
    figures::{grouped, latency, mebibytes, micros, or_dash, percent, rate, times},
    load::Sample,
    results::{Growth, Memory, Results},
    statistics::{median, spread},
    steps::{STEPS, Step},
    table::Table,
    targets::targets,
};

/// The whole report.
pub(crate) fn report(results: &Results) -> String {
    let sections = [
        machine(results),
        cases(results),
        ceiling(results),
        open_loop(results),
        results.memory.as_ref().map_or_else(String::new, memory),
        results.growth.as_ref().map_or_else(String::new, growth),
        footprints(results),
        verdicts(results),
        notes(results),
    ];
    let sections: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    sections.join("\n")
}

fn machine(results: &Results) -> String {
    let (machine, extent) = (&results.machine, &results.extent);
    let mut lines = vec![
        format!(
            "* Machine: {} cores, {}, {:.0} GiB, Linux {}",
            machine.cores, machine.cpu, machine.memory_gib, machine.kernel
        ),
        format!("* Disk: {} to make 8 KiB durable", latency(machine.sync_us as f64)),
        wrapped(&format!("* PostgreSQL {}: {}", machine.postgres, machine.postgres_settings))
            .replace('\n', "\n  "),
        format!("* {}; commit {}", machine.rustc, machine.commit),
        format!(
            "* {}Rounds: {}; {} s each, after {} s to warm up",
            if extent.quick { "QUICK, so rough. " } else { "" },
            extent.rounds,
            extent.seconds,
            extent.warm_up
        ),
    ];
    if !extent.billing_flags.is_empty() {
        lines.push(format!("* `billing serve {}`", extent.billing_flags.join(" ")));
    }
    section("Where and how", "", &(lines.join("\n") + "\n"))
}

fn cases(results: &Results) -> String {
    let mut table = Table::new(&["work", "baseline", "ours", "ratio", "least … most", "p50", "p99"]);
    for step in STEPS.iter().filter(|step| step.is_compared()) {
        if let Some(samples) = results.samples.get(step.name) {
            table.row(case(results, step, samples));
        }
    }
    let about = "Medians of the rounds. Unless a row says otherwise, the work is one credit per gRPC call over 10,000 \
        accounts, with the given number of calls in flight; reserve + capture counts as two, and a list as the credits \
        that are in it. The baseline is pgbench doing the same by hand on the same number of accounts: the better of 8 and \
        32 clients, 1 ms away the better of 32 and 128; for 1 in flight it is the median latency of 1 client. That of traces, \
        and of accounts with grants, is the case without them.";
    section("Speed", about, &table.to_string())
}

fn case(results: &Results, step: &Step, samples: &[Sample]) -> Vec<String> {
    let write = if step.is_about_latency() { latency } else { rate };
    let comparison = Comparison::of(results, step);
    let (least, most) = spread(samples.iter().map(|sample| compared(step, sample))).unwrap_or_default();
    vec![
        step.title.to_owned(),
        or_dash(comparison.baseline, write),
        or_dash(comparison.ours, write),
        or_dash(comparison.ratio(), times),
        format!("{} … {}", write(least), write(most)),
        or_dash(results.p50(step.name), latency),
        or_dash(results.median(step.name, |sample| sample.p99_us as f64), latency),
    ]
}

fn ceiling(results: &Results) -> String {
    let mut table = Table::new(&[
        "in flight",
        "empty call",
        "credit",
        "share",
        "empty call, p50",
        "p99",
        "caller's core",
    ]);
    for (in_flight, step, empty) in [
        ("1", "single", "empty-1"),
        ("32", "many-32", "empty-32"),
        ("256", "many-256", "empty-256"),
        ("1,024", "many-1024", "empty-1024"),
    ] {
        let Some(empty_rate) = results.rate(empty) else { continue };
        table.row(vec![
            in_flight.to_owned(),
            rate(empty_rate),
            or_dash(results.rate(step), rate),
            or_dash(ratio(results.rate(step), Some(empty_rate)), percent),
            or_dash(results.p50(empty), latency),
            or_dash(results.median(empty, |sample| sample.p99_us as f64), latency),
            or_dash(results.median(empty, |sample| sample.caller_core), percent),
        ]);
    }
    let about = "An empty unary call by the same client to a separate tonic server: what gRPC itself costs on this machine. \
        The last column is how much of its one core the caller used: near 100 % the caller limits the rate.";
    section("Ceiling", about, &table.to_string())
}

fn open_loop(results: &Results) -> String {
    let mut table =
        Table::new(&["of the highest rate", "asked", "answered", "p50", "p90", "p99", "p99.9", "most"]);
    for load in &results.open_loop {
        let sample = &load.sample;
        let latencies = [sample.p50_us, sample.p90_us, sample.p99_us, sample.p999_us, sample.max_us];
        let mut cells =
            vec![format!("{:.0} %", load.share * 100.0), rate(load.asked_rate), rate(sample.rate)];
        cells.extend(latencies.map(|micros| latency(micros as f64)));
        table.row(cells);
    }
    let about = "Credits that arrive at a fixed rate, a share of what 256 in flight reached. Latency counts from when a call \
        was due, so a pause counts against every call that it delayed.";
    section("Latency at a fixed rate", about, &table.to_string())
}

fn memory(memory: &Memory) -> String {
    let mut table = Table::new(&["resident memory of the service", ""]);
    let mut row = |what: String, kib: u64| table.row(vec![what, mebibytes(kib as f64)]);
    row("at the start".to_owned(), memory.start);
    row(
        format!("peak seen in the first run, {} in flight", grouped(memory.in_flight as f64)),
        memory.sampled_peak,
    );
    row("peak since the start, by the kernel".to_owned(), memory.peak);
    for (calls, kib) in memory.half_way().into_iter().chain(memory.after.last().copied()) {
        row(format!("after {} calls", grouped(calls as f64)), kib);
    }
    section(
        "Memory",
        "One process, 1,024 credits in flight, up to the last number of calls.",
        &table.to_string(),
    )
}

fn growth(growth: &Growth) -> String {
    let mut table = Table::new(&["entries in the book", "rate", "least … most", "p50", "p99"]);
    for (entries, samples) in [(growth.small_entries, &growth.small), (growth.large_entries, &growth.large)] {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let (least, most) = spread(samples.iter().map(|sample| sample.rate)).unwrap_or_default();
        table.row(vec![
            grouped(entries as f64),
            or_dash(of(|sample| sample.rate), rate),
            format!("{} … {}", grouped(least), grouped(most)),
            or_dash(of(|sample| sample.p50_us as f64), latency),
            or_dash(of(|sample| sample.p99_us as f64), latency),
        ]);
    }
    let mut disk = Table::new(&["on disk, of the larger book", "bytes per entry"]);
    for (name, bytes) in &growth.bytes_per_entry {
        disk.row(vec![name.clone(), format!("{bytes:.1}")]);
    }
    let total: f64 = growth.bytes_per_entry.iter().map(|(_, bytes)| bytes).sum();
    disk.row(vec!["all".to_owned(), format!("{total:.1}")]);
    let about =
        "The same load, 256 in flight over 10,000 accounts, on two books filled by COPY, measured in turn.";
    section("Growth", about, &format!("{table}\n{disk}"))
}

fn footprints(results: &Results) -> String {
    let mut table =
        Table::new(&["work", "PostgreSQL", "the service", "WAL bytes", "calls in one transaction"]);
    let has_any =
        |step: &&Step| results.footprints.contains_key(step.name) || postgres_time(results, step).is_some();
    for step in STEPS.iter().filter(has_any) {
        table.row(vec![
            step.title.to_owned(),
            or_dash(postgres_time(results, step), micros),
            or_dash(results.median_known(step.name, |sample| sample.service_us), micros),
            or_dash(results.footprint(step.name, |footprint| footprint.wal_bytes), grouped),
            or_dash(results.footprint(step.name, |footprint| footprint.batch), |batch| format!("{batch:.1}")),
        ]);
    }
    let about = "What a call costs. First processor time, of all of PostgreSQL's processes and of the service, in the \
        measured time (beside pgbench, in most of its second half). WAL and transactions are those of the whole case, \
        warm-up included; only transactions that wrote are counted.";
    section("Footprint", about, &table.to_string())
}

fn postgres_time(results: &Results, step: &Step) -> Option<f64> {
    results.median_known(step.name, |sample| sample.postgres_us)
}

fn verdicts(results: &Results) -> String {
    let mut table = Table::new(&["target", "measured", "wanted", ""]);
    for target in targets(results) {
        table.row(vec![
            target.text.clone(),
            or_dash(target.measured, |value| target.write(value)),
            target.written_bound(),
            target.verdict().text().to_owned(),
        ]);
    }
    section("Targets", "", &table.to_string())
}

fn notes(results: &Results) -> String {
    let failures = results.failures.iter().map(|failure| format!("* FAILED: {failure}\n"));
    let lines: String = results.notes.iter().map(|note| format!("* {note}\n")).chain(failures).collect();
    section("Notes", "", &lines)
}

/// A section, unless there is nothing in it.
fn section(title: &str, about: &str, body: &str) -> String {
    match (body.is_empty(), about.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("### {title}\n\n{body}"),
        (false, false) => format!("### {title}\n\n{}\n\n{body}", wrapped(about)),
    }
}

fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() >= 110 {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line.clear();
        }
        line.push_str(word);
        line.push(' ');
    }
    lines + line.trim_end()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        machine::Machine,
        results::{Footprint, OpenLoop},
    };

    /// Results in which everything was measured, with large numbers.
    pub(crate) fn full() -> Results {
        let sample = Sample {
            operations: 1_000_000,
            rate: 123_456.0,
            p50_us: 12_345,
            p99_us: 123_456,
            p999_us: 999_999,
            max_us: 1_234_567,
            ..Sample::default()
        };
        let samples: BTreeMap<_, _> =
            STEPS.iter().map(|step| (step.name.to_owned(), vec![sample.clone(); 3])).collect();
        let open = |share| OpenLoop { share, asked_rate: 100_000.0, sample: sample.clone() };
        let machine = Machine {
            cpu: "A processor with a name of some length @ 2.00 GHz".to_owned(),
            kernel: "6.18.44-with-a-suffix".to_owned(),
            postgres: "15.18 (Debian 15.18-0+deb12u1)".to_owned(),
            postgres_settings: "some_setting=value ".repeat(8),
            rustc: "rustc 1.95.0 (59807616e 2026-04-14)".to_owned(),
            ..Machine::default()
        };
        Results {
            machine,
            footprints: BTreeMap::from([("stripe".to_owned(), vec![Footprint::default()])]),
            open_loop: vec![open(0.5), open(0.8)],
            memory: Some(Memory {
                start: 9_000,
                in_flight: 1_024,
                sampled_peak: 50_000,
                peak: 51_000,
                after: vec![(500_000, 50_000), (1_000_000, 51_000)],
            }),
            growth: Some(Growth {
                small_entries: 100_000,
                large_entries: 10_000_000,
                small: vec![sample.clone()],
                large: vec![sample.clone()],
                fill_seconds: 1.0,
                bytes_per_entry: vec![("ledger_entries_idempotency_key_unique".to_owned(), 123.4)],
            }),
            samples,
            ..Results::default()
        }
    }

    #[test]
    fn every_line_is_short() {
        let report = report(&full());
        for line in report.lines() {
            assert!(line.chars().count() <= 110, "{line}");
        }
        for section in ["Speed", "Ceiling", "Growth", "Memory", "Targets", "Latency at a fixed rate"] {
            assert!(report.contains(&format!("### {section}\n")), "{section}");
        }
        assert!(report.contains("cala-ledger"));
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let report = report(&Results::default());
        assert!(!report.contains("### Speed") && !report.contains("### Memory"), "{report}");
        assert!(report.contains("not measured"));
    }
}
