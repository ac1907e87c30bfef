//! What the service's metrics say: refusals by reason, how long commits take, how many reservations are open. Read from the text
//! that Prometheus scrapes, without a float.

use std::{collections::BTreeMap, time::Duration};

use axum::{body::Bytes, http::Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::money;

/// How long a page waits for them.
const PATIENCE: Duration = Duration::from_secs(3);
/// No scrape is as long.
const BYTES_MAX: usize = 4 << 20;

/// Where the metrics are.
#[derive(Debug, Clone)]
pub struct Scraped {
    authority: String,
    path: String,
}

/// What a page shows of them, since the replica started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// How many operations were refused, by reason.
    pub(super) refusals: BTreeMap<String, u64>,
    /// How many batches were committed, and how long they took.
    pub(super) commits: Latency,
    /// How many reservations are open.
    pub(super) open_reservations: u64,
    /// How old the oldest is, in seconds.
    pub(super) oldest_reservation_seconds: u64,
}

/// A histogram: of each bound, in seconds as it is written, how many took no longer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Latency {
    buckets: Vec<(String, u64)>,
    /// How many in all.
    pub(super) count: u64,
}

impl Scraped {
    /// The metrics at a URL such as `http://127.0.0.1:9464/metrics`.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn new(url: &str) -> Result<Self, String> {
        const PROBLEM: &str = "must be a URL such as http://127.0.0.1:9464/metrics";
        let uri: axum::http::Uri = url.parse().map_err(|_| PROBLEM)?;
        match (uri.scheme_str(), uri.authority(), uri.port_u16()) {
            (Some("http"), Some(authority), Some(_)) => {
                Ok(Self { authority: authority.to_string(), path: uri.path().to_owned() })
            }
            _ => Err(PROBLEM.into()),
        }
    }

    /// Where they are, for people.
    pub(super) fn address(&self) -> &str {
        &self.authority
    }

    /// Reads them.
    pub(super) async fn figures(&self) -> Result<Figures, String> {
        let read = timeout(PATIENCE, self.text()).await;
        let text = read.map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        Ok(Figures::read(&text))
    }

    async fn text(&self) -> Result<String, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| said(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| said(&error))?;
        tokio::spawn(connection);
        let request = Request::get(&self.path).header("host", &self.authority).header("connection", "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| said(&error))?;
        let response = sender.send_request(request).await.map_err(|error| said(&error))?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        let body = Limited::new(response.into_body(), BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        String::from_utf8(body.to_bytes().into()).map_err(|error| said(&error))
    }
}

impl Figures {
    fn read(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "billing_operations_total" if label(labels, "result") == Some("refused") && value > 0 => {
                    let reason = label(labels, "reason").unwrap_or_default().to_owned();
                    *figures.refusals.entry(reason).or_default() += value;
                }
                "billing_commit_seconds_bucket" => {
                    let bound = label(labels, "le").unwrap_or_default().to_owned();
                    figures.commits.buckets.push((bound, value));
                }
                "billing_commit_seconds_count" => figures.commits.count = value,
                "billing_open_reservations" => figures.open_reservations = value,
                "billing_oldest_reservation_seconds" => figures.oldest_reservation_seconds = value,
                _ => {}
            }
        }
        figures
    }
}

impl Latency {
    /// The time within which so many of a thousand were done, such as `0.5 ms`.
    pub(super) fn within(&self, per_mille: u64) -> Option<String> {
        let wanted = u128::from(self.count) * u128::from(per_mille);
        let mut bounds = self.buckets.iter().filter(|(_, count)| u128::from(*count) * 1_000 >= wanted);
        let (bound, _) = bounds.next().filter(|_| self.count > 0)?;
        match money::parse(bound) {
            // whole micro-units of what is written with a point
            Ok(micros) => Some(format!("{} ms", thousandths(micros))),
            Err(_) => Some("longer than can be told".into()),
        }
    }
}

/// Microseconds in milliseconds.
fn thousandths(micros: i64) -> String {
    let text = format!("{}.{:03}", micros / 1_000, micros % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The value of a label.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split(',').find_map(|pair| {
        let (label, value) = pair.split_once('=')?;
        (label == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP billing_commit_seconds How long a batch took.
billing_operations_total{operation="Charge",result="refused",reason="INSUFFICIENT_FUNDS"} 3
billing_operations_total{operation="Reserve",result="refused",reason="INSUFFICIENT_FUNDS"} 4
billing_operations_total{operation="Charge",result="refused",reason="DEBT_LIMIT"} 0
billing_operations_total{operation="Charge",result="applied",reason=""} 9
billing_commit_seconds_sum 0.05
billing_commit_seconds_count 10
billing_commit_seconds_bucket{le="0.0005"} 5
billing_commit_seconds_bucket{le="0.001"} 9
billing_commit_seconds_bucket{le="16.384"} 10
billing_commit_seconds_bucket{le="+Inf"} 10
billing_open_reservations 2
billing_oldest_reservation_seconds 61
# EOF"#;

    #[test]
    fn figures_are_read_from_what_prometheus_scrapes() {
        let figures = Figures::read(TEXT);
        assert_eq!(figures.refusals, BTreeMap::from([("INSUFFICIENT_FUNDS".to_owned(), 7)]));
        assert_eq!((figures.open_reservations, figures.oldest_reservation_seconds), (2, 61));
        let within = [500, 900, 990].map(|per_mille| figures.commits.within(per_mille).unwrap());
        assert_eq!(within, ["0.5 ms", "1 ms", "16384 ms"]);
        assert_eq!(Latency::default().within(500), None);
    }

    #[test]
    fn the_url_has_a_port() {
        assert!(Scraped::new("http://127.0.0.1:9464/metrics").is_ok());
        for wrong in ["", "127.0.0.1:9464", "https://h:1/metrics", "http://h/metrics"] {
            assert!(Scraped::new(wrong).is_err(), "{wrong}");
        }
    }
}
