//! What a call passes before it reaches its method, each layer in a file of its own. `grpc/server.rs` has their order.

mod authorize;
mod back_pressure;
mod caller_share;
mod deadline;
mod errors;
mod log;
mod log_rate_limit;
mod measure;
mod observe;
mod request_buffer;
mod request_id;
mod trace;

pub(crate) use authorize::AuthorizeLayer;
#[cfg(test)]
pub(crate) use authorize::bearer;
pub(crate) use back_pressure::BackPressureLayer;
pub(crate) use caller_share::CallerShareLayer;
#[cfg(test)]
pub(crate) use deadline::parse as parse_deadline;
pub(crate) use errors::ErrorsLayer;
pub(crate) use log::Log;
pub(crate) use log_rate_limit::LogRateLimit;
pub(crate) use measure::Measure;
pub(crate) use observe::observe;
pub(crate) use request_buffer::RequestBufferLayer;
pub(crate) use trace::Trace;
