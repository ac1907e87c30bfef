//! The Python client of `examples/python`: its own tests, its webhooks against a service, then under it two replicas that are
//! restarted and killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{
    address::own_ip,
    guarded::Guarded,
    installed::{installed, run},
    on_a_book,
    process::Process,
    waiting::{PATIENCE, finish_within},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
/// Where Python is in what has been installed.
const PYTHON: &str = "venv/bin/python";

/// Python with what the example needs, and the stubs. Or why it cannot be had.
fn python() -> Result<PathBuf, String> {
    let requirements = format!("{EXAMPLE}/requirements.txt");
    let contract = format!("{PROTO}/billing/v1/billing.proto");
    let wanted = [&requirements, &contract].map(|file| fs::read_to_string(file).unwrap()).concat();
    let dir = installed("python-client", &wanted, |dir| {
        let python = dir.join(PYTHON);
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r", &requirements]))?;
        let stubs = stubs(&python).display().to_string();
        fs::create_dir(&stubs).unwrap();
        run(Command::new(&python).args(["-m", "grpc_tools.protoc", "-I", PROTO]).args([
            format!("--python_out={stubs}"),
            format!("--grpc_python_out={stubs}"),
            contract,
        ]))
    })?;
    Ok(dir.join(PYTHON))
}

fn stubs(python: &Path) -> PathBuf {
    python.ancestors().nth(3).unwrap().join("stubs")
}

/// A program of the example, to be run.
fn program(python: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.args(arguments).current_dir(EXAMPLE);
    command.env("PYTHONPATH", stubs(python)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn its_own_tests_pass() {
    match python() {
        Ok(python) => run(&mut program(&python, &["-m", "unittest"])).unwrap(),
        Err(why) => println!("skipped: {why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_may_come_in_any_order_and_promotions_expire() {
    let python = match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => python,
        Err(why) => return println!("skipped: {why}"),
    };
    on_a_book(async |book| {
        let url = book.url.clone();
        let tested = tokio::task::spawn_blocking(move || {
            let service = Process::serve(&["--database-url", &url]);
            let mut tests = program(&python, &["-m", "unittest", "test_webhook", "test_promotion"]);
            run(tests.env("BILLING_TARGET", &service.address))
        });
        tested.await.unwrap().unwrap();
        let reversals = book.number("SELECT count(*) FROM ledger_entries WHERE entry_type = 16").await;
        assert!(reversals > 500, "only {reversals} reversals");
        assert_eq!(book.number("SELECT count(*) FROM grants").await, 3);
    })
    .await;
}

/// Begins to call, until `finish`.
fn begin(load: &mut Command) -> Child {
    load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// How many calls were answered.
fn finish(mut load: Child) -> usize {
    drop(load.stdin.take());
    let output = finish_within(PATIENCE, load);
    assert!(output.status.success(), "a call was not answered");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Terminates and kills the replicas in turn, and starts each again where it was. In the end both are away for longer than the
/// service config tries, so that it takes the client itself.
fn break_things(url: &str, processes: &mut [Option<Process>; 2]) {
    for round in 0..4 {
        let replica = &mut processes[round % 2];
        for is_killed in [false, true] {
            thread::sleep(Duration::from_millis(400));
            let old = replica.take().unwrap();
            let address = old.address.clone();
            if is_killed {
                old.kill();
            } else {
                assert!(old.terminate().success(), "it answered what it had taken");
            }
            thread::sleep(Duration::from_millis(200)); // long enough to be missed
            *replica = Some(Process::serve(&flags(url, &address)));
        }
    }
    thread::sleep(Duration::from_millis(400));
    let both = processes.each_mut().map(|process| process.take().unwrap());
    let addresses = both.each_ref().map(|process| process.address.clone());
    both.into_iter().for_each(Process::kill);
    thread::sleep(Duration::from_secs(3));
    *processes = addresses.map(|address| Some(Process::serve(&flags(url, &address))));
    thread::sleep(Duration::from_millis(400));
}

fn flags<'a>(url: &'a str, address: &'a str) -> [&'a str; 8] {
    [
        "--database-url",
        url,
        "--listen",
        address,
        "--drain-delay",
        "100ms",
        "--connection-age-max", // connections say goodbye all the time
        "1s",
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_loses_and_doubles_nothing_while_replicas_are_restarted_and_killed() {
    let python = match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => python,
        Err(why) => return println!("skipped: {why}"),
    };
    on_a_book(async |book| {
        let url = book.url.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let mut processes =
                [(); 2].map(|()| Some(Process::serve(&flags(&url, &format!("{}:0", own_ip())))));
            let addresses = processes.each_ref().map(|process| process.as_ref().unwrap().address.clone());
            let load = begin(&mut program(&python, &["load.py", &format!("ipv4:{}", addresses.join(","))]));
            break_things(&url, &mut processes);
            finish(load)
        });
        let answered = answered.await.unwrap();
        assert!(answered > 100, "{answered} calls are no load");
        let written = book.number("SELECT sum(last_sequence) FROM accounts").await;
        let of_payees = "SELECT count(*) FROM ledger_entries WHERE source_sequence IS NOT NULL";
        let legs = book.number(of_payees).await;
        assert_eq!(usize::try_from(written - legs).unwrap(), answered, "each is there once");
        assert_eq!(legs, written - legs, "of six calls one pays three, and one takes back from them");
        let posted = book.number("SELECT sum(posted_micro_usd) FROM accounts").await;
        assert_eq!(posted, legs / 6 * 1_000_000, "what one pays the others get");
        println!("{answered} calls, each there once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_calls_by_tls_and_with_its_token() {
    let python = match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => python,
        Err(why) => return println!("skipped: {why}"),
    };
    on_a_book(async |book| {
        let url = book.url.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let service = Guarded::serve(&url);
            let mut load = program(&python, &["load.py", &service.target(), &service.authority_file]);
            let load = begin(load.env("BILLING_TOKEN", &service.token));
            thread::sleep(Duration::from_secs(1));
            finish(load)
        });
        let answered = answered.await.unwrap();
        let calls =
            "SELECT count(*) FROM ledger_entries WHERE caller = 'checkout' AND source_sequence IS NULL";
        let named = book.number(calls).await;
        assert!(answered > 0);
        assert_eq!(usize::try_from(named).unwrap(), answered);
    })
    .await;
}
