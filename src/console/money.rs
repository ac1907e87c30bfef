//! Money for people: USD with every digit that matters, from and to whole micro-USD, never through a float.

/// How many micro-USD are a USD.
const MICRO: u128 = 1_000_000;
/// How many decimals a micro-USD has.
const DECIMALS_MAX: usize = 6;

/// A sum, such as `1,234.50 USD`: at least two decimals, and as many more as it has.
pub(super) fn usd(micro_usd: impl Into<i128>) -> String {
    let micro_usd = micro_usd.into();
    let sign = if micro_usd < 0 { "\u{2212}" } else { "" }; // a hyphen would not be read aloud
    format!("{sign}{} USD", digits(micro_usd.unsigned_abs()))
}

/// A change of a sum, with its sign.
pub(super) fn change(micro_usd: i64) -> String {
    let sign = if micro_usd > 0 { "+" } else { "" };
    format!("{sign}{}", usd(micro_usd))
}

/// A sum as it is typed into a form: without grouping, currency or sign.
pub(super) fn plain(micro_usd: u64) -> String {
    digits(micro_usd.into()).replace(',', "")
}

fn digits(micro_usd: u128) -> String {
    let (whole, fraction) = (micro_usd / MICRO, format!("{:06}", micro_usd % MICRO));
    let fraction = format!("{:0<2}", fraction.trim_end_matches('0'));
    format!("{}.{fraction}", grouped(&whole.to_string()))
}

fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Reads an amount in USD, such as `12.5`, as micro-USD.
pub(super) fn parse(text: &str) -> Result<i64, &'static str> {
    const PROBLEM: &str = "must be an amount in USD such as 12.50: digits, at most six of them after a point";
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > DECIMALS_MAX {
        return Err(PROBLEM);
    }
    format!("{whole}{fraction:0<6}").parse().map_err(|_| "must be smaller")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_two_decimals_and_as_many_more_as_matter() {
        for (micro_usd, text) in [
            (0, "0.00 USD"),
            (1, "0.000001 USD"),
            (5_000_000, "5.00 USD"),
            (5_100_000, "5.10 USD"),
            (1_234_567_891_000, "1,234,567.891 USD"),
            (-1_500_000, "\u{2212}1.50 USD"),
            (i64::MIN, "\u{2212}9,223,372,036,854.775808 USD"),
        ] {
            assert_eq!(usd(micro_usd), text);
        }
        assert_eq!(
            [change(1_000_000), change(0), change(-10)],
            ["+1.00 USD", "0.00 USD", "\u{2212}0.00001 USD"]
        );
    }

    #[test]
    fn an_amount_is_read_as_it_is_written() {
        for (text, micro_usd) in
            [("12.5", 12_500_000), (" 0.000001 ", 1), ("7", 7_000_000), ("1000000000", 1_000_000_000_000_000)]
        {
            assert_eq!(parse(text), Ok(micro_usd));
        }
        assert_eq!(parse(&plain(1_234_500_000)), Ok(1_234_500_000));
        for wrong in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,50",
            "1,000.00",
            "1e3",
            "0.0000001",
            "5 USD",
            "१",
            "99999999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
