//! Logs one line for each failed call, with the request id that the caller got.
//!
//! The line has the code and the reason, and for internal failures the cause; never the request or the message of the answer,
//! which contain amounts and keys. Repeated lines are rate-limited ([`LogRateLimit`]).

use std::{
    error::Error as StdError,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tonic::{Code, Status, codegen::http};
use tonic_types::StatusExt as _;
use tracing::Level;

use super::{
    log_rate_limit::LogRateLimit,
    request_id::{REQUEST_ID, RequestId},
};
use crate::{
    accounting::CallerName,
    grpc::status::{code_at_fault, code_name},
    telemetry::{Method, spans},
};

/// Passes the caller's name from authorization to the log: a failed call has no other way to carry it.
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

/// A call in progress, with its id.
pub(crate) struct Call<'a> {
    id: RequestId,
    method: &'a Method,
    caller: CallerSlot,
}

/// The target of the lines, which does not change when this file moves.
const TARGET: &str = "billing::grpc::log";

/// Writes the line. A macro, since `tracing` needs the level at compile time.
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

impl<'a> Call<'a> {
    pub(crate) fn begin<B>(request: &mut http::Request<B>, method: &'a Method) -> Self {
        let caller = CallerSlot::default();
        request.extensions_mut().insert(caller.clone());
        Self { id: RequestId::of(request.headers()), method, caller }
    }

    /// Tells the caller its id, and logs the call if it failed.
    pub(crate) fn end<B>(&self, limit: &LogRateLimit, answer: &mut http::Response<B>) {
        if let Some(failed) = answer.extensions().get::<Status>() {
            self.log(failed, limit);
        }
        answer.headers_mut().insert(REQUEST_ID, self.id.header());
    }

    /// Failures of the service are errors, and failures that operators can act on are warnings. The rest is the caller's fault,
    /// and a client can cause any amount of it: it is counted, and logged at DEBUG.
    fn log(&self, failed: &Status, limit: &LogRateLimit) {
        use Code::{Aborted, DataLoss, DeadlineExceeded, Internal, PermissionDenied, Unavailable, Unknown};
        let code = code_at_fault(failed);
        let has_line = || limit.admits(code_name(code), Instant::now());
        if [Internal, Unknown, DataLoss].contains(&code) {
            if has_line() {
                line!(Level::ERROR, self, failed, "a call failed as none ever should");
            }
        } else if [Unavailable, Aborted, DeadlineExceeded, PermissionDenied].contains(&code) {
            if has_line() {
                line!(Level::WARN, self, failed, "a call failed");
            }
        } else {
            line!(Level::DEBUG, self, failed, "a call failed");
        }
    }
}

/// The reason of a failure, if it is one of ours.
fn reason(failed: &Status) -> Option<String> {
    failed.get_details_error_info().map(|info| info.reason)
}

/// An error with its chain of causes, on one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
