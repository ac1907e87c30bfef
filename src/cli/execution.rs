//! How a command is carried out, and with which status it ends.

use std::{process::ExitCode, thread::available_parallelism};

use anyhow::Context as _;
use tokio::runtime::{self, Runtime};

use super::output;
use crate::{config::ConfigError, database::sessions_closed};

/// `EX_USAGE` of sysexits.h: the configuration is wrong, and trying again will not help.
pub(super) const EXIT_USAGE: u8 = 64;

/// The status of a command. Says what went wrong.
pub(super) fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    output::complain(format_args!("billing: {error:#}"));
    match error.downcast_ref::<ConfigError>() {
        Some(_) => ExitCode::from(EXIT_USAGE),
        None => ExitCode::FAILURE,
    }
}

/// Carries out a command, and takes leave of the databases that it has used, whether or not it failed.
pub(super) fn carry_out<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime()?.block_on(async {
        let done = command.await;
        sessions_closed().await;
        done
    })
}

/// A runtime that runs tasks in the order in which they were woken, on half of the processors.
///
/// By default it would run the task woken last first, so each answer of a batch would wake its connection at once and
/// leave in a write of its own: one system call for each answer here and one there, where now all answers that are ready
/// leave in one. Half of the processors can do more than the database can; more threads would spend their time waking
/// one another: docs/BENCHMARKS.md has the measurements.
fn runtime() -> anyhow::Result<Runtime> {
    let threads = available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(threads);
    #[cfg(tokio_unstable)] // set in .cargo/config.toml; without it all works, only slower
    builder.disable_lifo_slot();
    builder.enable_all().build().context("cannot start the runtime")
}
