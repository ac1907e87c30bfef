//! The peer of a connection, as its calls see it: its certificates, and its remaining budgets.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::codegen::http::Extensions;

use super::{
    bounds::{
        BYTES_PER_CONNECTION_MAX, CHECKS_PER_CONNECTION_MAX, PAGES_PER_CONNECTION_MAX,
        WATCHES_PER_CONNECTION_MAX,
    },
    tls::ClientChain,
};

/// The peer of a connection. All calls of the connection share it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its certificates, if the connection uses TLS.
    pub(crate) certificates: Option<ClientChain>,
    /// Places for unread pages.
    pub(crate) pages: Arc<Semaphore>,
    /// Places for health streams.
    pub(crate) watches: Arc<Semaphore>,
    /// Places for health checks in progress.
    pub(crate) checks: Semaphore,
    /// The bytes of buffered requests.
    pub(crate) bytes: Semaphore,
}

impl Peer {
    pub(crate) fn new(certificates: Option<ClientChain>) -> Arc<Self> {
        Arc::new(Self {
            certificates,
            pages: Arc::new(Semaphore::new(PAGES_PER_CONNECTION_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_PER_CONNECTION_MAX)),
            checks: Semaphore::new(CHECKS_PER_CONNECTION_MAX),
            bytes: Semaphore::new(BYTES_PER_CONNECTION_MAX),
        })
    }

    /// The peer that sent a request. A request without a connection (in tests) gets budgets of its own.
    pub(crate) fn of(request: &Extensions) -> Arc<Self> {
        request.get().cloned().unwrap_or_else(|| Self::new(None))
    }
}
