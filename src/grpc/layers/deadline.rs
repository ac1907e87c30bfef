//! The caller's deadline, as the gRPC specification of HTTP/2 has it in the header `grpc-timeout`.

use std::time::Duration;

use tonic::codegen::http::HeaderMap;

/// How much earlier than tonic a call is ended: enough for its timer, and for the answer to arrive in time.
const MARGIN: Duration = Duration::from_millis(3);

/// How long a call may take whose caller would wait for longer: one that is sent a byte at a time ends, too.
const CALL_MAX: Duration = Duration::from_secs(30);

/// How long a call may take.
pub(crate) fn patience(headers: &HeaderMap) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|header| parse(header.to_str().ok()?));
    asked.unwrap_or(CALL_MAX).min(CALL_MAX).saturating_sub(MARGIN)
}

/// Up to eight digits and a unit.
pub(crate) fn parse(header: &str) -> Option<Duration> {
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
    use tonic::codegen::http::HeaderName;

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

    #[test]
    fn a_call_ends_when_its_caller_waits_no_longer_and_in_any_case() {
        let header = HeaderName::from_static("grpc-timeout");
        let asked =
            |timeout: &str| patience(&HeaderMap::from_iter([(header.clone(), timeout.parse().unwrap())]));
        assert_eq!(patience(&HeaderMap::new()) + MARGIN, CALL_MAX);
        assert_eq!(asked("2S") + MARGIN, Duration::from_secs(2));
        assert_eq!(asked("1u"), Duration::ZERO);
        for long in ["99999999H", "31S", "forever"] {
            assert_eq!(asked(long) + MARGIN, CALL_MAX, "{long}");
        }
    }
}
