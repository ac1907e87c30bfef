//! How numbers are written.

/// A whole number with commas: `1,234,567`.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

pub(crate) fn rate(per_second: f64) -> String {
    format!("{}/s", grouped(per_second))
}

/// A latency: `420 µs`, `1.23 ms`, `45.6 ms`, `1,234 ms`.
pub(crate) fn latency(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.0} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1_000.0),
        ..1_000_000.0 => format!("{:.1} ms", micros / 1_000.0),
        _ => format!("{} ms", grouped(micros / 1_000.0)),
    }
}

/// Processor time: `23.4 µs`, `312 µs`.
pub(crate) fn micros(micros: f64) -> String {
    if micros < 100.0 { format!("{micros:.1} µs") } else { format!("{} µs", grouped(micros)) }
}

pub(crate) fn bytes(bytes: f64) -> String {
    format!("{} B", grouped(bytes))
}

/// A ratio: `3.21 ×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

/// A share of one: `48.3 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Memory that is given in KiB: `12.3 MiB`.
pub(crate) fn mebibytes(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1_024.0)
}

/// What there is, or a dash.
pub(crate) fn or_dash(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.4), "999");
        assert_eq!(grouped(1_000.0), "1,000");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(-1_234.0), "-1,234");
        assert_eq!(grouped(-0.2), "0");
        assert_eq!(rate(12_345.6), "12,346/s");
        assert_eq!(times(3.206), "3.21 ×");
        assert_eq!(percent(0.4832), "48.3 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(mebibytes(65_536.0), "64.0 MiB");
        assert_eq!([23.44, 312.4].map(micros), ["23.4 µs", "312 µs"]);
        assert_eq!(bytes(1_234.5), "1,234 B");
        assert_eq!(or_dash(None, percent), "–");
    }

    #[test]
    fn latencies_have_three_digits() {
        let written = [420.0, 1_234.0, 45_600.0, 1_234_000.0].map(latency);
        assert_eq!(written, ["420 µs", "1.23 ms", "45.6 ms", "1,234 ms"]);
    }
}
