//! Receives a whole request before it is handled, within a few seconds and within the budget of its connection.
//!
//! A half-sent request costs its bytes for a few seconds, and one that is aborted is the caller's own fault.

use std::time::Duration;

use futures_util::FutureExt as _;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tonic::{
    body::Body,
    codegen::{Bytes, http},
};

use super::deadline::patience;
use crate::grpc::{
    connection::{APPLY_BYTES_MAX, Peer, REQUEST_BYTES_MAX},
    failure::Failure,
    methods::{HEALTH, rpc},
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

/// The bytes that the requests of all connections may hold.
#[derive(Debug)]
pub(crate) struct RequestBuffer(Semaphore);

impl Default for RequestBuffer {
    fn default() -> Self {
        Self(Semaphore::new(BYTES_MAX))
    }
}

impl RequestBuffer {
    /// What a request will hold until it is answered; nothing yet.
    pub(crate) fn held<'a>(&'a self, peer: &'a Peer) -> Held<'a> {
        Held { budgets: [&peer.bytes, &self.0], permits: [None, None] }
    }
}

/// What a request holds of what its connection may, and of what all may, until it is answered.
pub(crate) struct Held<'a> {
    budgets: [&'a Semaphore; 2],
    permits: [Option<SemaphorePermit<'a>>; 2],
}

impl Held<'_> {
    fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        let bytes = u32::try_from(bytes).map_err(|_| Failure::TooManyCalls)?; // no budget has so many
        for (budget, held) in self.budgets.iter().zip(&mut self.permits) {
            let more = budget.try_acquire_many(bytes).map_err(|_| Failure::TooManyCalls)?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        Ok(())
    }
}

/// Receives all of a request's body, unless it is a stream.
pub(crate) async fn receive(request: &mut http::Request<Body>, held: &mut Held<'_>) -> Result<(), Failure> {
    if request.uri().path().starts_with(REFLECTION) {
        return Ok(());
    }
    let encoding = request.headers().get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::CompressionUnsupported);
    }
    let path = request.uri().path();
    let bytes_max = match rpc(path) {
        Some(rpc) if rpc.is_batch => APPLY_BYTES_MAX,
        Some(_) | None if path.starts_with(HEALTH) => NAME_BYTES_MAX,
        Some(_) | None => REQUEST_BYTES_MAX,
    };
    let arrival_max = patience(request.headers()).saturating_sub(EARLIER).min(ARRIVAL_MAX);
    let body = request.body_mut();
    let whole = if arrival_max.is_zero() {
        all_of(body, bytes_max, held).now_or_never() // a timer would let others of that deadline end first
    } else {
        timeout(arrival_max, all_of(body, bytes_max, held)).await.ok()
    };
    let whole = whole.ok_or(Failure::HalfSent)??;
    *request.body_mut() = Body::new(Full::new(whole));
    Ok(())
}

/// All of a body. What comes in parts is copied: a part in the buffer of its connection would keep all of that.
async fn all_of(body: &mut Body, bytes_max: usize, held: &mut Held<'_>) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Failure::BrokenOff) };
        let Ok(data) = frame.into_data() else { continue }; // trailers, which mean nothing in a request
        let bytes = whole.len() + data.len();
        if bytes > PREFIX_BYTES + bytes_max {
            return Err(Failure::RequestTooLarge(bytes_max));
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
            Some(length) if u32::from_be_bytes(*length) as usize > bytes_max => {
                Err(Failure::RequestTooLarge(bytes_max))
            }
            Some(_) | None => Ok(()),
        },
        [] => Ok(()),
    }
}
