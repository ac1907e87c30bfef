//! What a command says: the only place where a line is written to standard output or standard error. Neither need take it: a
//! disk is full, or nobody reads any longer.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
};

use anyhow::Context as _;

/// Writes a line to standard output.
pub(super) fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}

/// Writes a line to standard error for nobody but this run's user.
pub(super) fn reveal(line: impl Display) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{line}").context("cannot write to standard error")
}

/// Writes a last word to standard error. There is nobody left to tell if that fails.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether what is written there goes nowhere: `/dev/null`, which also stands in for a descriptor that was closed.
pub(super) fn is_lost(stream: impl AsFd) -> io::Result<bool> {
    let stream = File::from(stream.as_fd().try_clone_to_owned()?);
    Ok(stream.metadata()?.rdev() == fs::metadata("/dev/null")?.rdev())
}
