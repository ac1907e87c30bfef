//! The other end of a connection, as its calls know it: who it is, and what it may still take.

use tonic::codegen::http;

use super::{
    bounds::{
        BYTES_PER_CONNECTION_MAX, CHECKS_PER_CONNECTION_MAX, PAGES_PER_CONNECTION_MAX, Places,
        WATCHES_PER_CONNECTION_MAX,
    },
    tls::ClientChain,
};

/// The client of a connection. Its places are those of the connection, whatever number of calls share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Its certificates, if there is TLS.
    pub(crate) certificates: Option<ClientChain>,
    /// For pages that it has not read.
    pub(crate) pages: Places<PAGES_PER_CONNECTION_MAX>,
    /// For streams of health that it watches.
    pub(crate) watches: Places<WATCHES_PER_CONNECTION_MAX>,
    /// For calls of health that are under way.
    pub(crate) checks: Places<CHECKS_PER_CONNECTION_MAX>,
    /// For bytes of requests that have not all come.
    pub(crate) bytes: Places<BYTES_PER_CONNECTION_MAX>,
}

impl Peer {
    /// The client that sent a request; one without a connection, in tests, has places of its own.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }
}
