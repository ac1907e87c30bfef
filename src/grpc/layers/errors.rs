//! Error translation, and the limits that every call passes: a call whose deadline passes, whose request cannot be read or
//! whose handler panics still gets a status of the contract.
//!
//! tonic's own answers have no details, and are not what gRPC clients expect: `CANCELLED` for a deadline and for a panic, `OUT_OF_RANGE` for a request that is too large, `INTERNAL` for one that cannot be decoded, a bare
//! `UNIMPLEMENTED` for an unknown method.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, codegen::http};
use tower::{Layer, Service};

use super::deadline::patience;
use crate::grpc::{
    connection::{METADATA_BYTES_MAX, Peer},
    failure::Failure,
    methods::HEALTH,
};

/// The most calls in progress. The committer and the pool of reads bound those that wait there; this also bounds those that are
/// still being received.
const CALLS_MAX: u32 = 16_384;

/// Puts [`Errors`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct ErrorsLayer {
    calls: Arc<Semaphore>,
}

/// Gives every call an answer of the contract, whatever happens.
#[derive(Debug, Clone)]
pub(crate) struct Errors<S> {
    inner: S,
    calls: Arc<Semaphore>,
}

impl ErrorsLayer {
    pub(crate) fn new() -> Self {
        Self { calls: Arc::new(Semaphore::new(CALLS_MAX as usize)) }
    }

    /// Waits until no call is in progress, and keeps new ones from starting.
    pub(crate) async fn all_answered(&self) {
        if let Ok(places) = self.calls.acquire_many(CALLS_MAX).await {
            places.forget();
        }
    }
}

impl<S> Layer<S> for ErrorsLayer {
    type Service = Errors<S>;

    fn layer(&self, inner: S) -> Errors<S> {
        Errors { inner, calls: Arc::clone(&self.calls) }
    }
}

impl<S, RequestBody, ResponseBody> Service<http::Request<RequestBody>> for Errors<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        if !is_grpc(request.headers()) {
            let mut answer = http::Response::new(ResponseBody::default());
            *answer.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Box::pin(async move { Ok(answer) });
        }
        let place = match place(&self.calls, &request) {
            Ok(place) => place,
            Err(failure) => return Box::pin(async move { Ok(Status::from(failure).into_http()) }),
        };
        let patience = patience(request.headers());
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let _place = place;
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok(answer)) => answer.map(in_our_words),
                Ok(Err(panic)) => Ok(Status::from(Failure::Panicked(text_of(&*panic))).into_http()),
                Err(_elapsed) => Ok(Status::from(Failure::DeadlineExceeded).into_http()),
            }
        })
    }
}

/// Whether it is a gRPC call, by its content type. tonic accepts any content type, including that of an HTML form, which a
/// browser would send from any site.
fn is_grpc(headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&[][..], http::HeaderValue::as_bytes);
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The size of metadata as HTTP/2 counts it (RFC 9113, section 6.5.2).
fn metadata_bytes(headers: &http::HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// A place among the calls in progress. Health checks have places of their own, for each connection, so that they are answered
/// under any load.
fn place<B>(calls: &Arc<Semaphore>, request: &http::Request<B>) -> Result<OwnedSemaphorePermit, Failure> {
    if metadata_bytes(request.headers()) > METADATA_BYTES_MAX {
        return Err(Failure::MetadataTooLarge);
    }
    let places = if request.uri().path().starts_with(HEALTH) { &Peer::of(request).checks.0 } else { calls };
    Arc::clone(places).try_acquire_owned().map_err(|_| Failure::TooManyCalls)
}

/// Translates a failure that tonic found while it read a request. Statuses of our own have details already.
fn in_our_words<Body: Default>(response: http::Response<Body>) -> http::Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get("grpc-status") else { return response };
    if headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    match Code::from_bytes(code.as_bytes()) {
        Code::OutOfRange => Status::from(Failure::RequestTooLarge).into_http(),
        Code::Internal => Status::from(Failure::RequestMalformed).into_http(),
        Code::Unimplemented => Status::from(Failure::Unimplemented).into_http(),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => response,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler with a bug.
    struct Panics;

    impl Service<http::Request<()>> for Panics {
        type Response = http::Response<()>;
        type Error = std::convert::Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<()>) -> Self::Future {
            Box::pin(async { panic!("a secret") })
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_internal_and_keeps_its_secrets() {
        let call = http::Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
        let answer = ErrorsLayer::new().layer(Panics).call(call).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        assert!(!status.details().is_empty());
    }
}
