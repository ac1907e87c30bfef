//! One line in the log for each call that fails, under the id that its answer has, too.
//!
//! The line has the code and the reason, and, where something is wrong inside, what caused it: never what the caller asked
//! for, nor the message that it is answered with, since there are amounts and keys in both. Of many lines that say the same only
//! some are written ([`LogRateLimit`]).

use std::{
    convert::Infallible,
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use tonic::{Code, Status, codegen::http};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::Level;

use super::{
    log_rate_limit::LogRateLimit,
    request_id::{REQUEST_ID, RequestId},
};
use crate::{
    accounting::CallerName,
    grpc::{
        methods::method,
        status::{code_at_fault, code_name},
    },
    telemetry::{Method, spans},
};

/// Puts [`Log`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct LogLayer(pub(crate) Arc<LogRateLimit>);

/// Gives calls an id, and logs those that fail.
#[derive(Debug, Clone)]
pub(crate) struct Log<S> {
    inner: S,
    limit: Arc<LogRateLimit>,
}

/// Where authorization leaves the caller's name for the log: a call that fails has no other way to tell it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerSlot(Arc<OnceLock<CallerName>>);

impl CallerSlot {
    pub(crate) fn set(&self, name: &CallerName) {
        let _ = self.0.set(name.clone()); // a call has one caller
    }

    fn name(&self) -> Option<&str> {
        self.0.get().map(CallerName::as_str)
    }
}

impl<S> Layer<S> for LogLayer {
    type Service = Log<S>;

    fn layer(&self, inner: S) -> Log<S> {
        Log { inner, limit: Arc::clone(&self.0) }
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Log<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Logged<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<RequestBody>) -> Self::Future {
        let call = Call {
            id: RequestId::of(request.headers()),
            method: method(request.uri().path()),
            caller: CallerSlot::default(),
            limit: Arc::clone(&self.limit),
        };
        request.extensions_mut().insert(call.caller.clone());
        Logged { answer: self.inner.call(request), call }
    }
}

/// An answer, and the call that it ends.
pub(crate) struct Logged<F> {
    answer: F,
    call: Call,
}

impl<F, Body> Future for Logged<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut answer = Pin::new(&mut self.answer).poll(context);
        if let Poll::Ready(Ok(answer)) = &mut answer {
            if let Some(failed) = answer.extensions().get::<Status>() {
                self.call.log(failed);
            }
            answer.headers_mut().insert(REQUEST_ID, self.call.id.header());
        }
        answer
    }
}

/// What is known of a call before it is answered.
struct Call {
    id: RequestId,
    method: Method,
    caller: CallerSlot,
    limit: Arc<LogRateLimit>,
}

/// What the lines are found by, wherever this file stands.
const TARGET: &str = "billing::grpc::log";

/// Writes the line, at a level that `tracing` wants to know when it is compiled.
macro_rules! line {
    ($level:expr, $call:expr, $failed:expr, $message:literal) => {
        tracing::event!(
            target: TARGET,
            $level,
            method = %format_args!("{}/{}", $call.method.grpc_service, $call.method.grpc_method),
            code = code_name(code_at_fault($failed)),
            reason = reason($failed),
            request_id = $call.id.as_str(),
            trace_id = spans::trace_id(),
            caller = $call.caller.name(),
            error = $failed.source().map(chain),
            $message
        )
    };
}

impl Call {
    /// Failures of the service are errors, and what its operators can do something about are warnings. The rest is a matter of
    /// the caller's, and whoever can connect can cause as much of it as he likes: it is counted, and told to those who ask.
    fn log(&self, failed: &Status) {
        let code = code_at_fault(failed);
        let has_line = || self.limit.admits(code_name(code), Instant::now());
        match code {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                if has_line() {
                    line!(Level::ERROR, self, failed, "a call failed as none ever should");
                }
            }
            Code::Unavailable | Code::Aborted | Code::DeadlineExceeded | Code::PermissionDenied => {
                if has_line() {
                    line!(Level::WARN, self, failed, "a call failed");
                }
            }
            Code::Ok
            | Code::Cancelled
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => line!(Level::DEBUG, self, failed, "a call failed"),
        }
    }
}

/// The reason of a failure, if it is one of ours.
fn reason(failed: &Status) -> Option<String> {
    failed.get_details_error_info().map(|info| info.reason)
}

/// An error with all that caused it, in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
