//! The built program as a process of its own, to be signalled and killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use super::calls::{Client, connect};

/// The program, running.
pub struct Process {
    /// Where it serves, as `address:port`.
    pub address: String,
    child: Child,
}

impl Process {
    /// `billing` with flags, serving on a free port.
    pub fn serve(flags: &[&str]) -> Self {
        let mut command = Self::command();
        command.args(["--listen", "127.0.0.1:0", "--drain-delay", "0s"]).args(flags);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let line = log.next().unwrap_or_else(|| panic!("it ended at its start: {seen:#?}")).unwrap();
            if let Some((_, address)) = line.split_once("address=") {
                break address.trim().to_owned();
            }
            seen.push(line);
        };
        thread::spawn(move || log.for_each(drop)); // so that it never waits for a reader
        Self { address, child }
    }

    /// `billing`, with nothing configured by the environment.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing"));
        command.env_remove("DATABASE_URL").env_remove("BILLING_DATA_DIR").stdin(Stdio::null());
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

    /// Sends SIGKILL, and returns when it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // may have ended already
        let _ = self.child.wait();
    }
}
