//! A span for each call that is recorded, in its caller's trace. An unknown caller cannot decide whether it is. Health checks
//! have no span: they come every second, and tell nothing about calls.

use tonic::{Code, Status, codegen::http};
use tracing::Span;

use super::{authorize::is_known, request_id::REQUEST_ID};
use crate::{
    access::Credentials,
    grpc::{methods::HEALTH, status::code_name},
    reload::Reloaded,
    telemetry::{
        Method, SampleRatio,
        spans::{self, TraceParent},
    },
};

/// The span of a call, if it is recorded. Its caller is known by these credentials. Without a ratio nothing is recorded.
pub(crate) fn begin<B>(
    request: &http::Request<B>,
    method: &Method,
    credentials: Option<&Reloaded<Credentials>>,
    ratio: Option<SampleRatio>,
) -> Span {
    let Some(ratio) = ratio.filter(|_| !request.uri().path().starts_with(HEALTH)) else {
        return Span::none();
    };
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let traceparent = text("traceparent").filter(|_| is_known(credentials, request));
    spans::call(method, TraceParent { traceparent, tracestate: text("tracestate") }, ratio)
}

pub(crate) fn end<B>(span: &Span, answer: &http::Response<B>) {
    if !span.is_disabled() {
        let code = answer.extensions().get::<Status>().map_or(Code::Ok, Status::code);
        let id = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        spans::answered(span, code_name(code), is_our_fault(code), id.unwrap_or_default());
    }
}

/// Whether OpenTelemetry counts the code as an error of the server.
fn is_our_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    [DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown].contains(&code)
}
