//! The caller's deadline, as the gRPC specification of HTTP/2 has it in the header `grpc-timeout`.

use std::time::Duration;

use tonic::codegen::http::HeaderMap;

/// How long the caller waits, if it says so.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// Up to eight digits and a unit.
pub(super) fn parse(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let good = [("5S", 5_000), ("99999999m", 99_999_999), ("2M", 120_000), ("1H", 3_600_000)];
        for (header, millis) in good {
            assert_eq!(parse(header), Some(Duration::from_millis(millis)), "{header}");
        }
        for header in ["", "S", "5", "5s", "-5S", "+5S", "5.5S", "123456789S", "5é", "٥S"] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
