//! Health: alive, and ready if a commit is possible.

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

/// The names for liveness. Independent of the database: restarting the service does not repair one.
const ALIVE: [&str; 2] = ["", "liveness"];
/// The names for readiness: a commit is possible now.
const READY: [&str; 2] = ["readiness", "billing.v1.BillingService"];
/// How often a commit is tried.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The health of the service, under four names. All begin as `NOT_SERVING`.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// The health of a service that is not serving yet.
    pub async fn not_serving() -> Self {
        let health = Self(HealthReporter::new());
        health.set(&ALIVE, false).await;
        health.set(&READY, false).await;
        health
    }

    /// Reports liveness, and then readiness, forever.
    pub async fn watch(&self, ledger: &Ledger, metrics: &Metrics) {
        self.set(&ALIVE, true).await;
        let mut was_ready = None; // so that a service that never gets ready says why
        let mut were_away = Vec::new();
        loop {
            let proof = ledger.prove_commit().await;
            metrics.set_database_clock(ledger.clock_ahead_seconds());
            let ready = proof.is_ok();
            let away = proof.as_ref().map_or_else(|_| Vec::new(), |proof| proof.away.clone());
            metrics.set_books(ledger.book_count(), if ready { away.len() } else { ledger.book_count() });
            if were_away != away {
                if away.is_empty() {
                    tracing::info!("every book can be written");
                } else {
                    tracing::warn!(?away, "some books cannot be written: their accounts are unavailable");
                }
                were_away = away;
            }
            if was_ready.replace(ready) != Some(ready) {
                match proof {
                    Ok(_) => tracing::info!("ready: commits are possible"),
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "not ready"),
                }
                self.set(&READY, ready).await;
                metrics.set_ready(ready);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Reports not serving under every name.
    pub async fn leave(&self) {
        self.set(&READY, false).await;
        self.set(&ALIVE, false).await;
    }

    /// Ends all watch streams, which would keep the server from stopping.
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
