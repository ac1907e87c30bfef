//! What a connection may take: here stands every bound that a client meets before its call reaches a method.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tonic::transport::Server;

/// The largest request: its largest fields at their limits, with room to spare.
pub(crate) const REQUEST_BYTES_MAX: usize = 256 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// How many streams of a connection may fail by the client's fault, or be taken back before they are looked at, until the
/// connection is ended. tonic leaves the first without a bound.
const STREAM_ERRORS_MAX: usize = 128;
const STREAMS_TAKEN_BACK_MAX: usize = 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// How many there are at once at most. Further ones are closed at once.
    pub connections_max: usize,
    /// After how long a connection is asked to end. It is cut when it has not after as long again.
    pub age_max: Duration,
}

/// How many calls of health one connection may have under way: a client asks for a few names, one after the other.
pub(super) const CHECKS_PER_CONNECTION_MAX: usize = 16;
/// How many streams one connection may watch: there are four names to watch, and a client may begin anew before the end of a
/// stream has arrived here.
pub(super) const WATCHES_PER_CONNECTION_MAX: usize = 8;
/// How many pages may wait until a connection reads them.
pub(super) const PAGES_PER_CONNECTION_MAX: usize = 4;
/// How many bytes the requests of one connection may hold, beyond what is free.
pub(super) const BYTES_PER_CONNECTION_MAX: usize = 1024 * 1024;

/// Places of which a connection, or all of them together, has `N`.
#[derive(Debug, Clone)]
pub(crate) struct Places<const N: usize>(pub(crate) Arc<Semaphore>);

impl<const N: usize> Default for Places<N> {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(N)))
    }
}

/// A server, before it has any services, that bounds what a connection may take.
pub(crate) fn bounded(connections: ConnectionSettings) -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_local_error_reset_streams(Some(STREAM_ERRORS_MAX))
        .http2_max_pending_accept_reset_streams(Some(STREAMS_TAKEN_BACK_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(connections.age_max)
}
