//! The server: the ledger, health and reflection, behind the layers that every call passes.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use tonic_health::pb::health_server::HealthServer;

/// Why the server failed.
pub use tonic::transport::Error as ServeError;

use super::{
    connection::{APPLY_BYTES_MAX, ConnectionSettings, Tls, accept, bounded},
    health::Health,
    layers::{Gates, Observers},
    proto::{self, billing_service_server::BillingServiceServer},
    service::BillingService,
};
use crate::{
    access::Credentials,
    committer::Committer,
    ledger::Ledger,
    reload::Reloaded,
    telemetry::{Metrics, SampleRatio},
};

/// During a shutdown: how long clients have to notice, and how long the last responses have to leave.
const FAREWELL: Duration = Duration::from_millis(250);

/// The settings of the server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The bounds of connections.
    pub connections: ConnectionSettings,
    /// The callers; anybody may call if there are none.
    pub credentials: Option<Reloaded<Credentials>>,
    /// TLS, if configured.
    pub tls: Option<Reloaded<Tls>>,
    /// How many of the traces that begin here are recorded; no call is if there is no collector.
    pub sample_ratio: Option<SampleRatio>,
}

/// Serves the ledger, health and reflection until `shutdown`, then waits for the calls in progress. A client can make that take
/// any time: use a timeout. Does not wait for idle connections.
///
/// # Errors
/// When the listener fails.
///
/// # Panics
/// Never: the descriptors for reflection are compiled in, and every test that starts a server parses them.
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
        .max_decoding_message_size(APPLY_BYTES_MAX); // the layers know the limit of each method
    let incoming = accept(listener, settings.connections, settings.tls);
    let observers = Arc::new(Observers::new(settings.credentials.clone(), settings.sample_ratio, metrics));
    let gates = Gates::new(settings.credentials);
    let (stop, stopped) = oneshot::channel();
    let serving = bounded(settings.connections)
        .layer(Arc::clone(&observers).layer())
        .layer(Arc::clone(&gates).layer())
        .add_service(HealthServer::new(health.service()))
        // Both versions: clients use one or the other.
        .add_service(reflection().build_v1().expect("compiled-in descriptors are sound"))
        .add_service(reflection().build_v1alpha().expect("compiled-in descriptors are sound"))
        .add_service(billing)
        .serve_with_incoming_shutdown(incoming, async {
            shutdown.await;
            let _ = stop.send(()); // who waits for it is dropped no earlier than this
        });
    tokio::select! {
        served = serving => served,
        () = all_answered(stopped, &gates) => Ok(()),
        () = observers.log_rate_limit.report() => Ok(()), // never
    }
}

/// Waits until the server has been told to stop and no call is in progress. tonic itself waits until clients close their
/// connections, and some clients sleep, hang or are gone.
async fn all_answered(stopped: oneshot::Receiver<()>, gates: &Gates) {
    let _ = stopped.await; // a server that has failed is noticed first
    sleep(FAREWELL).await;
    gates.all_answered().await;
    sleep(FAREWELL).await;
}

/// Reflection: the contract, health, and the messages in error details, so that tools can display them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
