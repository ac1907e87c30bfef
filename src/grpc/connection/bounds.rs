//! The bounds of a connection: everything that limits a client before its call reaches a method.

use std::time::Duration;

use tonic::transport::Server;

/// The largest request: its largest fields at their limits, with room to spare.
pub(crate) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// The largest list of operations.
pub(crate) const APPLY_BYTES_MAX: usize = 1024 * 1024;
/// The largest metadata of a call: names and values, as HTTP/2 counts them.
pub(crate) const METADATA_BYTES_MAX: usize = 16 * 1024;
/// What HTTP/2 accepts of it. Beyond that a call gets no gRPC status, so a client cannot tell that it must not retry.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Streams per connection. A client that reads nothing makes the service keep about 2 KiB for each.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// How many streams of a connection may fail by the client's fault, or be reset before they are accepted, until the connection
/// is closed. tonic leaves the first unbounded by default.
const STREAM_ERRORS_MAX: usize = 128;
const STREAMS_TAKEN_BACK_MAX: usize = 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// The most concurrent connections. Further ones are closed immediately.
    pub connections_max: usize,
    /// The age at which a connection is asked to close. It is cut at twice that age.
    pub age_max: Duration,
}

/// Concurrent health checks per connection: a client checks a few names, one after the other.
pub(super) const CHECKS_PER_CONNECTION_MAX: usize = 16;
/// Concurrent health streams per connection: there are four names to watch, and a client may reopen a stream before the end of
/// the old one has arrived here.
pub(super) const WATCHES_PER_CONNECTION_MAX: usize = 8;
/// Unread pages per connection.
pub(super) const PAGES_PER_CONNECTION_MAX: usize = 4;
/// Bytes of buffered requests per connection, beyond what is free.
pub(super) const BYTES_PER_CONNECTION_MAX: usize = 2 * APPLY_BYTES_MAX;

/// A server without services that enforces the bounds.
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
