//! What the service tells of itself to those who watch over it.

mod metrics;
mod scrape;

pub use metrics::{Method, Metrics, OperationResult, PoolSample};
pub use scrape::serve_metrics;
