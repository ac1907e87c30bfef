//! The edge: the only code that serves by tonic and prost.
//!
//! A call passes, from the outside in: a `connection`; the `layers`, in the order in which `server` puts them; and its
//! method in `service`. `methods` is the table of all methods, and `status` says how each failure is answered.

mod codec;
mod connection;
mod failure;
#[cfg(test)]
mod fuzz;
mod health;
mod layers;
mod methods;
mod places;
pub mod proto;
mod server;
mod service;
mod status;

pub use connection::{ConnectionSettings, Tls, listen};
pub use health::{Health, serve_health};
pub use server::{ServeError, ServerSettings, serve};
