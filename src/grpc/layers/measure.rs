//! Counts and times every call, with the metric names of the gRPC ecosystem.

use std::time::Instant;

use tonic::{Code, codegen::http};

use crate::{
    grpc::{
        methods::{METHODS, SERVICE},
        status::{code_at_fault, code_label},
    },
    telemetry::{Method, Metrics},
};

/// Shows every method with every code from the start.
pub(crate) fn expect_calls(metrics: &Metrics) {
    for rpc in METHODS {
        let method = Method { grpc_service: SERVICE, grpc_method: rpc.name };
        for number in 0..=16 {
            metrics.expect_call(&method, code_label(Code::from_i32(number)));
        }
    }
}

/// A call in progress. It is counted as handled when it is dropped: by then it has a code, or its caller has disconnected.
pub(crate) struct Call<'a> {
    metrics: &'a Metrics,
    method: &'a Method,
    begin: Instant,
    code: Code,
}

impl<'a> Call<'a> {
    pub(crate) fn begin(metrics: &'a Metrics, method: &'a Method) -> Self {
        metrics.call_started(method);
        Self { metrics, method, begin: Instant::now(), code: Code::Cancelled }
    }

    pub(crate) fn end<B>(&mut self, answer: &http::Response<B>) {
        self.code = answer.extensions().get().map_or_else(|| code(answer.headers()), code_at_fault);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics.call_handled(self.method, code_label(self.code), self.begin.elapsed());
    }
}

/// The code of a response: a failure has it in its headers.
fn code(headers: &http::HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}
