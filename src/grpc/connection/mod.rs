//! What is true of a connection: how it is accepted, how much it may take, who is at its other end.

mod accept;
mod bounds;
mod peer;
mod tls;

pub(crate) use accept::accept;
pub use accept::listen;
pub use bounds::ConnectionSettings;
pub(crate) use bounds::{REQUEST_BYTES_MAX, bounded};
pub(crate) use peer::Peer;
pub use tls::Tls;
pub(crate) use tls::{ClientCertificate, ClientChain};
