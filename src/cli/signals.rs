//! The signals that end the service: the first begins an orderly end, and another one cuts it short.

use std::{fs, process};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are waited for instead of ending the program.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Catches them from now on. SIGHUP is left alone where it was to be ignored from the start, as under `nohup`.
    pub(super) fn catch() -> anyhow::Result<Self> {
        let is_for_us = !is_ignored(SignalKind::hangup());
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: is_for_us.then(|| catch(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for the first. From then on another SIGTERM or SIGINT ends the program at once; no SIGHUP does, since a terminal
    /// that closes sends more than one.
    pub(super) async fn first(mut self) {
        let Self { terminate, interrupt, hang_up } = &mut self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = received(hang_up) => {}
        }
        tokio::spawn(async move {
            tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
            tracing::error!("ended at once by another signal: calls under way are not answered");
            process::exit(1);
        });
    }
}

/// Waits for a signal instead of being ended by it.
pub(super) fn catch(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot wait for signals")
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal, by what Linux says of it; elsewhere it is not known.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
