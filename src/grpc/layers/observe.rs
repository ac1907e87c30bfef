//! What the layers that only observe calls have in common: each sees the request and the answer, and neither delays nor
//! refuses anything.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service, layer::layer_fn};

/// Observes calls.
pub(crate) trait Observe: Clone {
    /// What is known of a call until it ends.
    type Call: Unpin;

    /// A call begins.
    fn begin<B>(&self, request: &mut Request<B>) -> Self::Call;

    /// Runs a part of a call.
    fn run<T>(_: &Self::Call, part: impl FnOnce() -> T) -> T {
        part()
    }

    /// A call is answered. One whose caller disconnects is dropped instead.
    fn end<B>(call: &mut Self::Call, answer: &mut Response<B>);
}

/// A layer with an observer.
pub(crate) fn observe<S, O: Observe>(observer: O) -> impl Layer<S, Service = Observed<S, O>> + Clone {
    layer_fn(move |inner| Observed { inner, observer: observer.clone() })
}

/// An observed service.
#[derive(Debug, Clone)]
pub(crate) struct Observed<S, O> {
    inner: S,
    observer: O,
}

impl<S, O, RequestBody, ResponseBody> Service<Request<RequestBody>> for Observed<S, O>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Unpin,
    O: Observe,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = ObservedFuture<S::Future, O>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let call = self.observer.begin(&mut request);
        let answer = O::run(&call, || self.inner.call(request));
        ObservedFuture { answer, call }
    }
}

/// An answer, and the call that it ends.
pub(crate) struct ObservedFuture<F, O: Observe> {
    answer: F,
    call: O::Call,
}

impl<F, O, Body> Future for ObservedFuture<F, O>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
    O: Observe,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { answer, call } = &mut *self;
        let mut answer = O::run(call, || Pin::new(answer).poll(context));
        if let Poll::Ready(Ok(answer)) = &mut answer {
            O::end(call, answer);
        }
        answer
    }
}
