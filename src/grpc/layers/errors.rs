//! Error translation, and the limits that every call passes: a call whose deadline passes, whose request cannot be read or
//! whose handler panics still gets a status of the contract.
//!
//! tonic's own answers have no details, and are not what gRPC clients expect: `CANCELLED` for a deadline and for a panic,
//! `OUT_OF_RANGE` for a request that is too large, `INTERNAL` for one that cannot be decoded, a bare `UNIMPLEMENTED` for an
//! unknown method.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tonic::{Code, Status, body::Body, codegen::http};

use crate::grpc::{
    connection::{APPLY_BYTES_MAX, METADATA_BYTES_MAX, Peer},
    failure::Failure,
    methods::HEALTH,
};

/// The most calls in progress. The committer and the pool of reads bound those that wait there; this also bounds those that are
/// still being received.
const CALLS_MAX: u32 = 16_384;

/// The places of calls in progress.
#[derive(Debug)]
pub(crate) struct Calls(Semaphore);

impl Default for Calls {
    fn default() -> Self {
        Self(Semaphore::new(CALLS_MAX as usize))
    }
}

impl Calls {
    /// A place among the calls in progress. Health checks have places of their own, for each connection, so that they are
    /// answered under any load.
    pub(crate) fn place<'a, B>(
        &'a self,
        peer: &'a Peer,
        request: &http::Request<B>,
    ) -> Result<SemaphorePermit<'a>, Failure> {
        // The size of metadata as HTTP/2 counts it (RFC 9113, section 6.5.2).
        let metadata = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
        if metadata.sum::<usize>() > METADATA_BYTES_MAX {
            return Err(Failure::MetadataTooLarge);
        }
        let places = if request.uri().path().starts_with(HEALTH) { &peer.checks } else { &self.0 };
        places.try_acquire().map_err(|_| Failure::TooManyCalls)
    }

    /// Waits until no call is in progress, and keeps new ones from starting.
    pub(crate) async fn all_answered(&self) {
        if let Ok(places) = self.0.acquire_many(CALLS_MAX).await {
            places.forget();
        }
    }
}

/// Waits for the answer to a call, which may panic, for a limited time. No `async fn`, which would hold the future twice.
pub(crate) fn in_time<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> impl Future<Output = Result<T, Failure>> {
    let answer = timeout(patience, AssertUnwindSafe(answer).catch_unwind());
    answer.map(|answered| match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(Failure::Panicked(text_of(&*panic))),
        Err(_elapsed) => Err(Failure::DeadlineExceeded),
    })
}

/// Whether it is a gRPC call, by its content type. tonic accepts any content type, including that of an HTML form, which a
/// browser would send from any site.
pub(crate) fn is_grpc(headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&[][..], http::HeaderValue::as_bytes);
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

pub(crate) fn unsupported_media_type() -> http::Response<Body> {
    let mut answer = http::Response::default();
    *answer.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer
}

/// Translates a failure that tonic found while it read a request. Statuses of our own have details already.
pub(crate) fn in_our_words(response: http::Response<Body>) -> http::Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get("grpc-status") else { return response };
    if headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    let ours = [
        (Code::OutOfRange, Failure::RequestTooLarge(APPLY_BYTES_MAX)),
        (Code::Internal, Failure::RequestMalformed),
        (Code::Unimplemented, Failure::Unimplemented),
    ];
    let code = Code::from_bytes(code.as_bytes());
    let failure = ours.into_iter().find(|(theirs, _)| *theirs == code);
    failure.map_or(response, |(_, failure)| Status::from(failure).into_http())
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
