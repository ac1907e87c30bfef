//! The program among others: its environment, its terminal, and the signals that end it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{process::Process, waiting, *};

/// A database that is not there: what needs one ends with status 1, and what is wrong before that with 64.
const NO_DATABASE: [&str; 2] = ["--database-url", "postgres://nobody@127.0.0.1:1/none"];

fn run(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let mut program = Process::command();
    let output = waiting::run(program.envs(variables.iter().copied()).env("COLUMNS", "1000").args(arguments));
    (output.status.code().unwrap(), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn a_log_level_is_one_by_its_name() {
    for level in ["off", "error", "warn", "info", "debug", "trace", "INFO", "Warn"] {
        let (status, said) = run(&[("BILLING_LOG_LEVEL", level)], &["token", "new", "web", "reader"]);
        assert_eq!(status, 0, "{level}: {said}");
    }
    for wrong in ["0", "1", "3", "5", "6", "-1", " ", "warning", "info,debug", "billing=info", "true"] {
        for (status, said) in [
            run(&[("BILLING_LOG_LEVEL", wrong)], &["token", "new", "web", "reader"]),
            run(&[], &["token", "new", "web", "reader", &format!("--log-level={wrong}")]),
        ] {
            assert_eq!(status, 64, "{wrong}: {said}");
            assert!(
                said.contains("--log-level") && said.contains("off, error, warn, info, debug, trace"),
                "{said}"
            );
        }
    }
}

/// The commit that this program is built from, as far as anybody can tell.
fn commit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = option_env!("BILLING_COMMIT").filter(|commit| !commit.is_empty()).map(str::to_owned);
    let checked_out = || {
        let git = waiting::run(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root));
        String::from_utf8(git.stdout).unwrap()
    };
    let commit = named.or_else(|| root.join(".git").exists().then(checked_out));
    commit.unwrap_or("unknown".into()).chars().take(7).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_names_the_commit_and_the_schema_that_it_migrates_to() {
    on_a_book(async |book| {
        let schema = book.number("SELECT max(version)::bigint FROM __diesel_schema_migrations").await;
        let expected =
            format!("billing {} (commit {}, schema {schema})\n", env!("CARGO_PKG_VERSION"), commit());
        assert_eq!(run(&[], &["--version"]), (0, expected));
    })
    .await;
}

/// Every variable that help names, and those that are read without being a flag's.
fn variables() -> Vec<String> {
    let mut variables: Vec<String> =
        ["KUBERNETES_SERVICE_HOST", "PG_BIN_DIR", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
            .map(str::to_owned)
            .into();
    for suffix in ["HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL", "CERTIFICATE"] {
        variables.push(format!("OTEL_EXPORTER_OTLP_{suffix}"));
        variables.push(format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"));
    }
    for command in ["serve", "migrate", "audit", "export", "preflight", "import", "console"] {
        let (_, help) = run(&[], &[command, "--help"]);
        variables.extend(help.split("[env: ").skip(1).map(|rest| rest.split('=').next().unwrap().to_owned()));
    }
    variables.sort();
    variables.dedup();
    assert!(variables.len() > 30, "{variables:?}");
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_empty_is_one_that_is_not_set() {
    on_a_book(async |book| {
        let variables = variables();
        let empty = || variables.iter().map(|name| (name, ""));
        let mut command = Process::command();
        command.envs(empty()).env("BILLING_LOG_FORMAT", "").args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--metrics-listen", "off", "--database-url", &book.url, "--allow-unsafe-database"]);
        command.args(["--otlp-endpoint", "http://127.0.0.1:1"]);
        let service = Process::start(command).unwrap_or_else(|log| panic!("it does not start: {log:#?}"));
        assert!(service.terminate().success());
        // Each by itself says what it says where it is not set at all.
        for arguments in
            [&["migrate"][..], &["audit"], &["import"], &["preflight"], &["serve", "--writers", "0"]]
        {
            let unset = run(&[], arguments);
            for variable in &variables {
                if variable != "BILLING_LOG_FORMAT" {
                    assert_eq!(run(&[(variable, "")], arguments), unset, "{variable} {arguments:?}");
                }
            }
        }
    })
    .await;
}

/// What the program says on a terminal.
fn on_a_terminal(variables: &[(&str, &str)], columns: u16, arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_billing");
    let script = format!("stty rows 40 cols {columns}; ulimit -n 256; exec {program} {arguments}");
    let mut command = Command::new("script");
    Process::configure(&mut command);
    command.args(["-qec", &script, "/dev/null"]);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "COLUMNS"] {
        command.env_remove(name);
    }
    said(&waiting::run(command.env("TERM", "xterm").envs(variables.iter().copied())))
}

#[test]
fn colours_are_for_terminals_that_can_show_them_and_people_who_want_them() {
    let log = format!("serve --connections-max 9999 {}", NO_DATABASE.join(" "));
    for (arguments, expected) in
        [(log.as_str(), "the limit of open files leaves"), ("serve --nope", "unexpected argument")]
    {
        for (variables, coloured) in [
            (&[][..], true),
            (&[("NO_COLOR", "")], true),
            (&[("NO_COLOR", "1")], false),
            (&[("TERM", "dumb")], false),
        ] {
            let said = on_a_terminal(variables, 100, arguments);
            assert!(said.contains(expected), "{said}");
            assert_eq!(said.contains('\u{1b}'), coloured, "{variables:?} {said:?}");
        }
    }
}

#[test]
fn help_is_wrapped_to_the_terminal() {
    for columns in [60, 100] {
        let help = on_a_terminal(&[("NO_COLOR", "1")], columns, "serve --help");
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        let widest = lines.iter().max_by_key(|line| line.chars().count()).unwrap();
        let is_narrow = widest.chars().count() <= columns.into();
        assert!(is_narrow || !widest.trim().contains(' '), "{columns}: {widest:?}");
    }
}

/// A service that waits for long before it ends.
fn slow_to_end(book: &TestBook, arguments: &[&str]) -> Process {
    Process::serve(&[&["--database-url", &book.url, "--drain-delay", "20s"], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_service_at_once_and_says_so() {
    on_a_book(async |book| {
        for (first, second) in
            [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::HUP, Signal::INT)]
        {
            let service = slow_to_end(book, &[]);
            let log = service.log();
            service.signal(first);
            log.wait_for(|line| line.contains("shutting down").then_some(())).unwrap();
            service.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
            service.signal(Signal::HUP); // closing a terminal is no haste
            let began = Instant::now();
            service.signal(second);
            let status = service.ended();
            assert_eq!(status.code(), Some(1));
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
            assert!(
                log.all().iter().any(|line| line.contains("ended at once by another signal")),
                "{:?}",
                log.all()
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_begins_an_orderly_end_unless_nobody_is_to_notice() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url]);
        let log = service.log();
        service.signal(Signal::HUP);
        assert!(service.ended().success(), "{:?}", log.all());
        assert!(log.all().iter().any(|line| line.contains("every call that was taken has been answered")));

        let mut command = Command::new("nohup");
        Process::configure(&mut command);
        command.args([env!("CARGO_BIN_EXE_billing"), "--database-url", &book.url]).stdout(Stdio::null());
        let service = Process::start(command).unwrap_or_else(|log| panic!("it does not start: {log:#?}"));
        service.signal(Signal::HUP);
        tokio::time::sleep(Duration::from_millis(500)).await;
        service.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
        assert!(service.terminate().success());
    })
    .await;
}
