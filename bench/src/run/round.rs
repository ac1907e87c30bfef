//! One round: every step once, on new databases, so that each round begins alike.

use std::time::Duration;

use anyhow::Context as _;

use super::Bench;
use crate::{
    baseline::{self, Baseline, Timing},
    generator::{self, Load},
    load::{Sample, Watched, Work},
    peers::PeerLoad,
    postgres::Mark,
    process::ServerProcess,
    results::{Extent, Footprint, Results},
    service::Service,
    steps::{Setting, Step, System, Way},
};

pub(super) const DATABASE: &str = "billing";
const ACCOUNTS: usize = 10_000;
/// How long the way to a PostgreSQL on another machine takes.
const DISTANCE: Duration = Duration::from_millis(1);

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
        self.fund(&servers.billing).await?;
        for step in &self.steps {
            let before = self.postgres.mark().await?;
            let mut measured = self.measure_step(step, &servers).await;
            if let (System::Peer { program, .. }, Ok(sample)) = (step.system, &mut measured) {
                let errors =
                    sample.take_errors().map(|errors| format!("Calls of {program} that failed: {errors}."));
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

    async fn fund(&self, billing: &Service) -> anyhow::Result<()> {
        generator::fund(&billing.url(), ACCOUNTS).await?;
        let url = billing.url();
        let is_there = |wanted: Work| {
            self.steps
                .iter()
                .any(|step| matches!(step.system, System::Billing { work, .. } if work == wanted))
        };
        if is_there(Work::Withdraw) {
            generator::fund_earners(&url, ACCOUNTS).await?;
        }
        for (work, grants) in [(Work::Charge1Grant, 1), (Work::Charge10Grants, 10)] {
            if is_there(work) {
                generator::fund_granted(&url, ACCOUNTS, grants).await?;
            }
        }
        Ok(())
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
        self.program.serve(&self.postgres.url(database), &[]).await
    }

    async fn measure_step(&self, step: &Step, servers: &Servers) -> anyhow::Result<Sample> {
        let Extent { seconds, warm_up, .. } = self.extent;
        let load =
            |work, in_flight, accounts| Load { work, in_flight, rate: None, accounts, seconds, warm_up };
        match step.system {
            System::Baseline { run, way } => self.measure_baseline(run, way).await,
            System::Billing { work, in_flight, accounts, setting } => {
                self.measure_billing(load(work, in_flight, accounts), setting, servers).await
            }
            System::Empty { in_flight } => {
                load(Work::Empty, in_flight, 1).run(&servers.empty.url(), Watched::default()).await
            }
            System::Peer { program, in_flight, accounts } => {
                let peers = self.peers.as_ref().context("the peers were not built")?;
                let load = PeerLoad { in_flight, accounts, seconds, warm_up };
                peers.measure(program, load, &self.postgres).await
            }
        }
    }

    async fn measure_baseline(&self, run: Baseline, way: Way) -> anyhow::Result<Sample> {
        let Extent { seconds, warm_up, .. } = self.extent;
        let timing = Timing { seconds, warm_up };
        let database = run.script.database(DATABASE);
        match way {
            Way::Near => run.measure(&self.postgres, &self.postgres.url(database), timing).await,
            Way::Far => {
                let relay = generator::serve_relay(&self.postgres, DISTANCE).await?;
                run.measure(&self.postgres, &url_through(&relay, database), timing).await
            }
        }
    }

    async fn measure_billing(
        &self,
        load: Load,
        setting: Setting,
        servers: &Servers,
    ) -> anyhow::Result<Sample> {
        let url = self.postgres.url(DATABASE);
        match setting {
            Setting::Running => self.watch(load, &servers.billing).await,
            Setting::New => self.measure_new(load, &url, &[]).await,
            Setting::Traced => {
                let collector = servers.empty.url();
                let flags = ["--otlp-endpoint", &collector, "--otlp-sample-ratio", "0.01"];
                self.measure_new(load, &url, &flags).await
            }
            Setting::Far => {
                let relay = generator::serve_relay(&self.postgres, DISTANCE).await?;
                self.measure_new(load, &url_through(&relay, DATABASE), &[]).await
            }
        }
    }

    /// Calls a service of its own.
    async fn measure_new(&self, load: Load, database_url: &str, flags: &[&str]) -> anyhow::Result<Sample> {
        let service = self.program.serve(database_url, flags).await?;
        let measured = self.watch(load, &service).await;
        service.stop().await?;
        measured
    }

    /// Calls a service, and takes the processor time of both the service and PostgreSQL.
    async fn watch(&self, load: Load, service: &Service) -> anyhow::Result<Sample> {
        let watched = Watched { service_pid: Some(service.pid()?), postgres_pid: Some(self.postgres.pid()?) };
        load.run(&service.url(), watched).await
    }
}

fn url_through(relay: &ServerProcess, database: &str) -> String {
    format!("postgres://billing@{}/{database}?sslmode=disable", relay.address())
}

/// Reads write nothing, and before replays there are credits that are not among the calls.
fn writes_only_what_is_counted(work: Work) -> bool {
    !matches!(work, Work::Read | Work::Replay | Work::Empty)
}
