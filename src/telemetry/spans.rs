//! The spans of a call, and how they hang together.
//!
//! ```text
//! billing.v1.BillingService/Credit    the call; a part of its caller's trace, if there is one
//! ├── queue                           until a writer takes it; links to the batch
//! ├── batch                           of the first call in it that is recorded; links to each of them
//! │   └── transaction                 each run of it
//! └── read                            of the calls that only read
//! ```
//!
//! There is no account, key, amount or name of a caller in them. Without a collector nobody asks for them, and `tracing` knows
//! that: making one is then a look at a flag.

use opentelemetry::{
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Method;

/// What spans are told from the log by.
pub(super) const TARGET: &str = "otlp";

/// What a caller says of its own trace: headers of W3C Trace Context.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceParent<'a> {
    /// `traceparent`.
    pub traceparent: Option<&'a str>,
    /// `tracestate`.
    pub tracestate: Option<&'a str>,
}

impl Extractor for TraceParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// A call.
pub fn call<'a>(method: &Method, parent: impl FnOnce() -> TraceParent<'a>) -> Span {
    let Method { grpc_service, grpc_method } = method;
    let span = info_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.name = %format_args!("{grpc_service}/{grpc_method}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = %format_args!("{grpc_service}/{grpc_method}"),
        rpc.response.status_code = Empty,
        billing.request_id = Empty,
    );
    if !span.is_disabled() {
        let _ = span.set_parent(TraceContextPropagator::new().extract(&parent())); // it has only just begun
    }
    span
}

/// Records how a call was answered.
pub fn answered(call: &Span, code: &'static str, is_our_fault: bool, request_id: &str) {
    call.record("rpc.response.status_code", code);
    call.record("billing.request_id", request_id);
    if is_our_fault {
        call.record("otel.status_code", "ERROR");
    }
}

/// The trace of the call under way, for the log, if it is recorded.
#[must_use]
pub fn trace_id() -> Option<String> {
    let context = context(&Span::current());
    context.is_sampled().then(|| context.trace_id().to_string())
}

/// An operation that waits for a writer, as its trace has it. The wait ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    call: Span,
    queue: Span,
}

impl Waiting {
    /// Begins to wait, on behalf of the call that is under way.
    #[must_use]
    pub fn begin() -> Self {
        Self { call: Span::current(), queue: of_a_trace(|| info_span!(target: TARGET, "queue")) }
    }
}

/// A batch of operations that have waited. It belongs to the first call that is recorded: in a trace of its own it would be
/// recorded or not whatever they are.
pub fn batch<'a>(operations: impl Iterator<Item = &'a Waiting> + Clone) -> Span {
    let mut recorded = operations.clone().filter(|waited| context(&waited.call).is_sampled()).peekable();
    let Some(first) = recorded.peek() else { return Span::none() };
    let batch = info_span!(
        target: TARGET,
        parent: &first.call,
        "batch",
        billing.batch.operations = operations.count(),
    );
    let its_context = context(&batch);
    for waited in recorded {
        batch.add_link(context(&waited.call));
        waited.queue.add_link(its_context.clone());
    }
    batch
}

/// One run of a transaction.
#[must_use]
pub fn transaction() -> Span {
    of_a_trace(
        || info_span!(target: TARGET, "transaction", otel.kind = "client", db.system.name = "postgresql"),
    )
}

/// A read, and a second one where the first was lost.
#[must_use]
pub fn read() -> Span {
    of_a_trace(|| info_span!(target: TARGET, "read", otel.kind = "client", db.system.name = "postgresql"))
}

/// A span of the call under way, if that is traced: what the service does of itself is no trace.
fn of_a_trace(span: impl FnOnce() -> Span) -> Span {
    if Span::current().is_disabled() { Span::none() } else { span() }
}

fn context(span: &Span) -> SpanContext {
    if span.is_disabled() {
        return SpanContext::NONE;
    }
    span.context().span().span_context().clone()
}
