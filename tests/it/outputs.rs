//! Every command where nobody reads what it writes, or the disk is full: it says so by its status, and does not panic.

use std::{net::TcpStream, process::Command, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    history_import::old_coordinator::OldCoordinator,
    support::{
        address::free_address,
        process::{Process, new_token},
        waiting::{run, wait_for_exit},
        *,
    },
};

/// Where a stream leads, as the shell has it, and whether what is written there fails.
const NOWHERE: [(&str, bool); 4] =
    [("> /dev/full", true), (">&-", false), ("> /dev/null", false), (READER_GONE, true)];
/// A pipe that nobody reads from any more.
const READER_GONE: &str = "> >(exec true); sleep 0.2";

/// The program, with one of its streams leading nowhere.
fn into_nowhere(stream: u8, nowhere: &str) -> Command {
    let program = Process::command();
    let mut shell = Command::new("bash");
    Process::configure(&mut shell);
    let script = format!("exec {stream}{nowhere}\nexec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(program.get_program());
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_panics_where_nothing_can_be_written_and_each_says_so_by_its_status() {
    on_a_book(async |book| {
        let server = book.serve().await;
        server.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
        let old = OldCoordinator::with_history(10).await;
        let (url, source) = (book.url.as_str(), old.url());
        let commands: [(&[&str], i32); 16] = [
            (&["--help"], 0),
            (&["help", "export"], 0),
            (&["--version"], 0),
            (&["--no-such-flag"], 64),
            (&["serve", "--writers", "0"], 64),
            (&["migrate", "--database-url", "mysql://h/d"], 64),
            (&["migrate", "--database-url", url], 0),
            (&["audit", "--database-url", url], 0),
            (&["audit", "--database-url", url, "--json"], 0),
            (&["audit", "--database-url", "postgres://nobody@127.0.0.1:1/none"], 1),
            (&["export", "--database-url", url, "--format", "csv"], 0),
            (&["export", "--database-url", url, "--format", "jsonl"], 0),
            (&["preflight", "--source", source], 0),
            (&["preflight", "--source", source, "--json"], 0),
            (&["import", "--source", source, "--database-url", url], 0),
            (&["import", "--source", source, "--database-url", url, "--json"], 0),
        ];
        for (arguments, status) in commands {
            for stream in [1, 2] {
                for (nowhere, fails) in NOWHERE {
                    let output = run(into_nowhere(stream, nowhere).args(arguments));
                    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
                    let case = format!("{arguments:?} {stream}{nowhere}: {} {said}", output.status);
                    assert!(!said.contains("panicked"), "{case}");
                    // A reader of an export who goes away has had enough.
                    let is_enough = arguments[0] == "export" && nowhere == READER_GONE;
                    let expected = if status == 0 && stream == 1 && fails && !is_enough { 1 } else { status };
                    assert_eq!(output.status.code(), Some(expected), "{case}");
                    assert!(expected == 0 || stream == 2 || !said.is_empty(), "{case}");
                }
            }
        }
    })
    .await;
}

#[test]
fn a_token_is_shown_to_nobody_when_its_line_is_lost() {
    let arguments = ["token", "new", "web", "reader"];
    for (nowhere, _) in NOWHERE {
        let output = run(into_nowhere(1, nowhere).args(arguments));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "1{nowhere}: {said}");
        assert!(said.starts_with("billing: ") && !said.contains("billing_"), "1{nowhere}: {said}");
        let output = run(into_nowhere(2, nowhere).args(arguments));
        assert_eq!(output.status.code(), Some(1), "2{nowhere}");
    }
    let (token, line) = new_token("web", "reader");
    assert!(token.starts_with("billing_") && line.starts_with("web reader sha256:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_goes_on_and_drains_where_its_log_cannot_be_written() {
    on_a_book(async |book| {
        for log in ["> /dev/full", ">&-"] {
            let address = free_address().to_string();
            let flags = ["--database-url", &book.url, "--listen", &address];
            let mut service = into_nowhere(2, log);
            let mut service = service.args(flags).spawn().unwrap();
            for _ in 0..200 {
                if TcpStream::connect(&address).is_ok() {
                    break;
                }
                assert_eq!(service.try_wait().unwrap(), None, "2{log}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let mut client = connect(&format!("http://{address}")).await;
            client.credit(deposit("ann", "order-1", 5)).await.answered();
            kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
            let status = wait_for_exit(&mut service);
            assert_eq!(status.code(), Some(0), "2{log}");
        }
    })
    .await;
}
