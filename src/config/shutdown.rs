//! The flags about how the service stops.

use clap::Args;

#[derive(Clone, Args)]
#[command(next_help_heading = "Shutdown")]
pub(super) struct ShutdownFlags {
    /// After SIGTERM, SIGINT or SIGHUP: how long to keep serving, not ready, while load balancers notice. About 5s in Kubernetes.
    #[arg(long, env = "BILLING_DRAIN_DELAY", default_value = "1s", value_name = "DURATION")]
    pub(super) drain_delay: String,
    /// After the drain delay: how long calls in progress may take to finish. A supervisor must wait for the drain delay and twice
    /// this before it kills.
    #[arg(long, env = "BILLING_SHUTDOWN_GRACE", default_value = "20s", value_name = "DURATION")]
    pub(super) shutdown_grace: String,
}
