//! Bounds the calls in progress of each caller, so that no caller takes the places of the others. A call is in progress until its
//! answer has been taken: answers that a client does not read count, too.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::future::Either;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http},
};
use tower::{Layer, Service};

use crate::{access::Caller, accounting::CallerName, grpc::failure::Failure};

/// The most calls in progress of one caller: half of the reads that may wait for a connection, and an eighth of all calls.
const CALLS_PER_CALLER_MAX: usize = 2_048;

/// The places of each caller. Callers are those of the credentials file, so there are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerShareLayer(Arc<Mutex<HashMap<CallerName, Arc<Semaphore>>>>);

impl CallerShareLayer {
    fn places(&self, caller: &CallerName) -> Arc<Semaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner); // a map is consistent at any time
        if let Some(known) = places.get(caller) {
            return Arc::clone(known);
        }
        let new = Arc::new(Semaphore::new(CALLS_PER_CALLER_MAX));
        places.insert(caller.clone(), Arc::clone(&new));
        new
    }
}

impl<S> Layer<S> for CallerShareLayer {
    type Service = CallerShare<S>;

    fn layer(&self, inner: S) -> CallerShare<S> {
        CallerShare { inner, callers: self.clone() }
    }
}

/// Refuses a call whose caller has too many in progress. Without credentials there are no callers to tell apart.
#[derive(Debug, Clone)]
pub(crate) struct CallerShare<S> {
    inner: S,
    callers: CallerShareLayer,
}

impl<S, RequestBody> Service<http::Request<RequestBody>> for CallerShare<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let Some(caller) = request.extensions().get::<Caller>() else {
            return Either::Left(self.inner.call(request));
        };
        let Ok(place) = self.callers.places(&caller.name).try_acquire_owned() else {
            return Either::Right(Box::pin(async { Ok(Status::from(Failure::TooManyCalls).into_http()) }));
        };
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move {
            Ok(answer.await?.map(|body| Body::new(UntilTaken { body, _place: place })))
        }))
    }
}

/// A body that keeps its call's place until it has been sent.
struct UntilTaken {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for UntilTaken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
