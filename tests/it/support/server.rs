//! The service inside the test's process, on a port of its own, through the same door as `main`.

use std::{path::PathBuf, time::Duration};

use billing::{
    app,
    committer::CommitterSettings,
    config::{Config, Database},
    grpc::{ConnectionSettings, ServerSettings},
};
use tokio::{net::TcpListener, sync::oneshot};

use super::{
    TestBook,
    book::limits,
    calls::{Client, connect},
};

/// A running service. It shuts down when this is dropped.
pub struct TestServer {
    /// Where it serves.
    pub url: String,
    _until_dropped: oneshot::Sender<()>,
}

impl TestBook {
    /// The service on this book.
    pub async fn serve(&self) -> TestServer {
        TestServer::start(&self.url, config()).await
    }
}

/// A configuration for tests: as by default, but quick to stop.
pub fn config() -> Config {
    Config {
        database: Database::Private(PathBuf::new()), // not used: `serve` is told which
        allow_unsafe_database: true,                 // the tests' own is
        listen: ([127, 0, 0, 1], 0).into(),
        metrics_listen: None,
        health_listen: None,
        collector: None,
        server: ServerSettings {
            connections: ConnectionSettings { connections_max: 1_024, age_max: Duration::from_secs(600) },
            credentials: None,
            tls: None,
            sample_ratio: None,
        },
        limits: limits(),
        sweep_interval: None,
        committer: CommitterSettings { writers: 4, queue_max: 8_192, batch_max: 512 },
        readers: 2,
        drain_delay: Duration::ZERO,
        shutdown_grace: Duration::from_secs(10),
    }
}

impl TestServer {
    /// The service on a database.
    pub async fn start(database_url: &str, config: Config) -> Self {
        let grpc = TcpListener::bind(config.listen).await.unwrap();
        let url = format!("http://{}", grpc.local_addr().unwrap());
        let listeners = app::Listeners { grpc, metrics: None };
        let (until_dropped, dropped) = oneshot::channel::<()>();
        let database_url = database_url.parse().unwrap();
        tokio::spawn(async move {
            let shutdown = async {
                let _ = dropped.await;
            };
            app::serve(&config, &database_url, listeners, shutdown).await.unwrap();
        });
        Self { url, _until_dropped: until_dropped }
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }
}
