//! Other ledgers, run by a program of their own in `bench/peers`, where it is present and builds.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    load::Sample,
    postgres::Postgres,
    process::{command, output_of},
};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const BUILD_PATIENCE: Duration = Duration::from_secs(3_600);
/// How much longer than it measures a peer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The built program.
#[derive(Debug)]
pub(crate) struct Peers(PathBuf);

/// A load for a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerLoad {
    pub(crate) in_flight: usize,
    pub(crate) accounts: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
}

impl Peers {
    /// Builds the program, if its package is there.
    pub(crate) async fn build() -> anyhow::Result<Option<Self>> {
        let manifest = Path::new(PACKAGE).join("Cargo.toml");
        if !manifest.is_file() {
            return Ok(None);
        }
        let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--quiet", "--manifest-path"]).arg(&manifest);
        output_of(&mut cargo, BUILD_PATIENCE).await.context("the peers do not build")?;
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| Path::new(PACKAGE).join("target"));
        Ok(Some(Self(target.join("release/billing-peers"))))
    }

    pub(crate) async fn measure(
        &self,
        peer: &str,
        load: PeerLoad,
        postgres: &Postgres,
    ) -> anyhow::Result<Sample> {
        let PeerLoad { in_flight, accounts, seconds, warm_up } = load;
        let database = format!("peer_{peer}");
        postgres.recreate(&database).await?;
        let mut program = command(&self.0);
        program.args([peer, "--database-url", &postgres.url(&database)]);
        program.args(["--seconds", &seconds.to_string(), "--warm-up", &warm_up.to_string()]);
        program.args(["--in-flight", &in_flight.to_string(), "--accounts", &accounts.to_string()]);
        // Double entry: a single account on the other side of all deposits would be all that is measured.
        program.args(["--counter-accounts", "64"]);
        let line = output_of(&mut program, PATIENCE + Duration::from_secs(seconds + warm_up)).await?;
        serde_json::from_str(&line).with_context(|| format!("the peer printed {line:?}"))
    }
}
