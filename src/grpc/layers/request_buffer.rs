//! Receives a whole request before it is handled, within a few seconds and within the budget of its connection.
//!
//! A half-sent request costs its bytes for a few seconds, and one that is aborted is the caller's own fault.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use http_body::{Body as _, Frame};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http},
};
use tower::{Layer, Service};

use super::deadline::patience;
use crate::grpc::{
    connection::{Peer, REQUEST_BYTES_MAX},
    failure::Failure,
    methods::HEALTH,
};

/// How long a request may take to arrive, once it has begun.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// How much earlier a request that is half sent is given up than any other whose deadline passes.
const EARLIER: Duration = Duration::from_millis(1);
/// The largest request of health: the name of a service.
const NAME_BYTES_MAX: usize = 4 * 1024;
/// How much of a request is received without a place for it: nearly all are smaller, and so many calls fit into memory.
const FREE_BYTES: usize = 4 * 1024;
/// How many bytes beyond that the requests of all connections may hold.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What comes before a message: a flag, and its length.
const PREFIX_BYTES: usize = 5;
/// The only method whose requests are streams.
const REFLECTION: &str = "/grpc.reflection.";

/// Puts [`RequestBuffer`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct RequestBufferLayer(Arc<Semaphore>);

/// Receives requests.
#[derive(Debug, Clone)]
pub(crate) struct RequestBuffer<S> {
    inner: S,
    bytes: Arc<Semaphore>,
}

impl RequestBufferLayer {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX)))
    }
}

impl<S> Layer<S> for RequestBufferLayer {
    type Service = RequestBuffer<S>;

    fn layer(&self, inner: S) -> RequestBuffer<S> {
        RequestBuffer { inner, bytes: Arc::clone(&self.0) }
    }
}

impl<S> Service<http::Request<Body>> for RequestBuffer<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(REFLECTION) {
            return Box::pin(self.inner.call(request));
        }
        let mut inner = self.inner.clone();
        let own = Arc::clone(&Peer::of(&request).bytes.0);
        let mut held = Held { budgets: [own, Arc::clone(&self.bytes)], permits: [None, None] };
        Box::pin(async move {
            match received(request, &mut held).await {
                Ok(request) => inner.call(request).await,
                Err(failure) => Ok(Status::from(failure).into_http()),
            }
        })
    }
}

/// What a request holds of what its connection may, and of what all may, until it is answered.
struct Held {
    budgets: [Arc<Semaphore>; 2],
    permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Held {
    fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        let bytes = u32::try_from(bytes).map_err(|_| Failure::RequestTooLarge)?;
        for (budget, held) in self.budgets.iter().zip(&mut self.permits) {
            let more = Arc::clone(budget).try_acquire_many_owned(bytes);
            let more = more.map_err(|_| Failure::TooManyCalls)?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        Ok(())
    }
}

/// The request with all of its body.
async fn received(request: http::Request<Body>, held: &mut Held) -> Result<http::Request<Body>, Failure> {
    let encoding = request.headers().get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::CompressionUnsupported);
    }
    let is_health = request.uri().path().starts_with(HEALTH);
    let bytes_max = if is_health { NAME_BYTES_MAX } else { REQUEST_BYTES_MAX };
    let arrival_max = patience(request.headers()).saturating_sub(EARLIER).min(ARRIVAL_MAX);
    let (parts, body) = request.into_parts();
    let receiving = receive(body, bytes_max, held);
    let whole = if arrival_max.is_zero() {
        receiving.now_or_never() // a timer would let others of that deadline end first
    } else {
        timeout(arrival_max, receiving).await.ok()
    };
    let whole = whole.ok_or(Failure::HalfSent)??;
    Ok(http::Request::from_parts(parts, Body::new(Whole(whole))))
}

/// All of a body. What comes in parts is copied: a part in the buffer of its connection would keep all of that.
async fn receive(mut body: Body, bytes_max: usize, held: &mut Held) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else { return Err(Failure::BrokenOff) };
        let Ok(data) = frame.into_data() else { continue }; // trailers, which mean nothing in a request
        let bytes = whole.len() + data.len();
        if bytes > PREFIX_BYTES + bytes_max {
            return Err(Failure::RequestTooLarge);
        }
        if bytes > FREE_BYTES {
            held.hold(data.len())?;
        }
        if whole.is_empty() && body.is_end_stream() {
            check_prefix(&data, bytes_max)?;
            return Ok(data);
        }
        whole.extend_from_slice(&data);
        check_prefix(&whole, bytes_max)?;
    }
    Ok(whole.into())
}

/// Looks at what is said of a message before it has come.
fn check_prefix(body: &[u8], bytes_max: usize) -> Result<(), Failure> {
    match body {
        [1, ..] => Err(Failure::CompressionUndeclared),
        [_, length @ ..] => match length.first_chunk() {
            Some(length) if u32::from_be_bytes(*length) as usize > bytes_max => Err(Failure::RequestTooLarge),
            Some(_) | None => Ok(()),
        },
        [] => Ok(()),
    }
}

/// A body that has come whole.
struct Whole(Bytes);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = std::mem::take(&mut self.0);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
