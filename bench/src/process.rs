//! Starts programs, and sees to it that none outlives the benchmark.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A program that is killed when nobody waits for it any more.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs a program to its end, and returns what it printed. Its complaints are passed on.
pub(crate) async fn output_of(command: &mut Command, patience: Duration) -> anyhow::Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = timeout(patience, command.output())
        .await
        .with_context(|| format!("{name} did not end within {patience:?}"))?
        .with_context(|| format!("cannot run {name}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    ensure!(status.success(), "{name} ended with {status}: {}", complaints.trim().replace('\n', "; "));
    eprint!("{complaints}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A server on this machine, in a process of its own.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts a server that is to listen on this address, and waits until it does.
    pub(crate) async fn start(mut command: Command, address: String) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::null()).spawn().context("cannot start a server")?;
        let mut server = Self { child, address };
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect(&server.address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("a server ended at once with {status}");
            }
            ensure!(Instant::now() < deadline, "a server does not listen on {}", server.address);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ended.map_or(Ok(()), |status| bail!("a server ended, unasked, with {status}"))
    }

    /// Stops it as an operator does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.ensure_running()?;
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("a server has no process")?, Signal::TERM)?;
        let status = timeout(STOP_PATIENCE, self.child.wait()).await.context("a server does not stop")??;
        ensure!(status.success(), "a server stopped with {status}");
        Ok(())
    }
}

/// An address on which nothing listens just now.
pub(crate) async fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?.to_string())
}
