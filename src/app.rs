//! Wiring: the ledger, the committer and the server, started in order and shut down in order.

use std::future::Future;

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    committer::{Committer, Writers},
    config::Config,
    database::DatabaseUrl,
    grpc::{self, Health, ServerSettings},
    heap,
    ledger::Ledger,
    sweeper,
    telemetry::{Metrics, serve_metrics},
};

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub grpc: TcpListener,
    /// For Prometheus, if configured.
    pub metrics: Option<TcpListener>,
}

/// Serves on `listeners`, with the book in `database_url`, until `shutdown`. Then, in this order: the service becomes not
/// ready; it keeps accepting calls for the drain delay; it stops accepting calls; calls in progress are answered within the
/// grace period; the writers finish within another; the health port, if there is one, closes last.
///
/// # Errors
/// When the database cannot be reached at the start, the health port is taken, the listener fails, or calls are still in
/// progress when the grace period ends.
pub async fn serve(
    config: &Config,
    database_url: &DatabaseUrl,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let writers = u32::try_from(config.committer.writers).context("too many writers")?;
    // One more connection than writers: readiness is proven while all of them are busy.
    let ledger = Ledger::connect(database_url, writers + 1, config.readers, config.limits)
        .await
        .context("cannot connect to the database")?
        .allow_unsafe_database(config.allow_unsafe_database);
    let metrics = Metrics::new({
        let ledger = ledger.clone();
        move || ledger.pools()
    });
    let (committer, writers) = Committer::start(&ledger, config.committer, &metrics);
    let health = Health::not_serving().await;
    let _health_port = open_health_port(config, &health)?;
    let mut background = keep_files_current(&config.server, &metrics);
    background.spawn(heap::trim_after_peaks());
    background.spawn(sweeper::count(ledger.clone(), metrics.clone()));
    if let Some(interval) = config.sweep_interval {
        background.spawn(sweeper::sweep(ledger.clone(), metrics.clone(), interval));
    }
    if let Some(listener) = listeners.metrics {
        background.spawn(serve_metrics(listener, metrics.clone()));
    }
    let server_settings = config.server.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = tokio::spawn({
        let (ledger, metrics, health) = (ledger.clone(), metrics.clone(), health.clone());
        async move {
            let stopped = async {
                let _ = stopped.await; // a dropped sender stops the server, too
            };
            grpc::serve(listeners.grpc, server_settings, committer, ledger, metrics, &health, stopped).await
        }
    });
    let watch = tokio::spawn({
        let health = health.clone();
        async move { health.watch(&ledger, &metrics).await }
    });
    tokio::select! {
        () = shutdown => {}
        ended = &mut server => {
            ended.context("the server panicked")?.context("the server failed")?;
            bail!("the server ended by itself");
        }
    }
    watch.abort();
    shut_down(config, health, stop, server, writers).await // with metrics to its end
}

/// Serves health on a port of its own, if configured, until the returned value is dropped.
fn open_health_port(
    config: &Config,
    health: &Health,
) -> anyhow::Result<JoinSet<Result<(), grpc::ServeError>>> {
    let mut port = JoinSet::new();
    if let Some(address) = config.health_listen {
        let listener = grpc::listen(address).with_context(|| format!("cannot listen on {address}"))?;
        tracing::info!(listen = %listener.local_addr()?, "serving health alone, to everybody and without TLS");
        port.spawn(grpc::serve_health(listener, config.server.connections, health.clone()));
    }
    Ok(port)
}

/// Watches the credentials and certificates for changes, until the returned value is dropped.
fn keep_files_current(settings: &ServerSettings, metrics: &Metrics) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(credentials) = settings.credentials.clone() {
        let metrics = metrics.clone();
        tasks.spawn(credentials.keep_current(move |_, is_whole| metrics.reloaded("credentials", is_whole)));
    }
    if let Some(tls) = settings.tls.clone() {
        let metrics = metrics.clone();
        tasks.spawn(tls.keep_current(move |tls, is_whole| {
            metrics.reloaded("tls", is_whole);
            metrics.set_certificate_expiry(tls.expiry);
        }));
    }
    tasks
}

async fn shut_down(
    config: &Config,
    mut health: Health,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), grpc::ServeError>>,
    writers: Writers,
) -> anyhow::Result<()> {
    tracing::info!(drain_delay = ?config.drain_delay, "shutting down: not ready any more");
    health.leave().await;
    tokio::time::sleep(config.drain_delay).await;
    health.end_watches().await;
    let _ = stop.send(()); // the server may have ended already
    let drained = timeout(config.shutdown_grace, server).await;
    let written = timeout(config.shutdown_grace, writers.finish()).await;
    drained
        .context("some calls were still under way when the grace was over")?
        .context("the server panicked")?
        .context("the server failed")?;
    written.context("some operations were still being written when the grace was over")?;
    tracing::info!("shut down: every call that was taken has been answered");
    Ok(())
}
