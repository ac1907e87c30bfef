//! The edge: the only code that knows tonic and prost.

mod boundary;
mod codec;
mod convert;
mod deadline;
mod health;
mod page_token;
mod service;
mod status;

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::pb::health_server::HealthServer;

pub use health::Health;
/// Why serving ended before it was to.
pub use tonic::transport::Error as ServeError;

use crate::{committer::Committer, ledger::Ledger};
use boundary::BoundaryLayer;
use proto::billing_service_server::BillingServiceServer;
use service::BillingService;

/// The messages and services of `proto/billing/v1`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated; documented in the proto")]
pub mod proto {
    tonic::include_proto!("billing.v1");

    /// The contract as a descriptor set, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("billing_descriptor");
}

/// The largest request: its largest fields at their limits, with room to spare.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the ledger, health and reflection until `shutdown`, then lets the calls under way finish. That may take as
/// long as a client likes: bound it.
///
/// # Errors
/// When the listener fails.
///
/// # Panics
/// Never: the descriptors for reflection are compiled in, and every test that starts a server reads them.
pub async fn serve(
    listener: TcpListener,
    committer: Committer,
    ledger: Ledger,
    health: &Health,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let billing = BillingServiceServer::new(BillingService::new(committer, ledger))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let incoming =
        TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(BoundaryLayer)
        .add_service(HealthServer::new(health.service()))
        // Both, since clients know one or the other.
        .add_service(reflection().build_v1().expect("compiled-in descriptors are sound"))
        .add_service(reflection().build_v1alpha().expect("compiled-in descriptors are sound"))
        .add_service(billing)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

/// What reflection knows: the contract, health, and the details that errors carry, so that tools can show them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
