//! Counts and times every call, with the metric names of the gRPC ecosystem.

use std::time::Instant;

use tonic::{Code, codegen::http};

use super::observe::Observe;
use crate::{
    grpc::{
        methods::{METHODS, SERVICE, method},
        status::code_at_fault,
    },
    telemetry::{Method, Metrics},
};

/// Measures calls.
#[derive(Debug, Clone)]
pub(crate) struct Measure(Metrics);

impl Measure {
    pub(crate) fn new(metrics: Metrics) -> Self {
        for rpc in METHODS {
            let method = Method { grpc_service: SERVICE, grpc_method: rpc.name };
            for number in 0..=16 {
                metrics.expect_call(&method, name(Code::from_i32(number)));
            }
        }
        Self(metrics)
    }
}

impl Observe for Measure {
    type Call = Call;

    fn begin<B>(&self, request: &mut http::Request<B>) -> Call {
        let method = method(request.uri().path());
        self.0.call_started(&method);
        Call { metrics: self.0.clone(), method, begin: Instant::now(), code: Code::Cancelled }
    }

    fn end<B>(call: &mut Call, answer: &mut http::Response<B>) {
        call.code = answer.extensions().get().map_or_else(|| code(answer.headers()), code_at_fault);
    }
}

/// A call in progress. It is counted as handled when it is dropped: by then it has a code, or its caller has disconnected.
pub(crate) struct Call {
    metrics: Metrics,
    method: Method,
    begin: Instant,
    code: Code,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.call_handled(&self.method, name(self.code), self.begin.elapsed());
    }
}

/// The code of a response: a failure has it in its headers.
fn code(headers: &http::HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// The name of a code in the metrics of other gRPC servers.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
