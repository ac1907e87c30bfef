//! Waiting with a bound: until something holds, until a process ends, or until a command has run.

use std::{
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

/// How long a test waits for one thing, which takes a moment unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Tries again and again until an attempt gives something, and fails if none does in time.
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let attempts = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(PATIENCE, attempts).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Waits until a process ends. One that does not is killed, and fails the test.
pub fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("process {} does not end within {PATIENCE:?}", child.id());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until a thread ends, and returns what it came to.
pub fn join_in_time<T>(thread: thread::JoinHandle<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "a thread does not end within {PATIENCE:?}");
        thread::sleep(POLL_INTERVAL);
    }
    thread.join().unwrap()
}

/// Waits until a process ends, and returns what it has written into its pipes meanwhile. One that does not end is killed, and
/// fails the test with what it has written.
pub fn finish_within(patience: Duration, child: Child) -> Output {
    let process = Pid::from_child(&child);
    let (finished, output) = mpsc::channel();
    thread::spawn(move || finished.send(child.wait_with_output().unwrap()));
    output.recv_timeout(patience).unwrap_or_else(|_| {
        let _ = kill_process(process, Signal::KILL);
        let said =
            output.recv_timeout(Duration::from_secs(1)).map(|output| [output.stdout, output.stderr].concat());
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        panic!("process {process:?} does not end within {patience:?}; it said: {said}");
    })
}

/// Runs a command to its end, which may take that long.
pub fn run_within(patience: Duration, command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish_within(patience, command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    run_within(PATIENCE, command)
}

/// Runs a command to its end while the tasks of the test go on.
pub async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

/// What a command printed, and what it said beside that. It must have ended with this status.
pub fn ended(output: Output, status: i32) -> (String, String) {
    let [printed, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(status), "{printed}\n{said}");
    (printed, said)
}

/// What a command printed, which must have succeeded.
pub fn printed(output: Output) -> String {
    ended(output, 0).0
}
