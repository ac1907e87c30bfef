//! `billing console`: pages for operators, as a client of the service.

use anyhow::Context as _;

use super::{execution::carry_out, signals::Signals};
use crate::{
    config::{ConsoleConfig, ConsoleFlags},
    console::{self, ConsoleSettings},
    grpc,
};

pub(super) const AFTER_HELP: &str = "\
Operators sign in with a bearer token, as `billing token new` makes them. The console itself may do nothing: each call is made with
the operator's token. docs/CONSOLE.md shows the pages.

Exit status:
  0   ended by a signal
  1   the address is taken
  64  wrong usage

Examples:
  billing console --target http://127.0.0.1:50051
  billing console --target https://billing.example:50051 --target-ca ca.pem --metrics http://127.0.0.1:9464/metrics";

/// Serves until it is told to stop.
pub(super) fn serve(flags: &ConsoleFlags) -> anyhow::Result<()> {
    let ConsoleConfig { listen, settings } = ConsoleConfig::parse(flags)?;
    carry_out(async {
        let signals = Signals::catch()?;
        let listener = grpc::listen(listen).with_context(|| format!("cannot listen on {listen}"))?;
        let (address, is_encrypted) = (listener.local_addr()?, settings.tls.is_some());
        tracing::info!(url = console::url(address, is_encrypted), %address, "serving the console");
        if settings.target.is_exposed() {
            tracing::warn!(
                "--target is not https: bearer tokens can be read on the way, unless something else encrypts"
            );
        }
        let _current = keep_current(&settings);
        console::serve(listener, settings, signals.first()).await;
        Ok(())
    })
}

/// Watches the certificate for changes, until the returned value is dropped.
fn keep_current(settings: &ConsoleSettings) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(tls) = settings.tls.clone() {
        tasks.spawn(tls.keep_current(|_, _| ()));
    }
    tasks
}
