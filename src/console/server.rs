//! The server: the pages, behind what every answer carries, over connections that are bounded in number and in time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    account, accounts, act, assets, download, entry,
    failure::{Failure, Unframed},
    find,
    keys::Keys,
    month, operation,
    operator::{Operator, Shared},
    overview, reservation,
    scrape::Scraped,
    service::Target,
    session::{Found, Sessions},
    sign_in,
};
use crate::{grpc::Tls, reload::Reloaded};

/// The most connections at once. Further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a browser may take to speak, or to say nothing between two requests.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a connection may last.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long answers under way may take when the process is told to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// The longest form.
const FORM_BYTES_MAX: usize = 64 << 10;

/// What every answer carries. Scripts, styles and pictures come from here alone, forms go nowhere else, and nobody may frame a page.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What the console is given.
#[derive(Debug)]
pub struct ConsoleSettings {
    /// The service.
    pub target: Target,
    /// The keys of sessions.
    pub keys: Keys,
    /// How long a session lasts in which nothing happens.
    pub idle: Duration,
    /// TLS for browsers, if there is any.
    pub tls: Option<Reloaded<Tls>>,
    /// The service's metrics, if they are to be shown.
    pub metrics: Option<Scraped>,
}

/// Serves the console until `shutdown`; then answers that are under way have a few seconds to end.
pub async fn serve(listener: TcpListener, settings: ConsoleSettings, shutdown: impl Future<Output = ()>) {
    let ConsoleSettings { target, keys, idle, tls, metrics } = settings;
    let sessions = Arc::new(Sessions { keys, idle, is_encrypted: tls.is_some() });
    let router = router(Shared { connection: target.connection(), sessions, metrics });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (ending, ends) = watch::channel(());
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve_connection(stream, tls.clone(), router.clone(), ends.clone(), place));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await; // such as too many open files
                }
            }
        }
    };
    tokio::select! { () = shutdown => {}, () = accepting => {} }
    drop(ending);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(FAREWELL, places.acquire_many(all)).await; // whoever is slower is cut off
}

/// Where a console listens, for the log.
#[must_use]
pub fn url(address: SocketAddr, is_encrypted: bool) -> String {
    format!("{}://{address}", if is_encrypted { "https" } else { "http" })
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(overview::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/find", get(find::find))
        .route("/accounts", get(accounts::list))
        .route("/account", get(account::show))
        .route("/entries.csv", get(download::csv))
        .route("/entry", get(entry::show))
        .route("/reservations", get(reservation::list))
        .route("/reservation", get(reservation::show))
        .route("/month", get(month::show))
        .route("/operation", get(operation::show))
        .route("/act/{action}", get(act::open).post(act::send))
        .route("/stay", get(stay))
        .fallback(|| async { Failure::NoSuchPage })
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(shared.clone(), keep_signed_in))
        .with_state(shared)
        .merge(assets::routes())
        .route("/health", get(|| async { "ok" }))
        .layer(from_fn(protect))
}

/// What the script asks for to stay signed in: the cookie that goes with every answer.
async fn stay(_: Operator) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Frames what is still to be framed, and gives whoever has signed in the cookie anew, so that only who does nothing is signed out.
/// No page is kept by a browser's cache.
async fn keep_signed_in(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let found = shared.sessions.find(request.headers());
    let viewer = match &found {
        Found::Session(session) => shared.sessions.viewer(session),
        Found::Over | Found::Nothing => None,
    };
    let mut response = next.run(request).await;
    if let Some(page) = response.extensions_mut().remove::<Unframed>() {
        let (parts, _) = response.into_parts();
        response = (parts.status, parts.headers, page.framed(viewer.as_ref())).into_response();
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Found::Session(session) = found
        && session.operator.is_some()
        && !response.headers().contains_key(header::SET_COOKIE)
    {
        match shared.sessions.cookie(session) {
            Ok(cookie) => _ = response.headers_mut().insert(header::SET_COOKIE, cookie),
            Err(error) => return Failure::from(error).into_response(),
        }
    }
    response
}

async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<Reloaded<Tls>>,
    router: Router,
    ends: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true); // only speed depends on it
    let Some(tls) = tls else { return serve_stream(stream, router, ends).await };
    let mut config = tls.current().config.as_ref().clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
    match timeout(SILENCE_MAX, handshake).await {
        Ok(Ok(stream)) => serve_stream(stream, router, ends).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

async fn serve_stream<S>(stream: S, router: Router, mut ends: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SILENCE_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = timeout(CONNECTION_AGE_MAX, async {
        tokio::select! {
            served = connection.as_mut() => return served,
            _ = ends.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(_) => tracing::debug!("a connection lasted too long"),
    }
}
