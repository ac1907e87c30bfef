//! `billing serve`: on the database that is given, or on a private one.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use super::{execution::carry_out, flags::LogFlags, signals::Signals};
use crate::{
    app,
    config::{Config, Database, ServeFlags},
    database::DatabaseUrl,
    file_limit, grpc,
    private_postgres::{PrivatePostgres, PrivatePostgresError},
    schema::{self, DatabaseUse},
    telemetry::{Traces, start_log},
};

/// How often it is looked at whether the private PostgreSQL is still there.
const SERVER_WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Serves until it is told to stop.
pub(super) fn serve(flags: &ServeFlags, log: LogFlags) -> anyhow::Result<()> {
    let mut config = Config::parse(flags)?;
    let traces = config.collector.as_ref().map(Traces::start).transpose().context("cannot send traces")?;
    start_log(log.log_level, log.log_format, traces.as_ref());
    let connections_max = &mut config.server.connections.connections_max;
    *connections_max = file_limit::fit_connections(*connections_max);
    let served = serve_in_database(&config);
    if let Some(traces) = traces {
        traces.finish();
    }
    served
}

fn serve_in_database(config: &Config) -> anyhow::Result<()> {
    match &config.database {
        Database::Given(url) => carry_out(serve_migrated(config, url)),
        Database::Private(data_dir) => serve_in_private_database(config, data_dir),
    }
}

fn serve_in_private_database(config: &Config, data_dir: &Path) -> anyhow::Result<()> {
    let mut postgres = PrivatePostgres::start(data_dir, &[]).context("cannot start a private PostgreSQL")?;
    let url = postgres.database_url("billing");
    tracing::warn!(url, "no --database-url: the book is in a private PostgreSQL on this machine");
    let served = carry_out(async {
        let url = url.parse().context("cannot name the private database")?;
        let served = async {
            schema::migrate(&url, None, false).await.context("cannot migrate the private database")?;
            serve_migrated(config, &url).await
        };
        // Whatever starts the service again starts the server, too, in the one way that there is.
        tokio::select! {
            served = served => served,
            died = death_of(&mut postgres) => Err(died.into()),
        }
    });
    postgres.stop().context("cannot stop the private PostgreSQL")?;
    served
}

/// Waits until the server has ended without being told to, and says how.
async fn death_of(postgres: &mut PrivatePostgres) -> PrivatePostgresError {
    loop {
        if let Err(died) = postgres.check_alive() {
            return died;
        }
        tokio::time::sleep(SERVER_WATCH_INTERVAL).await;
    }
}

async fn serve_migrated(config: &Config, database_url: &DatabaseUrl) -> anyhow::Result<()> {
    let database_use = DatabaseUse::Serve { allow_unsafe: config.allow_unsafe_database };
    schema::check_database(database_url, database_use).await?;
    let pending = schema::pending_migrations(database_url).await.context("cannot read the schema")?;
    if !pending.is_empty() {
        bail!("the schema is not up to date: run `billing migrate` first (pending: {})", pending.join(", "));
    }
    let signals = Signals::catch()?;
    let listeners = app::Listeners {
        grpc: listen(config.listen)?,
        metrics: config.metrics_listen.map(listen).transpose()?,
    };
    say_who_may_call(config, &listeners)?;
    app::serve(config, database_url, listeners, signals.first()).await
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    grpc::listen(address).with_context(|| format!("cannot listen on {address}"))
}

fn say_who_may_call(config: &Config, listeners: &app::Listeners) -> anyhow::Result<()> {
    if let Some(listener) = &listeners.metrics {
        tracing::info!(url = format!("http://{}/metrics", listener.local_addr()?), "serving metrics");
    }
    let (credentials, tls) = (config.server.credentials.is_some(), config.server.tls.is_some());
    let address = listeners.grpc.local_addr()?;
    tracing::info!(credentials, tls, %address, "serving gRPC");
    if !credentials {
        tracing::warn!("no --credentials: everybody on this machine may do everything");
    } else if !tls && !address.ip().is_loopback() {
        tracing::warn!("no --tls-cert: bearer tokens can be read on the way, unless something else encrypts");
    }
    Ok(())
}
