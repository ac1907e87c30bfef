//! One round: every step once, on new databases, so that each round begins alike.

use anyhow::Context as _;

use super::Bench;
use crate::{
    baseline::{self, Baseline},
    generator::{self, Load},
    load::{Sample, Work},
    postgres::Mark,
    process::ServerProcess,
    results::{Extent, Footprint, Results},
    service::Service,
    steps::{Step, System},
};

pub(super) const DATABASE: &str = "billing";

/// The servers of a round.
struct Servers {
    billing: Service,
    empty: ServerProcess,
}

impl Bench {
    pub(super) async fn measure_round(&self, results: &mut Results) -> anyhow::Result<()> {
        baseline::recreate_database(&self.postgres).await?;
        let mut servers =
            Servers { billing: self.new_service(DATABASE).await?, empty: generator::serve_empty().await? };
        generator::fund(&servers.billing.url(), 10_000).await?;
        for step in &self.steps {
            let before = self.postgres.mark().await?;
            let mut measured = self.measure_step(step, &servers).await;
            if let (System::Peer(peer), Ok(sample)) = (step.system, &mut measured) {
                let errors =
                    sample.take_errors().map(|errors| format!("Calls of {peer} that failed: {errors}."));
                results.notes.extend(errors);
            }
            let Some(sample) = results.take(step.name, measured) else {
                servers.billing.ensure_running()?;
                continue;
            };
            if matches!(step.system, System::Billing { work, .. } if writes_only_what_is_counted(work)) {
                let footprint = self.footprint_since(before, &sample).await?;
                results.footprints.entry(step.name.to_owned()).or_default().push(footprint);
            }
            results.samples.entry(step.name.to_owned()).or_default().push(sample);
        }
        servers.billing.stop().await
    }

    async fn footprint_since(&self, before: Mark, sample: &Sample) -> anyhow::Result<Footprint> {
        let written = self.postgres.written_since(before).await?;
        Ok(Footprint {
            wal_bytes: written.wal_bytes as f64 / sample.calls as f64,
            batch: sample.calls as f64 / written.transactions as f64,
        })
    }

    /// A service on a new database.
    pub(super) async fn new_service(&self, database: &str) -> anyhow::Result<Service> {
        self.postgres.recreate(database).await?;
        self.program.migrate(&self.postgres, database).await?;
        self.program.serve(&self.postgres, database).await
    }

    async fn measure_step(&self, step: &Step, servers: &Servers) -> anyhow::Result<Sample> {
        let Extent { seconds, warm_up, .. } = self.extent;
        let load =
            |work, in_flight, accounts| Load { work, in_flight, rate: None, accounts, seconds, warm_up };
        match step.system {
            System::Baseline { clients, accounts } => {
                Baseline { clients, accounts, seconds, warm_up }.measure(&self.postgres).await
            }
            System::Billing { work, in_flight, accounts } => {
                load(work, in_flight, accounts).run(&servers.billing.url()).await
            }
            System::Empty { in_flight } => load(Work::Empty, in_flight, 1).run(&servers.empty.url()).await,
            System::Peer(peer) => {
                let peers = self.peers.as_ref().context("the peers were not built")?;
                peers.measure(peer, &self.postgres, seconds, warm_up).await
            }
        }
    }
}

/// Reads write nothing, and before replays there are credits that are not among the calls.
fn writes_only_what_is_counted(work: Work) -> bool {
    !matches!(work, Work::Read | Work::Replay | Work::Empty)
}
