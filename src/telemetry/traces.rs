//! The export of spans: over OTLP to a collector, on a thread of its own.

use std::{env, fmt, str::FromStr, time::Duration};

use anyhow::Context as _;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::{self, Runtime};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::spans::TARGET;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last export may take when the service ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// The most links of a batch's span: by default one for each of its calls.
const LINKS_MAX: u32 = 512;

/// The address of a collector.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpEndpoint(String);

/// The exporter of spans.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    /// Runs the connection to the collector, so that a slow collector delays no call.
    runtime: Runtime,
}

impl FromStr for OtlpEndpoint {
    type Err = &'static str; // which does not quote it: it may contain a password

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let host = text.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() {
            return Err("must be the http:// URL of a collector's gRPC port, such as http://127.0.0.1:4317");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtlpEndpoint") // there may be a password in it
    }
}

impl Traces {
    /// Starts exporting. Nothing waits for the collector: spans that it does not accept are dropped, and logged.
    ///
    /// # Errors
    /// When the thread cannot be started, or the exporter rejects its settings, some of which come from the environment.
    pub fn start(collector: &OtlpEndpoint) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .context("no thread can be started for them")?;
        let exporter = {
            let _inside = runtime.enter();
            let exporter = SpanExporter::builder().with_tonic();
            let exporter = exporter.with_endpoint(&collector.0).with_timeout(EXPORT_TIMEOUT);
            exporter.build().context("the exporter cannot be made")?
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::AlwaysOn) // what is not recorded has no span
            .with_max_links_per_span(LINKS_MAX)
            .with_resource(resource())
            .build();
        Ok(Self { provider, runtime })
    }

    /// Records the spans of [`super::spans`], and nothing else.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(env!("CARGO_CRATE_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Exports the remaining spans, with a timeout.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
        self.runtime.shutdown_background();
    }
}

/// The resource: the attributes of `OTEL_RESOURCE_ATTRIBUTES`, and the name in `OTEL_SERVICE_NAME` if set.
fn resource() -> Resource {
    let name = env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_reached_without_tls_and_its_address_is_not_shown() {
        let endpoint: OtlpEndpoint = "http://user:hunter2@collector:4317".parse().unwrap();
        assert!(!format!("{endpoint:?}").contains("hunter2"));
        for wrong in ["", "http://", "collector:4317", "https://collector:4317"] {
            assert!(wrong.parse::<OtlpEndpoint>().is_err(), "{wrong}");
        }
    }
}
