//! The caller's deadline, answered as the contract says.
//!
//! tonic ends a call whose `grpc-timeout` has passed with CANCELLED. This layer is a little earlier, and answers
//! `DEADLINE_EXCEEDED` with details. What the call asked for may still happen: the key tells.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{Status, codegen::http};
use tower::{Layer, Service};

use super::status::Failure;

/// How much earlier than tonic: enough for its timer, and for the answer to arrive in time.
const MARGIN: Duration = Duration::from_millis(3);

/// Puts [`Deadline`] around a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

/// Ends calls whose deadline has passed.
#[derive(Debug, Clone)]
pub(super) struct Deadline<S>(S);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline(inner)
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Deadline<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let timeout = request.headers().get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
        let answer = self.0.call(request);
        let Some(timeout) = timeout else { return Box::pin(answer) };
        Box::pin(async move {
            match tokio::time::timeout(timeout.saturating_sub(MARGIN), answer).await {
                Ok(answer) => answer,
                Err(_elapsed) => Ok(Status::from(Failure::DeadlineExceeded).into_http()),
            }
        })
    }
}

/// Up to eight digits and a unit, as in the gRPC specification of HTTP/2.
fn parse(header: &str) -> Option<Duration> {
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
