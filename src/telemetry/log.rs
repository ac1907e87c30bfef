//! The log on standard error: its level and its format.

use std::{
    io::{self, IsTerminal as _},
    panic,
    str::FromStr,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::Traces;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// For programs: one JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("the format must be auto, human or json"),
        }
    }
}

impl LogFormat {
    fn is_json(self) -> bool {
        match self {
            Self::Auto => !io::stderr().is_terminal(),
            Self::Human => false,
            Self::Json => true,
        }
    }
}

/// Starts logging to standard error: this program's events at the given level, and only warnings of libraries. Their details
/// would drown ours, and might contain secrets. Spans go to the collector, if there is one, and never to the log.
pub fn start_log(level: LevelFilter, format: LogFormat, traces: Option<&Traces>) {
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    tracing_subscriber::registry()
        .with(lines(format.is_json()).with_filter(levels))
        .with(traces.map(Traces::layer))
        .init();
    if format.is_json() {
        panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task panicked")));
    }
}

fn lines<S>(is_json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let stderr = fmt::layer().with_writer(io::stderr);
    if is_json {
        stderr.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        stderr.with_ansi(has_colours()).boxed()
    }
}

/// Whether to colour standard error, by the same rule as for help and usage errors: on a capable terminal, unless `NO_COLOR`,
/// `CLICOLOR` or `TERM` say otherwise.
fn has_colours() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
