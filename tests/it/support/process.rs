//! The built program as a process of its own, to be signalled and killed.

use std::{
    env,
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    address::own_ip,
    calls::{Client, connect},
    waiting::{PATIENCE, ended, output, run, wait_for_exit},
};

/// The program, running.
pub struct Process {
    /// Where it serves, as `address:port`.
    pub address: String,
    /// What it logged before it served.
    pub said: Vec<String>,
    child: Child,
    log: Lines,
}

impl Process {
    /// `billing` with flags, serving on a free port unless they name one.
    pub fn serve(flags: &[&str]) -> Self {
        Self::try_serve(flags).unwrap_or_else(|log| panic!("it ended at its start: {log:#?}"))
    }

    /// The same; or what it logged, if it ended at its start.
    pub fn try_serve(flags: &[&str]) -> Result<Self, Vec<String>> {
        let mut command = Self::command();
        command.args(flags);
        Self::start(command)
    }

    /// The same by a command of a test's own.
    pub fn start(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Lines::of(&format!("billing {}", child.id()), child.stderr.take().unwrap());
        let Some((address, before)) = log.wait_for(address_in) else {
            wait_for_exit(&mut child);
            return Err(log.all());
        };
        let said = log.all().into_iter().take(before).collect();
        Ok(Self { address, said, child, log })
    }

    /// `billing`, configured by the environment to use no port that others may have, to be quick to stop, to log for people, which
    /// tests read, too, and to serve on the tests' own database, which is not durable.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing"));
        Self::configure(&mut command);
        command
    }

    /// The same, with a limit of open files.
    pub fn command_with_files(limit: u32) -> Command {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_billing")]);
        Self::configure(&mut command);
        command
    }

    /// Has a command that runs the program run it like this.
    pub fn configure(command: &mut Command) {
        for name in ["DATABASE_URL", "BILLING_SOURCE_URL", "BILLING_DATA_DIR", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        {
            command.env_remove(name);
        }
        command.env("BILLING_LISTEN", format!("{}:0", own_ip())).env("BILLING_METRICS_LISTEN", "off");
        command.env("BILLING_DRAIN_DELAY", "0s").env("BILLING_LOG_FORMAT", "human");
        command.env("BILLING_ALLOW_UNSAFE_DATABASE", "true").stdin(Stdio::null());
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

    /// Where it serves health alone, as `address:port`.
    pub fn health_address(&self) -> String {
        let address = |line: &str| {
            Some(line.split_once("serving health alone")?.1.split_once("listen=")?.1.trim().to_owned())
        };
        self.log.wait_for(address).expect("it serves health alone").0
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL, and returns when it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        wait_for_exit(&mut self.child);
    }

    /// Sends SIGTERM, and returns how it ended.
    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it ends, and returns how.
    pub fn ended(mut self) -> ExitStatus {
        wait_for_exit(&mut self.child)
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it logs, also after its end.
    pub fn log(&self) -> Lines {
        self.log.clone()
    }
}

/// What a process says, line by line: kept, and passed on at once where only that shows it when a test is ended.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    is_all: bool,
}

impl Lines {
    /// Of what a process called `name` writes into a pipe, which is read to its end.
    pub fn of(name: &str, pipe: impl Read + Send + 'static) -> Self {
        let (name, lines) = (name.to_owned(), Self::default());
        let written = lines.clone();
        thread::spawn(move || written.keep(&name, pipe));
        lines
    }

    fn keep(&self, name: &str, pipe: impl Read) {
        let is_passed_on = env::var_os("NEXTEST").is_some();
        let (said, changed) = &*self.0;
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if is_passed_on {
                eprintln!("{name}| {line}");
            }
            said.lock().unwrap().lines.push(line);
            changed.notify_all();
        }
        said.lock().unwrap().is_all = true;
        changed.notify_all();
    }

    /// What is wanted of the first line that has it, and how many lines came before; `None` if the process ends without one.
    /// Fails if neither happens in time.
    pub fn wait_for<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> Option<(T, usize)> {
        let (said, changed) = &*self.0;
        let (mut said, deadline, mut seen) = (said.lock().unwrap(), Instant::now() + PATIENCE, 0);
        loop {
            for (place, line) in said.lines.iter().enumerate().skip(seen) {
                if let Some(wanted) = wanted(line) {
                    return Some((wanted, place));
                }
            }
            if said.is_all {
                return None;
            }
            seen = said.lines.len();
            let patience = deadline.saturating_duration_since(Instant::now());
            assert!(!patience.is_zero(), "no such line within {PATIENCE:?}; it said: {:#?}", said.lines);
            said = changed.wait_timeout(said, patience).unwrap().0;
        }
    }

    /// All that it says until its end.
    pub fn whole(&self) -> Vec<String> {
        assert!(self.wait_for(|_| None::<()>).is_none());
        self.all()
    }

    /// All that it has said by now.
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// What no service ever should say: errors, panics, and why it failed.
    pub fn failures(&self) -> Vec<String> {
        let is_failure = |line: &String| {
            line.contains(" ERROR ") || line.contains("panicked") || line.starts_with("billing: ")
        };
        self.all().into_iter().filter(is_failure).collect()
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

/// Runs the program to its end while the tasks of the test go on.
pub async fn billing(arguments: &[&str]) -> Output {
    let mut command = Process::command();
    command.args(arguments);
    output(command).await
}

/// A token and its line for the credentials file, by the program itself.
pub fn new_token(name: &str, role: &str) -> (String, String) {
    let (line, token) = ended(run(Process::command().args(["token", "new", name, role])), 0);
    (token.trim().to_owned(), line)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // may have ended already
        let _ = self.child.wait(); // SIGKILL has a bound
    }
}
