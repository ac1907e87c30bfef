//! The metrics, with Prometheus names. Every label has a small, known set of values; accounts, keys and callers are none.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry, Unit},
};

/// All metrics. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    calls_started: Family<Method, Counter>,
    calls_handled: Family<MethodAndCode, Counter>,
    call_seconds: Family<Method, Histogram>,
    operations: Family<OperationResult, Counter>,
    moved: Family<Label, Counter>,
    grants: Family<Label, Counter>,
    queue_length: Gauge,
    queue_wait: Histogram,
    batch_size: Histogram,
    commit_seconds: Histogram,
    ready: Gauge,
    books: Gauge,
    books_away: Gauge,
    database_clock_ahead: Gauge,
    open_reservations: Gauge,
    oldest_reservation_seconds: Gauge,
    leases_swept: Counter,
    sweeps: Family<Label, Counter>,
    files_usable: Family<Label, Gauge>,
    reload_failures: Family<Label, Counter>,
    certificate_expiry: Family<Label, Gauge>,
}

/// A method of a service, with the labels of gRPC's own metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    /// The service, such as `billing.v1.BillingService`.
    pub grpc_service: &'static str,
    /// The method, such as `Credit`.
    pub grpc_method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodAndCode {
    #[prometheus(flatten)]
    method: Method,
    grpc_code: &'static str,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationResult {
    /// Its method, such as `Credit`.
    pub operation: &'static str,
    /// `applied`, `replayed`, `refused`, `forbidden`, `invalid`, `key_reused`, `not_found` or `unanswered`.
    pub result: &'static str,
    /// The reason of a refusal, such as `INSUFFICIENT_FUNDS`; otherwise empty.
    pub reason: &'static str,
}

/// A label and its value.
type Label = [(&'static str, &'static str); 1];

/// The state of a connection pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolSample {
    /// Which: `write`, `read`, or `across` for transactions over several books.
    pub pool: &'static str,
    /// Connections in use.
    pub busy: u32,
    /// Connections in use whose answer is overdue: their callers have got an error.
    pub late: u32,
    /// Connections not in use.
    pub idle: u32,
    /// How many callers have had to wait for one.
    pub waits: u64,
    /// How many have waited too long.
    pub timeouts: u64,
    /// The sum of all waits.
    pub waited: Duration,
}

impl PoolSample {
    /// Two pools of the same kind as one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            pool: self.pool,
            busy: self.busy + other.busy,
            late: self.late + other.late,
            idle: self.idle + other.idle,
            waits: self.waits + other.waits,
            timeouts: self.timeouts + other.timeouts,
            waited: self.waited + other.waited,
        }
    }
}

impl Metrics {
    /// Creates the metrics.
    ///
    /// `pools` returns the state of the connection pools, at each scrape.
    #[must_use]
    pub fn new(pools: impl Fn() -> Vec<PoolSample> + Send + Sync + 'static) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16)); // half a millisecond to 16 s
        let by_method = Family::new_with_constructor(seconds as fn() -> Histogram);
        let batch_sizes = Histogram::new(exponential_buckets(1.0, 2.0, 13)); // 1 to 4,096
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Pools(Box::new(pools))));
        let all = &mut registry;
        let families = Families {
            calls_started: add(all, "grpc_server_started", "gRPC calls begun, by method"),
            calls_handled: add(all, "grpc_server_handled", "gRPC calls ended, by method and code"),
            call_seconds: add_made(
                all,
                "grpc_server_handling_seconds",
                "How long gRPC calls took, by method",
                by_method,
            ),
            operations: add(all, "billing_operations", "Operations, by what became of them"),
            moved: add(all, "billing_moved_micro_usd", "Money moved by new entries, by their type"),
            grants: add(all, "billing_grants_micro_usd", "Money that expires, by what became of it"),
            queue_length: add(all, "billing_queue_length", "Operations that wait for a writer"),
            queue_wait: add_made(
                all,
                "billing_queue_wait_seconds",
                "How long operations waited for a writer",
                seconds(),
            ),
            batch_size: add_made(all, "billing_batch_operations", "Operations in one batch", batch_sizes),
            commit_seconds: add_made(
                all,
                "billing_commit_seconds",
                "How long a batch took, with all its transactions",
                seconds(),
            ),
            ready: add(all, "billing_ready", "Whether a commit is possible: 1 or 0"),
            books: add(all, "billing_books", "Books of the ledger"),
            books_away: add(all, "billing_books_away", "Books of the ledger that take no writes"),
            database_clock_ahead: add_in_seconds(
                all,
                "billing_database_clock_ahead",
                "How far the database's clock is ahead of this machine's; negative where it is behind",
            ),
            open_reservations: add(all, "billing_open_reservations", "Reservations that are open"),
            oldest_reservation_seconds: add(
                all,
                "billing_oldest_reservation_seconds",
                "Age of the oldest open reservation",
            ),
            leases_swept: add(all, "billing_leases_swept", "Expiries written down by the sweeper"),
            sweeps: add(all, "billing_sweeps", "Sweeps, by their result"),
            files_usable: add(
                all,
                "billing_last_reload_successful",
                "Whether files are in use whole, as they are now: 1 or 0",
            ),
            reload_failures: add(
                all,
                "billing_reload_failures",
                "Changes of files that cannot be used, or not whole",
            ),
            certificate_expiry: add_in_seconds(
                all,
                "billing_certificate_expiry_timestamp",
                "When the first certificate of this server's chain expires, since 1970",
            ),
            registry,
        };
        for result in ["done", "failed"] {
            drop(families.sweeps.get_or_create(&[("result", result)]));
        }
        Self(Arc::new(families))
    }

    /// All metrics in the Prometheus text format.
    ///
    /// # Errors
    /// Never: text is written into memory.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Creates the series of a method and a code at 0, so that Prometheus sees the first call as an increase.
    pub fn expect_call(&self, method: &Method, code: &'static str) {
        drop(self.0.calls_handled.get_or_create(&MethodAndCode { method: method.clone(), grpc_code: code }));
    }

    /// Creates the series of a result at 0.
    pub fn expect_operation(&self, result: &OperationResult) {
        drop(self.0.operations.get_or_create(result));
    }

    /// Counts a call that begins.
    pub fn call_started(&self, method: &Method) {
        self.0.calls_started.get_or_create(method).inc();
    }

    /// Counts a call that has ended, by the name of its code, such as `NOT_FOUND`.
    pub fn call_handled(&self, method: &Method, code: &'static str, took: Duration) {
        let method_and_code = MethodAndCode { method: method.clone(), grpc_code: code };
        self.0.calls_handled.get_or_create(&method_and_code).inc();
        self.0.call_seconds.get_or_create(method).observe(took.as_secs_f64());
    }

    /// Counts the result of an operation.
    pub fn operation(&self, result: &OperationResult) {
        self.0.operations.get_or_create(result).inc();
    }

    /// Adds the absolute amount of a new entry, in micro-USD.
    pub fn moved(&self, entry_type: &'static str, micro_usd: u64) {
        self.0.moved.get_or_create(&[("entry_type", entry_type)]).inc_by(micro_usd);
    }

    /// Adds to what has become of grants, in micro-USD.
    pub fn grants_changed(&self, change: &'static str, micro_usd: u64) {
        self.0.grants.get_or_create(&[("change", change)]).inc_by(micro_usd);
    }

    /// An operation has joined the queue.
    pub fn queued(&self) {
        self.0.queue_length.inc();
    }

    /// An operation has left the queue.
    pub fn dequeued(&self, waited: Duration) {
        self.0.queue_length.dec();
        self.0.queue_wait.observe(waited.as_secs_f64());
    }

    /// A batch has been posted, successfully or not.
    pub fn posted(&self, operations: usize, took: Duration) {
        self.0.batch_size.observe(f64::from(u32::try_from(operations).unwrap_or(u32::MAX)));
        self.0.commit_seconds.observe(took.as_secs_f64());
    }

    /// Sets how many books there are, and how many of them cannot be written.
    pub fn set_books(&self, count: usize, away: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.books.set(number(count));
        self.0.books_away.set(number(away));
    }

    /// Whether a commit is possible.
    pub fn set_ready(&self, is_ready: bool) {
        self.0.ready.set(i64::from(is_ready));
    }

    /// How far the database's clock is ahead of this machine's.
    pub fn set_database_clock(&self, ahead_seconds: i64) {
        self.0.database_clock_ahead.set(ahead_seconds);
    }

    /// The number of open reservations, and the age of the oldest.
    pub fn set_open_reservations(&self, count: i64, oldest: Duration) {
        self.0.open_reservations.set(count);
        self.0.oldest_reservation_seconds.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// A sweep has ended: how many expiries it wrote down, or that it failed.
    pub fn swept(&self, leases: Option<u64>) {
        let result = if leases.is_some() { "done" } else { "failed" };
        self.0.sweeps.get_or_create(&[("result", result)]).inc();
        self.0.leases_swept.inc_by(leases.unwrap_or_default());
    }

    /// `credentials` or `tls` files have been read; whether everything in them is valid.
    pub fn reloaded(&self, files: &'static str, is_whole: bool) {
        self.0.files_usable.get_or_create(&[("files", files)]).set(i64::from(is_whole));
        self.0.reload_failures.get_or_create(&[("files", files)]).inc_by(u64::from(!is_whole));
    }

    /// When this server's certificate expires, in seconds since 1970.
    pub fn set_certificate_expiry(&self, seconds: i64) {
        self.0.certificate_expiry.get_or_create(&[("files", "tls")]).set(seconds);
    }
}

/// Reads the state of the connection pools at each scrape.
struct Pools(Box<dyn Fn() -> Vec<PoolSample> + Send + Sync>);

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let samples = (self.0)();
        let mut connections = encoder.encode_descriptor(
            "billing_pool_connections",
            "Connections to the database",
            None,
            MetricType::Gauge,
        )?;
        for PoolSample { pool, busy, late, idle, .. } in &samples {
            for (state, count) in [("busy", busy), ("late", late), ("idle", idle)] {
                let labels = [("pool", *pool), ("state", state)];
                ConstGauge::new(i64::from(*count)).encode(connections.encode_family(&labels)?)?;
            }
        }
        let (waits, timeouts) = ("billing_pool_waits", "billing_pool_timeouts");
        let help = "How often somebody had to wait for a connection";
        encode_counter(&mut encoder, waits, help, None, &samples, |sample| sample.waits)?;
        let help = "How often somebody waited for a connection in vain";
        encode_counter(&mut encoder, timeouts, help, None, &samples, |sample| sample.timeouts)?;
        let (waited, help) = ("billing_pool_wait", "How long everybody together waited for connections");
        let seconds = |sample: &PoolSample| sample.waited.as_secs_f64();
        encode_counter(&mut encoder, waited, help, Some(&Unit::Seconds), &samples, seconds)
    }
}

/// Encodes a counter of each pool.
fn encode_counter<N: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: &[PoolSample],
    count: impl Fn(&PoolSample) -> N,
) -> fmt::Result {
    let mut counter = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for sample in samples {
        ConstCounter::new(count(sample)).encode(counter.encode_family(&[("pool", sample.pool)])?)?;
    }
    Ok(())
}

/// Registers a new metric.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    add_made(registry, name, help, M::default())
}

fn add_made<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a new metric whose name ends with its unit.
fn add_in_seconds<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}
