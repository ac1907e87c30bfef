//! The flags about metrics and traces. Those about the log belong to every command, so `cli` has them.

use std::net::SocketAddr;

use clap::Args;

use super::problems::Problems;
use crate::telemetry::{OtlpEndpoint, SampleRatio};

#[derive(Clone, Args)]
#[command(next_help_heading = "Metrics and traces")]
pub(super) struct TelemetryFlags {
    /// Address for Prometheus to scrape /metrics, or `off`. Needs no credentials. Labels name no account; let only Prometheus
    /// reach it.
    #[arg(
        long,
        env = "BILLING_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS:PORT"
    )]
    metrics_listen: String,
    /// Collector to send traces to, over OTLP/gRPC without TLS, such as `http://collector:4317`. Without it, there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Fraction of the traces that begin here to record, from 0 to 1; 0.01 for thousands of calls a second. A caller that traces
    /// decides for its own calls.
    #[arg(long, env = "BILLING_OTLP_SAMPLE_RATIO", default_value = "1", value_name = "RATIO")]
    otlp_sample_ratio: String,
}

impl TelemetryFlags {
    pub(super) fn metrics_listen(&self, problems: &mut Problems) -> Option<SocketAddr> {
        (self.metrics_listen != "off").then(|| problems.address("--metrics-listen", &self.metrics_listen))
    }

    pub(super) fn collector(&self, problems: &mut Problems) -> Option<OtlpEndpoint> {
        problems.unless_wrong("--otlp-endpoint", self.otlp_endpoint.as_deref()?.parse())
    }

    /// None without a collector: then nothing is recorded.
    pub(super) fn sample_ratio(&self, problems: &mut Problems) -> Option<SampleRatio> {
        self.otlp_endpoint.as_ref()?;
        problems.unless_wrong("--otlp-sample-ratio", self.otlp_sample_ratio.parse())
    }
}
