//! The peer of a connection, as its calls see it: its certificates, and its remaining budgets.

use std::{ops::Deref, sync::Arc};

use tonic::codegen::http;

use super::{
    bounds::{
        BYTES_PER_CONNECTION_MAX, CHECKS_PER_CONNECTION_MAX, PAGES_PER_CONNECTION_MAX, Places,
        WATCHES_PER_CONNECTION_MAX,
    },
    tls::ClientChain,
};

/// The peer of a connection. All calls of the connection share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer(Arc<Client>);

/// The client of a connection.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Its certificates, if the connection uses TLS.
    pub(crate) certificates: Option<ClientChain>,
    /// For unread pages.
    pub(crate) pages: Places<PAGES_PER_CONNECTION_MAX>,
    /// For health streams.
    pub(crate) watches: Places<WATCHES_PER_CONNECTION_MAX>,
    /// For health checks in progress.
    pub(crate) checks: Places<CHECKS_PER_CONNECTION_MAX>,
    /// For bytes of buffered requests.
    pub(crate) bytes: Places<BYTES_PER_CONNECTION_MAX>,
}

impl Peer {
    pub(crate) fn new(certificates: Option<ClientChain>) -> Self {
        Self(Arc::new(Client { certificates, ..Client::default() }))
    }

    /// The peer that sent a request. A request without a connection (in tests) gets budgets of its own.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }
}

impl Deref for Peer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}
