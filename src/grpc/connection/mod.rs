//! Connections: how they are accepted, their bounds, their peers and TLS.

mod accept;
mod bounds;
mod peer;
mod tls;

pub(crate) use accept::accept;
pub use accept::listen;
pub use bounds::ConnectionSettings;
pub(crate) use bounds::{APPLY_BYTES_MAX, METADATA_BYTES_MAX, REQUEST_BYTES_MAX, bounded};
pub(crate) use peer::Peer;
pub use tls::Tls;
pub(crate) use tls::{ClientCertificate, ClientChain};
