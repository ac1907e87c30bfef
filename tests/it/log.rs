//! The log: what a program that collects it can read, one line for each call that fails, and ids that find a call again.

use serde_json::Value;
use tonic::{Request, metadata::MetadataMap};

use crate::support::{
    console::section,
    dir::Dir,
    process::{Process, new_token},
    waiting::until,
    *,
};

/// The program, which logs each line as an object.
struct Logged(Process);

impl Logged {
    fn start(flags: &[&str]) -> Self {
        let mut command = Process::command();
        command.env_remove("BILLING_LOG_FORMAT").args(flags);
        Self(Process::start(command).unwrap())
    }

    /// The lines with a message, of which there is one at least before long.
    async fn lines(&self, message: &str) -> Vec<Value> {
        let log = self.0.log();
        until(message, async || {
            let lines =
                log.all().into_iter().map(|line| serde_json::from_str(&line).unwrap_or(Value::String(line)));
            let found: Vec<_> = lines.filter(|line| line["message"] == message).collect();
            (!found.is_empty()).then_some(found)
        })
        .await
    }
}

fn with_id<T>(id: &str, message: T) -> Request<T> {
    with_header("x-request-id", id, message)
}

fn id(metadata: &MetadataMap) -> &str {
    metadata.get("x-request-id").expect("every answer has an id").to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_id_of_its_call_or_one_that_was_made_for_it() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let answer = client.credit(with_id("order-1/try-1", deposit("ann", "order-1", 5))).await.unwrap();
        assert_eq!(id(answer.metadata()), "order-1/try-1");
        let refused = client.charge(with_id("job-1", charge("ann", "job-1", 6))).await.unwrap_err();
        assert_eq!(id(refused.metadata()), "job-1");
        assert_eq!(reason(Err::<(), _>(refused)).1, "INSUFFICIENT_FUNDS", "with its details beside the id");

        let made = client.credit(deposit("ann", "order-1", 5)).await.unwrap();
        assert_eq!(id(made.metadata()).len(), 16);
        let long = "x".repeat(65);
        for bad in ["two words", &long] {
            let answer = client.credit(with_id(bad, deposit("ann", "order-1", 5))).await.unwrap();
            assert_eq!(id(answer.metadata()).len(), 16, "instead of {bad}");
        }
        let probe = with_id("probe", health::request("nobody's"));
        let unknown = health::health(&server.url).await.check(probe).await.unwrap_err();
        assert_eq!(id(unknown.metadata()), "probe");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_a_terminal_the_log_is_json_and_a_failed_call_is_one_line_of_it() {
    on_a_book(async |book| {
        let service = Logged::start(&["--database-url", &book.url, "--log-level", "debug"]);
        let mut client = service.0.client().await;
        client.credit(deposit("ann", "order-1", 765_432)).await.answered();
        client.charge(with_id("r-1", charge("ann", "job-1", 987_654))).await.unwrap_err();
        let line = &service.lines("a call failed").await[0];
        for (field, value) in [
            ("level", "DEBUG"),
            ("target", "billing::grpc::log"),
            ("method", "billing.v1.BillingService/Charge"),
            ("code", "FAILED_PRECONDITION"),
            ("reason", "INSUFFICIENT_FUNDS"),
            ("request_id", "r-1"),
        ] {
            assert_eq!(line[field], value, "{field} of {line}");
        }
        assert!(line["timestamp"].is_string() && line["caller"].is_null(), "{line}");
        let lines = service.0.log().all();
        let said = lines.join("\n");
        for private in ["765432", "987654", "job-1", "order-1", "ann"] {
            assert!(!said.contains(private), "{private} is in the log: {said}");
        }
        assert!(lines.iter().all(|line| line.starts_with('{')), "{said}");
    })
    .await;
}

/// The line that the runbook shows of a call that failed.
fn line_of_runbook() -> Value {
    let section = section(include_str!("../../docs/OPERATIONS.md"), "### One call");
    section.lines().find_map(|line| serde_json::from_str(line).ok()).expect("it shows one")
}

fn fields(line: &Value) -> Vec<&String> {
    line.as_object().unwrap().keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_inside_is_an_error_with_its_cause_which_its_caller_is_not_told() {
    on_a_book(async |book| {
        let service = Logged::start(&["--database-url", &book.url]);
        let mut client = service.0.client().await;
        book.run_sql("ALTER TABLE accounts ADD CONSTRAINT no_more CHECK (false) NOT VALID").await.unwrap();
        let failed = client.credit(with_id("r-2", deposit("ann", "order-1", 5))).await.unwrap_err();
        book.run_sql("ALTER TABLE accounts DROP CONSTRAINT no_more").await.unwrap();
        assert!(!failed.message().contains("no_more"), "{failed}");
        let lines = service.lines("a call failed as none ever should").await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["level"], &lines[0]["request_id"]), (&"ERROR".into(), &"r-2".into()));
        assert!(lines[0]["error"].as_str().unwrap().contains("no_more"), "{lines:?}");
        assert_eq!(fields(&lines[0]), fields(&line_of_runbook()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_permitted_is_a_warning_with_the_name_of_its_caller() {
    on_a_book(async |book| {
        let (token, line) = new_token("web", "reader");
        let dir = Dir::new();
        let credentials = dir.write("credentials", &line);
        let service = Logged::start(&["--database-url", &book.url, "--credentials", &credentials]);
        let mut client = service.0.client().await;
        let mut request = with_token(&token, deposit("ann", "order-1", 5));
        request.metadata_mut().insert("x-request-id", "r-3".parse().unwrap());
        client.credit(request).await.unwrap_err();
        let lines = service.lines("a call failed").await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        for (field, value) in [
            ("level", "WARN"),
            ("reason", "PERMISSION_DENIED"),
            ("caller", "web"),
            ("request_id", "r-3"),
            ("error", "Credit needs the role coordinator, and web has reader"),
        ] {
            assert_eq!(lines[0][field], value, "{field} of {lines:?}");
        }
    })
    .await;
}
