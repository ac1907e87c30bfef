//! A span for each call, in its caller's trace. An unknown caller cannot decide whether it is recorded. Health checks have no
//! span: they come every second, and tell nothing about calls.

use tonic::{Code, Status, codegen::http};
use tracing::Span;

use super::{authorize::is_known, observe::Observe, request_id::REQUEST_ID};
use crate::{
    access::Credentials,
    grpc::{
        methods::{HEALTH, method},
        status::code_name,
    },
    reload::Reloaded,
    telemetry::spans::{self, TraceParent},
};

/// Traces calls, whose callers are known by these credentials.
#[derive(Debug, Clone)]
pub(crate) struct Trace(pub(crate) Option<Reloaded<Credentials>>);

impl Observe for Trace {
    type Call = Span;

    fn begin<B>(&self, request: &mut http::Request<B>) -> Span {
        span(request, self.0.as_ref())
    }

    fn run<T>(span: &Span, part: impl FnOnce() -> T) -> T {
        span.in_scope(part)
    }

    fn end<B>(span: &mut Span, answer: &mut http::Response<B>) {
        if !span.is_disabled() {
            let code = answer.extensions().get::<Status>().map_or(Code::Ok, Status::code);
            let id = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
            spans::answered(span, code_name(code), is_our_fault(code), id.unwrap_or_default());
        }
    }
}

fn span<B>(request: &http::Request<B>, credentials: Option<&Reloaded<Credentials>>) -> Span {
    let path = request.uri().path();
    if path.starts_with(HEALTH) {
        return Span::none();
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    spans::call(&method(path), || {
        if !is_known(credentials, request) {
            return TraceParent::default();
        }
        TraceParent { traceparent: text("traceparent"), tracestate: text("tracestate") }
    })
}

/// Whether OpenTelemetry counts the code as an error of the server.
fn is_our_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    [DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown].contains(&code)
}
