//! Health by the real ability to commit.

mod port;
mod streams;

use std::time::Duration;

use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};

pub use port::serve_health;

use crate::{ledger::Ledger, telemetry::Metrics};
use streams::BoundedHealth;

/// Says that the process is alive. Needs no database: restarting the service does not mend one.
const ALIVE: [&str; 2] = ["", "liveness"];
/// Says that a commit is possible now.
const READY: [&str; 2] = ["readiness", "billing.v1.BillingService"];
/// How often a commit is tried.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The health of the service, under four names. All begin as `NOT_SERVING`.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// The health of a service that does not serve yet.
    pub async fn not_serving() -> Self {
        let health = Self(HealthReporter::new());
        health.set(&ALIVE, false).await;
        health.set(&READY, false).await;
        health
    }

    /// Says that the process is alive, and from then on whether a commit is possible, for ever.
    pub async fn watch(&self, ledger: &Ledger, metrics: &Metrics) {
        self.set(&ALIVE, true).await;
        let mut was_ready = None; // so that a service that never gets ready says why
        loop {
            let proof = ledger.prove_commit().await;
            metrics.set_database_clock(ledger.clock_ahead_seconds());
            let ready = proof.is_ok();
            if was_ready.replace(ready) != Some(ready) {
                match proof {
                    Ok(()) => tracing::info!("ready: commits are possible"),
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "not ready"),
                }
                self.set(&READY, ready).await;
                metrics.set_ready(ready);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Says under every name that the service is going away.
    pub async fn leave(&self) {
        self.set(&READY, false).await;
        self.set(&ALIVE, false).await;
    }

    /// Ends the streams of those who watch, which would keep the server from ending.
    pub async fn end_watches(&mut self) {
        for name in ALIVE.into_iter().chain(READY) {
            self.0.clear_service_status(name).await;
        }
    }

    pub(crate) fn service(&self) -> BoundedHealth {
        BoundedHealth(HealthService::from_health_reporter(self.0.clone()))
    }

    async fn set(&self, names: &[&str], serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names {
            self.0.set_service_status(*name, status).await;
        }
    }
}
