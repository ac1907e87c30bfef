//! A port for health alone, in plain text and open to everybody, for a kubelet: it speaks neither TLS nor bearer tokens.

use tokio::net::TcpListener;
use tonic_health::pb::health_server::HealthServer;

use super::Health;
use crate::grpc::{
    connection::{ConnectionSettings, accept, bounded},
    layers::{ErrorsLayer, RequestBufferLayer},
};

/// How many connections there are at once at most. They are kubelets and load balancers, which are few; and so many always fit
/// into the files that are kept for all but callers (`file_limit.rs`).
const CONNECTIONS_MAX: usize = 64;
const STREAMS_PER_CONNECTION_MAX: u32 = 16;

/// Serves health until it is dropped: to the very end of a shutdown, so that who asks meanwhile is told of it. The ledger and
/// reflection are not there, whoever calls.
///
/// # Errors
/// When the listener fails.
pub async fn serve_health(
    listener: TcpListener,
    connections: ConnectionSettings,
    health: Health,
) -> Result<(), tonic::transport::Error> {
    let connections = ConnectionSettings { connections_max: CONNECTIONS_MAX, ..connections };
    bounded(connections)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .layer(ErrorsLayer::new())
        .layer(RequestBufferLayer::new())
        .add_service(HealthServer::new(health.service()))
        .serve_with_incoming(accept(listener, connections, None))
        .await
}
