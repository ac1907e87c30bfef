//! The edge: the only code that knows tonic and prost.

mod authorize;
mod boundary;
mod codec;
mod connections;
mod convert;
mod deadline;
#[cfg(test)]
mod fuzz;
mod health;
mod health_port;
mod intake;
mod line_limit;
mod log;
mod measure;
mod page;
mod page_token;
mod request_id;
mod service;
mod status;
mod tls;
mod trace;
mod unread;
mod watches;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

pub use connections::{ConnectionSettings, listen};
pub use health::Health;
pub use health_port::serve_health;
pub use tls::Tls;
/// Why serving ended before it was to.
pub use tonic::transport::Error as ServeError;

use crate::{
    access::Credentials, committer::Committer, ledger::Ledger, reload::Reloaded, telemetry::Metrics,
};
use authorize::AuthorizeLayer;
use boundary::BoundaryLayer;
use intake::IntakeLayer;
use line_limit::LineLimit;
use log::LogLayer;
use measure::MeasureLayer;
use proto::billing_service_server::BillingServiceServer;
use service::BillingService;
use trace::TraceLayer;
use unread::UnreadLayer;

/// The messages and services of `proto/billing/v1`.
#[allow(
    missing_docs,
    clippy::pedantic,
    clippy::large_enum_variant,
    unreachable_pub,
    reason = "generated; documented in the proto"
)]
pub mod proto {
    tonic::include_proto!("billing.v1");

    /// The contract as a descriptor set, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("billing_descriptor");
}

/// The largest request: its largest fields at their limits, with room to spare.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// How many streams of a connection may fail by the client's fault, or be taken back before they are looked at, until the
/// connection is ended. tonic leaves the first without a bound.
const STREAM_ERRORS_MAX: usize = 128;
const STREAMS_TAKEN_BACK_MAX: usize = 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// When the server stops: how long clients have to take notice, and how long the last answers to leave.
const FAREWELL: Duration = Duration::from_millis(250);

/// The path of health. It is open to everybody, since a kubelet has no credentials, and is never refused for too much load: it
/// tells nothing but whether the service is well.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Who may connect, and how.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The bounds of connections.
    pub connections: ConnectionSettings,
    /// Who may call; everybody if there are none.
    pub credentials: Option<Reloaded<Credentials>>,
    /// TLS, if there is any.
    pub tls: Option<Reloaded<Tls>>,
}

/// Serves the ledger, health and reflection until `shutdown`, then lets the calls under way finish. That may take as
/// long as a client likes: bound it. Connections without calls are not waited for.
///
/// # Errors
/// When the listener fails.
///
/// # Panics
/// Never: the descriptors for reflection are compiled in, and every test that starts a server reads them.
pub async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    committer: Committer,
    ledger: Ledger,
    metrics: Metrics,
    health: &Health,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let billing = BillingServiceServer::new(BillingService::new(committer, ledger, metrics.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let incoming = connections::accept(listener, settings.connections, settings.tls);
    let (boundary, unread) = (BoundaryLayer::new(), UnreadLayer::new());
    let line_limit = Arc::new(LineLimit::default());
    let (stop, stopped) = oneshot::channel();
    let serving = bounded(settings.connections)
        .layer(TraceLayer(settings.credentials.clone()))
        .layer(LogLayer(Arc::clone(&line_limit)))
        .layer(MeasureLayer::new(metrics))
        .layer(boundary.clone())
        .layer(AuthorizeLayer(settings.credentials))
        .layer(IntakeLayer::new())
        .layer(unread.clone())
        .add_service(HealthServer::new(health.service()))
        // Both, since clients know one or the other.
        .add_service(reflection().build_v1().expect("compiled-in descriptors are sound"))
        .add_service(reflection().build_v1alpha().expect("compiled-in descriptors are sound"))
        .add_service(billing)
        .serve_with_incoming_shutdown(incoming, async {
            shutdown.await;
            let _ = stop.send(()); // who waits for it is dropped no earlier than this
        });
    tokio::select! {
        served = serving => served,
        () = all_answered(stopped, &boundary, &unread) => Ok(()),
        () = line_limit.report() => Ok(()), // never
    }
}

/// A server, before it has any services, that bounds what a connection may take.
fn bounded(connections: ConnectionSettings) -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_local_error_reset_streams(Some(STREAM_ERRORS_MAX))
        .http2_max_pending_accept_reset_streams(Some(STREAMS_TAKEN_BACK_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(connections.age_max)
}

/// Waits until the server was told to stop and no call is under way. The server itself waits for every connection to be closed
/// by its client, and there are clients that sleep, hang, or are gone.
async fn all_answered(stopped: oneshot::Receiver<()>, boundary: &BoundaryLayer, unread: &UnreadLayer) {
    let _ = stopped.await; // a server that has failed is noticed first
    sleep(FAREWELL).await;
    boundary.all_answered().await;
    unread.all_read().await;
    sleep(FAREWELL).await;
}

/// What reflection knows: the contract, health, and the details that errors carry, so that tools can show them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
