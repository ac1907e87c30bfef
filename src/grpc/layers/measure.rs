//! Counts and times every call, under the names of gRPC's own metrics.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tonic::{Code, codegen::http};
use tower::{Layer, Service};

use crate::{
    grpc::{
        methods::{METHODS, method},
        status::code_at_fault,
    },
    telemetry::{Method, Metrics},
};

/// Puts [`Measure`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct MeasureLayer(Metrics);

impl MeasureLayer {
    pub(crate) fn new(metrics: Metrics) -> Self {
        for (grpc_method, _) in METHODS {
            let method = Method { grpc_service: "billing.v1.BillingService", grpc_method };
            for number in 0..=16 {
                metrics.expect_call(&method, name(Code::from_i32(number)));
            }
        }
        Self(metrics)
    }
}

/// Measures calls.
#[derive(Debug, Clone)]
pub(crate) struct Measure<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure { inner, metrics: self.0.clone() }
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Measure<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let call = Call::begin(&self.metrics, method(request.uri().path()));
        Measured { answer: self.inner.call(request), call }
    }
}

/// An answer, and the call that it ends.
pub(crate) struct Measured<F> {
    answer: F,
    call: Call,
}

impl<F, Body> Future for Measured<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        if let Poll::Ready(Ok(answer)) = &answer {
            self.call.code = answer.extensions().get().map_or_else(|| code(answer.headers()), code_at_fault);
        }
        answer
    }
}

/// A call under way. It is counted as ended when it is dropped: by then it has a code, or its caller has gone.
struct Call {
    metrics: Metrics,
    method: Method,
    begin: Instant,
    code: Code,
}

impl Call {
    fn begin(metrics: &Metrics, method: Method) -> Self {
        metrics.call_started(&method);
        Self { metrics: metrics.clone(), method, begin: Instant::now(), code: Code::Cancelled }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.call_handled(&self.method, name(self.code), self.begin.elapsed());
    }
}

/// The code of an answer. One that has anything else to say has it in its headers.
fn code(headers: &http::HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// The name of a code as other gRPC servers' metrics have it.
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
