//! A port for health only, without TLS and credentials: kubelets have neither.

use tokio::net::TcpListener;
use tonic_health::pb::health_server::HealthServer;

use super::Health;
use crate::grpc::{
    connection::{ConnectionSettings, accept, bounded},
    layers::Gates,
};

/// The most concurrent connections. Kubelets and load balancers are few, and this many fit into the files that `file_limit.rs`
/// reserves.
const CONNECTIONS_MAX: usize = 64;
const STREAMS_PER_CONNECTION_MAX: u32 = 16;

/// Serves health until it is dropped: to the very end of a shutdown, so that probes see it. Serves neither the ledger nor
/// reflection.
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
        .layer(Gates::new(None).layer())
        .add_service(HealthServer::new(health.service()))
        .serve_with_incoming(accept(listener, connections, None))
        .await
}
