//! A span for each call, in its caller's trace. Who is not known has no say in whether it is recorded. Health has none: it is
//! asked every second, and says nothing of calls.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{Code, Status, codegen::http};
use tower::{Layer, Service};
use tracing::Span;

use super::{authorize::is_known, request_id::REQUEST_ID};
use crate::{
    access::Credentials,
    grpc::{
        methods::{HEALTH, method},
        status::code_name,
    },
    reload::Reloaded,
    telemetry::spans::{self, TraceParent},
};

/// Puts [`Trace`] around a service, whose callers are known by these credentials.
#[derive(Debug, Clone)]
pub(crate) struct TraceLayer(pub(crate) Option<Reloaded<Credentials>>);

/// Traces calls.
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    credentials: Option<Reloaded<Credentials>>,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, credentials: self.0.clone() }
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Trace<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Traced<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let span = span(&request, self.credentials.as_ref());
        let answer = span.in_scope(|| self.inner.call(request));
        Traced { answer, span }
    }
}

/// An answer, and the span that it ends.
pub(crate) struct Traced<F> {
    answer: F,
    span: Span,
}

impl<F, Body> Future for Traced<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { answer, span } = &mut *self;
        let answer = span.in_scope(|| Pin::new(answer).poll(context));
        if let Poll::Ready(Ok(answer)) = &answer
            && !span.is_disabled()
        {
            let code = answer.extensions().get::<Status>().map_or(Code::Ok, Status::code);
            let id = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
            spans::answered(span, code_name(code), is_our_fault(code), id.unwrap_or_default());
        }
        answer
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

/// Which codes OpenTelemetry has as an error of the server's.
fn is_our_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    [DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown].contains(&code)
}
