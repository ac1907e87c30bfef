//! A program that is run to its end, and what that took.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// What it took.
pub struct Measured {
    /// How long.
    pub elapsed: Duration,
    /// The most memory that was in use, in KiB.
    pub peak_kib: u64,
}

/// Runs a program, which must succeed.
pub fn run_measured(command: &mut Command) -> Measured {
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        peak_kib = peak(&status).unwrap_or(peak_kib);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success());
    Measured { elapsed: started.elapsed(), peak_kib }
}

fn peak(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
