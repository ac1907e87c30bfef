//! Keeps the server's log from filling the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;
use std::{convert::Infallible, io};

use tracing::warn;

use super::error::{Result, refused};

/// The size above which the log is rotated; the previous rotation is overwritten.
const BYTES_MAX: u64 = 10 << 20;
const INTERVAL: Duration = Duration::from_millis(500);

/// Watches the log until it is dropped.
#[derive(Debug)]
pub(super) struct LogKeeper(#[expect(dead_code, reason = "its end ends the thread")] Sender<Infallible>);

impl LogKeeper {
    pub(super) fn start(log: &File, path: &Path) -> Result<Self> {
        let put_aside = |log: &File, path: &Path| {
            if let Err(error) = bound(log, path) {
                warn!(%error, "the log of the private PostgreSQL cannot be put aside");
            }
        };
        put_aside(log, path);
        let log = log.try_clone().map_err(refused("share", path))?;
        let (sender, dropped) = mpsc::channel();
        let watched: PathBuf = path.to_owned();
        let keep = move || {
            while dropped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                put_aside(&log, &watched);
            }
        };
        let started = thread::Builder::new().name("postgres-log".to_owned()).spawn(keep);
        started.map_err(refused("keep", path))?;
        Ok(Self(sender))
    }
}

/// Truncates a log that is too large, even if the disk has no room for a copy. All processes append to this one file and hold
/// its lock, so it cannot be renamed. Lines written between copying and truncating are lost.
fn bound(log: &File, path: &Path) -> io::Result<()> {
    if log.metadata()?.len() < BYTES_MAX {
        return Ok(());
    }
    let copied = fs::copy(path, path.with_extension("log.old"));
    log.set_len(0)?;
    copied.map(drop)
}
