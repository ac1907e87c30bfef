//! The Go client of `examples/go`: built, its own tests, then a service that is killed and started again under it. Skipped where
//! there is no Go with Debian's packages of gRPC.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{
    on_a_book,
    process::Process,
    shell,
    waiting::{PATIENCE, finish_within, printed, run_within},
};

/// How long it may take to compile all of gRPC, which is done once.
const BUILD_PATIENCE: Duration = Duration::from_secs(150);
const JOBS: &str = "1500";

/// What `examples/go/build` runs, and cannot do without.
fn missing() -> Option<&'static str> {
    let packages = env::var("GO_PACKAGES").unwrap_or_else(|_| "/usr/share/gocode".into());
    if !Path::new(&packages).join("src/google.golang.org/grpc").exists() {
        return Some("golang-google-grpc-dev");
    }
    shell::missing(&["go", "gofmt", "protoc-gen-go", "protoc-gen-go-grpc"])
}

#[tokio::test(flavor = "multi_thread")]
async fn it_loses_and_doubles_nothing_while_the_service_is_killed() {
    if let Some(missing) = missing() {
        return println!("skipped: {missing} is missing; examples/go/build says what to install");
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-client");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/go/build");
    printed(run_within(BUILD_PATIENCE, Command::new(program).arg(&out)));
    on_a_book(async |book| {
        let mut service = Process::serve(&["--database-url", &book.url]);
        let address = service.address.clone();
        let client = Command::new(out.join("example"))
            .args(["-address", &address, "-jobs", JOBS])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            service.kill();
            thread::sleep(Duration::from_secs(1)); // longer than the service config tries
            service = Process::serve(&["--database-url", &book.url, "--listen", &address]);
        }
        let done = tokio::task::spawn_blocking(|| printed(finish_within(PATIENCE, client))).await.unwrap();
        let jobs: i64 = JOBS.parse().unwrap();
        assert_eq!(done.lines().count().to_string(), JOBS);
        for (account, entries, posted) in [("go-example", 2, 40), ("go-provider", 1, 48)] {
            let of_account = format!("FROM accounts WHERE account_id = '{account}'");
            let written = book.number(&format!("SELECT last_sequence {of_account}")).await;
            assert_eq!(written, entries * jobs, "each is there once: {account}");
            assert_eq!(book.number(&format!("SELECT posted_micro_usd {of_account}")).await, posted * jobs);
        }
        let fees = "SELECT sum(posted_micro_usd) FROM accounts WHERE account_id LIKE 'platform-%'";
        assert_eq!(book.number(fees).await, 12 * jobs);
    })
    .await;
    let _ = fs::remove_dir_all(out.join("src")); // its stubs; what was compiled is kept for the next run
}
