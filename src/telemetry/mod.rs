//! What the service tells of itself to those who watch over it.

mod log;
mod metrics;
mod scrape;

pub use log::{LogFormat, UnknownLogFormat, start_log};
pub use metrics::{Method, Metrics, OperationResult, PoolSample};
pub use scrape::serve_metrics;
