//! The built program as an operator would use it: `grpcurl`, `buf curl`, and the commands of the README and its like as they
//! stand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    console::{commands, without_times},
    process::Process,
    waiting::run,
};

/// The address that the commands of the pages call.
const PAGE_ADDRESS: &str = "localhost:50051";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tool(name: &str) -> PathBuf {
    let path = root().join(".tools/bin").join(name);
    assert!(path.exists(), "{name} is missing: run `make tools`");
    path
}

/// The service on a private database that ends with the test.
struct Service {
    process: Option<Process>,
    data_dir: PathBuf,
}

impl Service {
    fn start(name: &str) -> Self {
        let data_dir = std::env::temp_dir().join(format!("billing-{name}-{}", std::process::id()));
        let process = Process::serve(&["--data-dir", data_dir.to_str().unwrap()]);
        Self { process: Some(process), data_dir }
    }

    fn restart(&mut self) {
        assert!(self.process.take().unwrap().terminate().success());
        self.process = Some(Process::serve(&["--data-dir", self.data_dir.to_str().unwrap()]));
    }

    fn address(&self) -> &str {
        &self.process.as_ref().unwrap().address
    }

    /// What a command prints, with a page's address replaced by the real one.
    fn run(&self, command: &str) -> String {
        let command = command.replace(PAGE_ADDRESS, self.address());
        assert!(!command.contains(":50051") && !command.contains(":9464"), "not at this service: {command}");
        let mut bash = Command::new("bash");
        let output = run(bash.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(root()));
        String::from_utf8(output.stdout).unwrap()
    }

    fn grpcurl(&self, arguments: &str) -> String {
        self.run(&format!("{} -plaintext {arguments}", tool("grpcurl").display()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate();
        }
        let _ = fs::remove_dir_all(&self.data_dir); // the next run has another name
    }
}

#[test]
fn grpcurl_needs_no_files_to_list_describe_call_and_check() {
    let service = Service::start("grpcurl");
    let listed = service.grpcurl(&format!("{PAGE_ADDRESS} list"));
    for name in ["billing.v1.BillingService", "grpc.health.v1.Health"] {
        assert!(listed.contains(name), "{listed}");
    }
    let methods = service.grpcurl(&format!("{PAGE_ADDRESS} list billing.v1.BillingService"));
    assert_eq!(methods.lines().count(), 23, "{methods}");
    let described = service.grpcurl(&format!("{PAGE_ADDRESS} describe billing.v1.Entry"));
    assert!(described.contains("int64 refunded_sequence"), "{described}");
    for name in ["", "liveness", "readiness", "billing.v1.BillingService"] {
        let request = format!("-d '{{\"service\": \"{name}\"}}' {PAGE_ADDRESS} grpc.health.v1.Health/Check");
        let mut answer = service.grpcurl(&request);
        for _ in 0..50 {
            if !answer.contains("NOT_SERVING") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50)); // until the first commit is proved
            answer = service.grpcurl(&request);
        }
        assert!(answer.contains("\"status\": \"SERVING\""), "{name:?}: {answer}");
    }
}

#[test]
fn grpcurl_is_told_that_metadata_is_too_large() {
    let service = Service::start("metadata");
    for (kib, said) in
        [(20, "metadata is larger than 16384 bytes"), (80, "violates the maximum size (65536 bytes)")]
    {
        let note = format!("-H \"x-note: $(printf %0{}d 0)\"", kib * 1_024);
        let printed = service.grpcurl(&format!("{note} {PAGE_ADDRESS} billing.v1.BillingService/GetAccount"));
        assert!(printed.contains(said), "{kib} KiB: {printed}");
    }
}

#[test]
fn buf_curl_calls_it_by_reflection_v1() {
    let service = Service::start("buf");
    let credit = format!(
        "{} curl --http2-prior-knowledge --protocol grpc -d '{{\"idempotency_key\": \"order-1\", \"account_id\": \
         \"ann\", \"amount_micro_usd\": \"5\", \"entry_type\": \"ENTRY_TYPE_DEPOSIT\"}}' \
         http://{PAGE_ADDRESS}/billing.v1.BillingService/Credit",
        tool("buf").display()
    );
    for expected in ["\"postedMicroUsd\": \"5\"", "\"replayed\": true"] {
        let printed = service.run(&credit);
        assert!(printed.contains(expected), "{printed}");
    }
}

/// Every `console` block of a page is run from the top, and must print what stands there. `make run` is the test's own service,
/// and a comment that says so restarts it.
fn shows_what_really_happens(name: &str, page: &str, commands_min: usize) {
    let mut service = Service::start(name);
    tool("grpcurl");
    let page = fs::read_to_string(root().join(page)).unwrap();
    let commands = commands(&page);
    assert!(commands.len() >= commands_min, "only {} commands", commands.len());
    for (command, expected) in commands {
        if command.starts_with("make run") {
            service.restart();
            continue;
        }
        let printed = service.run(&command);
        assert_eq!(without_times(&printed), without_times(&expected), "$ {command}\n{printed}");
    }
}

#[test]
fn the_readme_shows_what_really_happens() {
    shows_what_really_happens("readme", "README.md", 4);
}

#[test]
fn the_tutorial_shows_what_really_happens() {
    shows_what_really_happens("tutorial", "docs/TUTORIAL.md", 15);
}

#[test]
fn the_page_for_clients_shows_what_really_happens() {
    shows_what_really_happens("clients", "docs/CLIENTS.md", 6);
}
