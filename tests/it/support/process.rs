//! The built program as a process of its own, to be signalled and killed.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::calls::{Client, connect};

/// The program, running.
pub struct Process {
    /// Where it serves, as `address:port`.
    pub address: String,
    /// What it logged before it served.
    pub said: Vec<String>,
    child: Child,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// `billing` with flags, serving on a free port unless they name one.
    pub fn serve(flags: &[&str]) -> Self {
        Self::try_serve(flags).unwrap_or_else(|log| panic!("it ended at its start: {log:#?}"))
    }

    /// The same; or what it logged, if it ended at its start.
    pub fn try_serve(flags: &[&str]) -> Result<Self, Vec<String>> {
        let mut command = Self::command();
        command
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "off", "--drain-delay", "0s"])
            .args(flags);
        Self::start(command)
    }

    /// The same by a command of a test's own.
    pub fn start(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = log.next() else {
                child.wait().unwrap();
                return Err(said);
            };
            if let Some(address) = address_in(&line) {
                break address;
            }
            said.push(line);
        };
        let failures = Arc::default();
        let kept = Arc::clone(&failures);
        thread::spawn(move || keep_failures(log, &kept)); // reads on, so that it never waits for a reader
        Ok(Self { address, said, child, failures })
    }

    /// `billing`, with nothing configured by the environment but that it logs for people, which tests read, too.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing"));
        command.env_remove("DATABASE_URL").env_remove("BILLING_DATA_DIR").env("BILLING_LOG_FORMAT", "human");
        command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").stdin(Stdio::null());
        command
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Where it serves, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its metrics are, as `address:port`.
    pub fn metrics_address(&self) -> &str {
        let line = self.said.iter().find(|line| line.contains("serving metrics")).expect("it serves metrics");
        line.split_once("http://").unwrap().1.split_once('/').unwrap().0
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL, and returns when it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it logs that no service ever should: errors, panics, and why it failed.
    pub fn failures(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.failures)
    }
}

/// Where it serves, if a line of the log says so: in the form for people, or in JSON.
fn address_in(line: &str) -> Option<String> {
    if let Some((_, address)) = line.split_once("address=") {
        return Some(address.trim().to_owned());
    }
    let (_, address) = line.split_once("\"address\":\"")?;
    Some(address.split('"').next()?.to_owned())
}

/// A port of the loopback address that nothing listens on. For what has to be told a port, instead of telling which it has.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A token and its line for the credentials file, by the program itself.
pub fn new_token(name: &str, role: &str) -> (String, String) {
    let made = Process::command().args(["token", "new", name, role]).output().unwrap();
    assert!(made.status.success());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(made.stderr).trim().to_owned(), text(made.stdout))
}

fn keep_failures(log: impl Iterator<Item = String>, kept: &Mutex<Vec<String>>) {
    let is_failure = |line: &String| {
        line.contains(" ERROR ") || line.contains("panicked") || line.starts_with("billing: ")
    };
    log.filter(is_failure).for_each(|line| kept.lock().unwrap().push(line));
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // may have ended already
        let _ = self.child.wait();
    }
}
