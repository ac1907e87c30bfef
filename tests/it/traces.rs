//! Traces: what a collector is sent of a call, and how its spans hang together.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tracing::{
    Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

use crate::support::{
    dir::Dir,
    process::{Process, new_token},
    server::{TestServer, config},
    *,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const CREDIT: &str = "billing.v1.BillingService/Credit";

/// A collector, and all that it was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// A collector, and its URL.
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    /// The only span with a name.
    fn one(&self, name: &str) -> Span {
        let [span] = self.named(name).try_into().unwrap_or_else(|spans| panic!("{name}: {spans:#?}"));
        span
    }
}

/// The names of all spans that were made, whether or not they would be sent.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Vec<&'static str>>>);

impl Made {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Made {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(span.metadata().name());
    }
}

/// A service, and the collector of its spans.
async fn serve(book: &TestBook, flags: &[&str]) -> (Process, Collector) {
    let (collector, url) = Collector::start().await;
    let given = ["--database-url", &book.url, "--otlp-endpoint", &url];
    (Process::serve(&[&given, flags].concat()), collector)
}

/// Ends the service, which sends what is left.
async fn end(service: Process) {
    assert!(tokio::task::spawn_blocking(|| service.terminate()).await.unwrap().success());
}

fn traced<T>(sampled: &str, message: T) -> Request<T> {
    with_header("traceparent", &format!("00-{TRACE}-{PARENT}-{sampled}"), message)
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} of {span:?} is {other:?}"),
    }
}

fn links(span: &Span) -> Vec<String> {
    span.links.iter().map(|link| hex(&link.span_id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_with_the_trace_of_its_caller_down_to_the_transaction() {
    on_a_book(async |book| {
        let (service, collector) = serve(book, &[]).await;
        let mut client = service.client().await;
        client.credit(traced("01", deposit("secret-account", "secret-key", 765_432))).await.answered();
        end(service).await;

        let (call, queue, batch) = (collector.one(CREDIT), collector.one("queue"), collector.one("batch"));
        assert_eq!((hex(&call.trace_id).as_str(), hex(&call.parent_span_id).as_str()), (TRACE, PARENT));
        assert_eq!(call.kind(), SpanKind::Server);
        assert_eq!(attribute(&call, "rpc.system.name"), "grpc");
        assert_eq!(attribute(&call, "rpc.method"), CREDIT);
        assert_eq!(attribute(&call, "rpc.response.status_code"), "OK");
        assert_eq!(attribute(&call, "billing.request_id").len(), 16);
        assert_eq!(attribute(&batch, "billing.batch.operations"), "1");
        for part in [&queue, &batch] {
            assert_eq!(part.parent_span_id, call.span_id, "{part:?}");
        }
        assert_eq!(links(&queue), [hex(&batch.span_id)]);
        assert_eq!(links(&batch), [hex(&call.span_id)]);
        let transactions = collector.named("transaction");
        assert_eq!(transactions.len(), 2, "the first finds that the account has no row");
        for transaction in transactions {
            assert_eq!(transaction.parent_span_id, batch.span_id);
            assert_eq!(attribute(&transaction, "db.system.name"), "postgresql");
        }
        assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE));
        let sent = format!("{:?}", collector.spans());
        for private in ["secret-account", "secret-key", "765432"] {
            assert!(!sent.contains(private), "{private}: {sent}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_the_calls_in_it_are_linked_both_ways() {
    const CALLS: usize = 64;
    on_a_book(async |book| {
        let (service, collector) = serve(book, &["--writers", "1"]).await;
        let client = service.client().await;
        let mut calls = JoinSet::new();
        for number in 0..CALLS {
            let mut client = client.clone();
            let deposit = deposit("ann", &format!("order-{number}"), 1);
            calls.spawn(async move { client.credit(deposit).await.answered() });
        }
        calls.join_all().await;
        end(service).await;

        let (calls, batches) = (collector.named(CREDIT), collector.named("batch"));
        assert_eq!(calls.len(), CALLS);
        assert!(batches.iter().any(|batch| batch.links.len() > 1), "{batches:?}");
        assert_eq!(batches.iter().map(|batch| batch.links.len()).sum::<usize>(), CALLS);
        for call in &calls {
            let id = hex(&call.span_id);
            let queue =
                collector.named("queue").into_iter().find(|queue| queue.parent_span_id == call.span_id);
            let [to] = links(&queue.unwrap()).try_into().unwrap();
            let batch = batches.iter().find(|batch| hex(&batch.span_id) == to).unwrap();
            assert!(links(batch).contains(&id), "{batch:?} has no link to {id}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_has_its_code_and_a_read_its_span() {
    on_a_book(async |book| {
        let (service, collector) = serve(book, &[]).await;
        let mut client = service.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        assert_eq!(available(&mut client, "ann").await, 5);
        assert!(client.charge(charge("ann", "job-1", 6)).await.is_err());
        let broken = "ALTER TABLE ledger_entries ADD CONSTRAINT no_more CHECK (false) NOT VALID";
        book.run_sql(broken).await.unwrap();
        assert!(client.admin_credit(grant("ann", "grant-1", 1)).await.is_err());
        book.run_sql("ALTER TABLE ledger_entries DROP CONSTRAINT no_more").await.unwrap();
        let log = service.log();
        end(service).await;

        let get = collector.one("billing.v1.BillingService/GetAccount");
        assert_eq!(collector.one("read").parent_span_id, get.span_id);
        let status = |span: &Span| span.status.clone().unwrap_or_default().code();
        let refused = collector.one("billing.v1.BillingService/Charge");
        assert_eq!(attribute(&refused, "rpc.response.status_code"), "FAILED_PRECONDITION");
        assert_eq!(status(&refused), StatusCode::Unset, "an answer, and no fault of the service");
        let failed = collector.one("billing.v1.BillingService/AdminCredit");
        assert_eq!(attribute(&failed, "rpc.response.status_code"), "INTERNAL");
        assert_eq!(status(&failed), StatusCode::Error);
        let log = log.failures().join("\n");
        assert!(log.contains(&hex(&failed.trace_id)), "the log leads to the trace: {log}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_up_to_the_caller_and_else_to_the_ratio() {
    on_a_book(async |book| {
        let (service, collector) = serve(book, &["--otlp-sample-ratio", "0"]).await;
        let mut client = service.client().await;
        client.credit(deposit("ann", "order-1", 1)).await.answered();
        client.credit(traced("00", deposit("ann", "order-2", 1))).await.answered();
        client.credit(traced("01", deposit("ann", "order-3", 1))).await.answered();
        end(service).await;
        assert_eq!(hex(&collector.one(CREDIT).parent_span_id), PARENT);
        let mut names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
        names.sort();
        assert_eq!(names, ["batch", CREDIT, "queue", "transaction"]);
    })
    .await;
}

#[tokio::test] // on one thread, which the subscriber belongs to
async fn only_a_call_that_is_recorded_makes_any_span() {
    on_a_book(async |book| {
        let made = Made::default();
        let traces =
            tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::default().tracer("a test"));
        let ours = Targets::new().with_target("otlp", LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(traces).with(made.clone()).with(ours);
        let _until_dropped = tracing::subscriber::set_default(subscriber);
        let mut config = config();
        config.server.sample_ratio = Some("0".parse().unwrap());
        let server = TestServer::start(&book.url, config).await;
        let mut client = server.client().await;

        client.credit(deposit("ann", "order-1", 1)).await.answered();
        client.credit(traced("00", deposit("ann", "order-2", 1))).await.answered();
        assert_eq!(available(&mut client, "ann").await, 2);
        assert!(made.take().is_empty());

        client.credit(traced("01", deposit("ann", "order-3", 1))).await.answered();
        assert_eq!(made.take(), ["call", "queue", "batch", "transaction"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_is_not_known_has_no_say_in_what_is_recorded() {
    on_a_book(async |book| {
        let (token, line) = new_token("web", "coordinator");
        let dir = Dir::new();
        let credentials = dir.write("credentials", &line);
        let flags = ["--otlp-sample-ratio", "0", "--credentials", &credentials];
        let (service, collector) = serve(book, &flags).await;
        let mut client = service.client().await;
        for (token, is_known) in [(None, false), (Some("guessed"), false), (Some(&*token), true)] {
            let mut request = traced("01", deposit("ann", "order-1", 1));
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            }
            assert_eq!(client.credit(request).await.is_ok(), is_known);
        }
        end(service).await;
        assert_eq!(hex(&collector.one(CREDIT).parent_span_id), PARENT, "only of the caller who is known");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_sent_and_without_a_collector_nothing_waits() {
    on_a_book(async |book| {
        let (collector, url) = Collector::start().await;
        let mut command = Process::command();
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "").env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &url);
        command.args(["--database-url", &book.url]);
        let service = Process::start(command).unwrap();
        service.client().await.credit(traced("01", deposit("ann", "order-1", 5))).await.answered();
        end(service).await;
        assert!(collector.spans().is_empty(), "{:?}", collector.spans());

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap(); // takes connections, and says nothing
        let url = format!("http://{}", silent.local_addr().unwrap());
        let service = Process::serve(&["--database-url", &book.url, "--otlp-endpoint", &url]);
        service.client().await.credit(traced("01", deposit("ann", "order-1", 5))).await.answered();
        let begin = std::time::Instant::now();
        end(service).await;
        assert!(begin.elapsed().as_secs() < 8, "it ended only after {:?}", begin.elapsed());
    })
    .await;
}
