//! One line in the log for each call that fails, under the id that its answer has, too.
//!
//! The line has the code and the reason, and, where something is wrong inside, what caused it: never what the caller asked
//! for, nor the message that it is answered with, since there are amounts and keys in both. Of many lines that say the same only
//! some are written ([`LogRateLimit`]).

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
    observe::Observe,
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

/// Gives calls an id, and logs those that fail.
#[derive(Debug, Clone)]
pub(crate) struct Log(pub(crate) Arc<LogRateLimit>);

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

impl Observe for Log {
    type Call = Call;

    fn begin<B>(&self, request: &mut http::Request<B>) -> Call {
        let caller = CallerSlot::default();
        request.extensions_mut().insert(caller.clone());
        Call {
            id: RequestId::of(request.headers()),
            method: method(request.uri().path()),
            caller,
            limit: Arc::clone(&self.0),
        }
    }

    fn end<B>(call: &mut Call, answer: &mut http::Response<B>) {
        if let Some(failed) = answer.extensions().get::<Status>() {
            call.log(failed);
        }
        answer.headers_mut().insert(REQUEST_ID, call.id.header());
    }
}

/// What is known of a call before it is answered.
pub(crate) struct Call {
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
