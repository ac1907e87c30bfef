//! The endpoint that Prometheus scrapes.
//!
//! A scrape takes milliseconds, but a client may connect and then do nothing. So the number of connections is small, and a
//! new connection replaces the oldest if there are too many: the newest is always served.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Timeout, timeout},
};

use super::Metrics;

/// The content type of `OpenMetrics`, which Prometheus requests.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const CONNECTIONS_MAX: usize = 32;
/// How long a connection may last. Prometheus connects again.
const AGE_MAX: Duration = Duration::from_secs(120);

/// Serves `/metrics`, forever. The service goes on without it.
pub async fn serve_metrics(listener: TcpListener, metrics: Metrics) {
    let router = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    let listener = Bounded { listener, connections: VecDeque::new() };
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

struct Bounded {
    listener: TcpListener,
    /// The open connections, oldest first: dropping one of these cuts its connection.
    connections: VecDeque<oneshot::Sender<()>>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await; // which pauses after a failure
        self.connections.retain(|connection| !connection.is_closed());
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_front();
        }
        let (connection, cut) = oneshot::channel();
        self.connections.push_back(connection);
        (Connection { stream, end: Box::pin(timeout(AGE_MAX, cut)) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends once it is cut or too old.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Timeout<oneshot::Receiver<()>>>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
