//! Observability: the log, metrics and traces.

mod log;
mod metrics;
mod scrape;
pub mod spans;
mod traces;

pub use log::{LogFormat, start_log};
pub use metrics::{Method, Metrics, OperationResult, PoolSample};
pub use scrape::serve_metrics;
pub use spans::SampleRatio;
pub use traces::{OtlpEndpoint, Traces};
