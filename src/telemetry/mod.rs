//! Observability: the log, metrics and traces.

mod log;
mod metrics;
mod scrape;
pub mod spans;
mod traces;

pub use log::{LogFormat, UnknownLogFormat, start_log};
pub use metrics::{Method, Metrics, OperationResult, PoolSample};
pub use scrape::serve_metrics;
pub use traces::{
    InvalidOtlpEndpoint, InvalidSampleRatio, OtlpEndpoint, SampleRatio, TraceSettings, Traces, TracesError,
};
