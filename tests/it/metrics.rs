//! Metrics: what is counted, whether a real Prometheus can read it, and whether the dashboard and the alerts ask for what is
//! there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use billing::grpc::proto::{ChargeRequest, EntryType, ExpiryPolicy, Leg, ReserveRequest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    console::section,
    process::{Lines, Process},
    waiting::{PATIENCE, output, run},
    *,
};

const RUNBOOK: &str = include_str!("../../docs/OPERATIONS.md");
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// A service, and where its metrics are.
fn serve(book: &TestBook) -> (Process, String) {
    let flags = ["--database-url", &book.url, "--metrics-listen", "127.0.0.1:0", "--sweep-interval", "100ms"];
    let service = Process::serve(&flags);
    let address = service.metrics_address().to_owned();
    (service, address)
}

/// The body of an answer to a plain GET.
pub async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The value of one series of a scrape.
pub fn figure(scraped: &str, series: &str) -> i64 {
    let value = scraped.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in\n{scraped}")).parse().unwrap()
}

/// A bit of everything that is counted.
async fn call_everything(service: &Process) {
    let mut client = service.client().await;
    for _ in 0..3 {
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
    }
    client.credit(expiring("fay", "promo-1", 7, from_now(Duration::from_millis(100)))).await.answered();
    client.charge(charge("ann", "job-1", 300)).await.answered();
    let leg = Leg {
        account_id: "eve".into(),
        amount_micro_usd: 40,
        entry_type: EntryType::Fee.into(),
        ..Leg::default()
    };
    let passing_on = ChargeRequest { legs: vec![leg], ..charge("ann", "job-3", 50) };
    client.charge(passing_on).await.answered();
    assert!(client.charge(charge("ann", "job-2", 1_000)).await.is_err());
    assert!(client.charge(charge("ann", "job-1", 301)).await.is_err());
    assert!(client.refund(refund("ann", "refund-1", 1, "missing")).await.is_err());
    assert!(client.credit(deposit("", "order-2", 1)).await.is_err());
    let task = reserve_for(Duration::from_millis(1), "ann", "task-1", 100);
    client.reserve(ReserveRequest { expiry_policy: ExpiryPolicy::Capture.into(), ..task }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_and_operation_is_counted_under_its_name() {
    on_a_book(async |book| {
        let (service, address) = serve(book);
        call_everything(&service).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await; // a sweep, and the proof that it is ready
        let metrics = get(&address, "/metrics").await;
        let ledger = r#"grpc_service="billing.v1.BillingService""#;
        for expected in [
            format!(r#"grpc_server_started_total{{{ledger},grpc_method="Credit"}} 5"#),
            format!(r#"grpc_server_handled_total{{{ledger},grpc_method="Credit",grpc_code="OK"}} 4"#),
            format!(r#"grpc_server_handled_total{{{ledger},grpc_method="Credit",grpc_code="InvalidArgument"}} 1"#),
            format!(r#"grpc_server_handled_total{{{ledger},grpc_method="Charge",grpc_code="FailedPrecondition"}} 1"#),
            format!(r#"grpc_server_handled_total{{{ledger},grpc_method="AdminCredit",grpc_code="Internal"}} 0"#),
            format!(r#"grpc_server_handling_seconds_count{{{ledger},grpc_method="Charge"}} 4"#),
            r#"billing_operations_total{operation="Credit",result="applied",reason=""} 2"#.to_owned(),
            r#"billing_operations_total{operation="Credit",result="replayed",reason=""} 2"#.to_owned(),
            r#"billing_operations_total{operation="Charge",result="refused",reason="INSUFFICIENT_FUNDS"} 1"#.to_owned(),
            r#"billing_operations_total{operation="Charge",result="key_reused",reason=""} 1"#.to_owned(),
            r#"billing_operations_total{operation="Refund",result="not_found",reason=""} 1"#.to_owned(),
            r#"billing_operations_total{operation="Release",result="key_reused",reason=""} 0"#.to_owned(),
            r#"billing_moved_micro_usd_total{entry_type="DEPOSIT"} 1000"#.to_owned(),
            r#"billing_moved_micro_usd_total{entry_type="CHARGE"} 350"#.to_owned(),
            r#"billing_moved_micro_usd_total{entry_type="GRANT_EXPIRE"} 7"#.to_owned(),
            r#"billing_grants_micro_usd_total{change="granted"} 7"#.to_owned(),
            r#"billing_grants_micro_usd_total{change="lapsed"} 7"#.to_owned(),
            r#"billing_moved_micro_usd_total{entry_type="FEE"} 40"#.to_owned(),
            r#"billing_moved_micro_usd_total{entry_type="CAPTURE"} 100"#.to_owned(), // by nobody's call
            "billing_queue_length 0".to_owned(),
            "billing_ready 1".to_owned(),
            "billing_leases_swept_total 2".to_owned(),
            r#"billing_sweeps_total{result="failed"} 0"#.to_owned(),
            r#"billing_pool_timeouts_total{pool="read"} 0"#.to_owned(),
            r#"billing_pool_connections{pool="write",state="late"} 0"#.to_owned(),
        ] {
            assert!(metrics.lines().any(|line| line == expected), "no {expected} in\n{metrics}");
        }
        for count in ["billing_queue_wait_seconds_count 10", "billing_batch_operations_sum 10.0"] {
            assert!(metrics.contains(count), "no {count} in\n{metrics}");
        }
        assert!(!metrics.contains("ann") && !metrics.contains("order-1"), "no name of an account or key");
        assert!(service.terminate().success());
    })
    .await;
}

/// A Prometheus that scrapes one service every second, with our alerts.
struct Prometheus {
    server: Child,
    dir: PathBuf,
    address: String,
}

impl Prometheus {
    fn start(scraped: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("billing-prometheus-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{DEPLOY}/prometheus/billing.rules.yaml]\n\
             scrape_configs: [{{job_name: billing, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
        );
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let mut server = Command::new("prometheus")
            .arg(format!("--config.file={}/prometheus.yml", dir.display()))
            .arg(format!("--storage.tsdb.path={}/data", dir.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus, which `make tools` installs");
        let log = Lines::of("prometheus", server.stderr.take().unwrap());
        let address =
            |line: &str| Some(line.split_once("\"Listening on\" address=")?.1.split(' ').next()?.to_owned());
        let (address, _) = log.wait_for(address).expect("it listens");
        Self { server, dir, address }
    }

    /// The result of a query: its samples.
    async fn query(&self, query: &str) -> Vec<Value> {
        let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = get(&self.address, &format!("/api/v1/query?query={encoded}")).await;
        let answer: Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Waits until it has seen the service for a while.
    async fn has_scraped(&self) {
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if TcpStream::connect(&self.address).await.is_ok()
                && !self.query("count_over_time(billing_ready[1m]) > 5").await.is_empty()
            {
                return;
            }
        }
        panic!("it does not scrape");
    }
}

/// What is between the first brace and the last: a body may come in chunks.
fn body(answer: &str) -> &str {
    &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()]
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Every query of the dashboard, by the title of its panel.
fn dashboard_queries() -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(DEPLOY).join("grafana/billing.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

/// Runs what the runbook has for those without Grafana: each query of the dashboard below its title, and a value for it.
async fn assert_runbook_shows_the_dashboard(prometheus: &Prometheus, queries: &[(String, String)]) {
    let section = section(RUNBOOK, "### Metrics, alerts and the dashboard");
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script.replace("prometheus:9090", &prometheus.address);
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = output(bash).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let shown: Vec<&str> = said.split("# ").skip(1).collect();
    assert_eq!(shown.len(), queries.len(), "{said}");
    for (shown, (title, query)) in shown.into_iter().zip(queries) {
        let values = shown.strip_prefix(&format!("{title}\n")).unwrap_or_else(|| panic!("{title}: {shown}"));
        assert!(values.contains(" => "), "{title}: {query}: {values}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_answers_every_query_of_the_dashboard_and_no_alert_is_unknown_to_it() {
    on_a_book(async |book| {
        let (service, address) = serve(book);
        let prometheus = Prometheus::start(&address);
        prometheus.has_scraped().await;
        call_everything(&service).await;
        tokio::time::sleep(Duration::from_secs(3)).await; // two more scrapes
        let applied =
            prometheus.query(r#"billing_operations_total{operation="Credit",result="applied"}"#).await;
        assert_eq!(applied[0]["value"][1], "2", "{applied:?}");
        let queries = dashboard_queries();
        assert!(queries.len() > 15);
        for (title, query) in &queries {
            assert!(!prometheus.query(query).await.is_empty(), "{title}: {query} has no data");
        }
        assert_runbook_shows_the_dashboard(&prometheus, &queries).await;
        let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).await;
        let names: Vec<&str> =
            firing.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap()).collect();
        assert_eq!(names, ["BillingKeyReused"], "there was a misuse of a key, and nothing else is wrong");
    })
    .await;
}

#[test]
fn each_alert_fires_when_it_should_and_has_its_section_in_the_runbook() {
    let rules = Path::new(DEPLOY).join("prometheus/billing.rules.yaml");
    let tests = Path::new(DEPLOY).join("prometheus/billing.rules.test.yaml");
    for arguments in [["check", "rules", rules.to_str().unwrap()], ["test", "rules", tests.to_str().unwrap()]]
    {
        let output = run(Command::new("promtool").args(arguments));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
    }
    let names = |text: &str, before: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(before)).map(str::to_owned).collect()
    };
    let alerts = names(&fs::read_to_string(rules).unwrap(), "- alert: ");
    assert!(alerts.len() > 10);
    let tested = fs::read_to_string(tests).unwrap();
    for alert in &alerts {
        let has_section = RUNBOOK.lines().any(|line| line.trim_start_matches('#').trim() == alert);
        assert!(has_section, "{alert} has no section");
        let is_tested = tested.contains(&format!("alertname: {alert}\n        exp_alerts:\n"));
        assert!(is_tested, "{alert} is not tested to fire");
    }
}
