//! The spans of a call, and their relations.
//!
//! ```text
//! billing.v1.BillingService/Credit    the call; a part of its caller's trace, if there is one
//! ├── queue                           until a writer takes it; links to the batch
//! ├── batch                           of the first call in it that is recorded; links to each of them
//! │   └── transaction                 each run of it
//! └── read                            of the calls that only read
//! ```
//!
//! They contain no account, key, amount or caller. Whether a call is recorded is decided before a span is made. One that is
//! not makes none, nor does a batch of none but such calls.

use std::str::FromStr;

use opentelemetry::{
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Method;

/// The target that separates spans from the log.
pub(super) const TARGET: &str = "otlp";

/// The caller's trace context: headers of W3C Trace Context.
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

/// The ratio of traces that begin here and are recorded, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio(f64);

impl FromStr for SampleRatio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or("must be a number from 0 to 1")
    }
}

/// A call, if it is recorded: as its caller does, if that traces, and else by the ratio.
pub fn call(method: &Method, parent: TraceParent<'_>, ratio: SampleRatio) -> Span {
    let parent = TraceContextPropagator::new().extract(&parent);
    let is_recorded = match parent.span().span_context() {
        of_caller if of_caller.is_valid() => of_caller.is_sampled(),
        _ => fastrand::f64() < ratio.0,
    };
    if !is_recorded {
        return Span::none();
    }
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
    let _ = span.set_parent(parent); // it has only just begun
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

/// The trace id of the current call, for the log, if it is recorded.
#[must_use]
pub fn trace_id() -> Option<String> {
    let context = context(&Span::current());
    context.is_sampled().then(|| context.trace_id().to_string())
}

/// The span of an operation that waits for a writer. It ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    call: Span,
    queue: Span,
}

impl Waiting {
    /// Starts the span, as a child of the current call.
    #[must_use]
    pub fn begin() -> Self {
        Self { call: Span::current(), queue: of_a_trace(|| info_span!(target: TARGET, "queue")) }
    }
}

/// The span of a batch. It belongs to the first call that is recorded: in a trace of its own it would be sampled independently
/// of its calls.
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

/// A read, including its wait for others and its retry.
#[must_use]
pub fn read() -> Span {
    of_a_trace(|| info_span!(target: TARGET, "read", otel.kind = "client", db.system.name = "postgresql"))
}

/// A span of the current call, if that is traced: the service starts no traces of its own.
fn of_a_trace(span: impl FnOnce() -> Span) -> Span {
    if Span::current().is_disabled() { Span::none() } else { span() }
}

fn context(span: &Span) -> SpanContext {
    if span.is_disabled() {
        return SpanContext::NONE;
    }
    span.context().span().span_context().clone()
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_ratio_is_between_none_and_all() {
        for good in ["0", "0.01", "1", "1.0"] {
            assert!(good.parse::<SampleRatio>().is_ok(), "{good}");
        }
        for wrong in ["", "-0.1", "1.1", "NaN", "10%"] {
            assert!(wrong.parse::<SampleRatio>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_batch_is_recorded_if_one_of_its_calls_is() {
        let traces =
            tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::default().tracer("a test"));
        let _until_dropped = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces));
        let method = Method { grpc_service: "service", grpc_method: "Method" };
        let waiting = ["0", "1", "0"].map(|ratio| {
            call(&method, TraceParent::default(), ratio.parse().unwrap()).in_scope(Waiting::begin)
        });
        assert!(!batch(waiting.iter()).is_disabled());
        assert!(batch(waiting[..1].iter()).is_disabled());
    }
}
