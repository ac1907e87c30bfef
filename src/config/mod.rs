//! The configuration of `billing serve`, and that of `billing console`: their flags, in groups, and what they come to.

mod capacity;
mod console;
mod database;
mod limits;
mod network;
mod problems;
mod security;
mod shutdown;
mod telemetry;

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use crate::{
    accounting::Limits, committer::CommitterSettings, grpc::ServerSettings, telemetry::OtlpEndpoint,
};
use capacity::CapacityFlags;
pub use console::{ConsoleConfig, ConsoleFlags};
use database::DatabaseFlags;
pub use database::{Database, given_database};
use limits::LimitFlags;
use network::NetworkFlags;
pub use problems::ConfigError;
use problems::Problems;
use security::SecurityFlags;
use shutdown::ShutdownFlags;
use telemetry::TelemetryFlags;

/// The flags of `billing serve`, as they were given. Not `Debug`: a URL may hold a password.
#[derive(Clone, Args)]
pub struct ServeFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    security: SecurityFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    capacity: CapacityFlags,
    #[command(flatten)]
    shutdown: ShutdownFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

/// The configuration of `billing serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which database.
    pub database: Database,
    /// Whether it may be one that loses what it has committed.
    pub allow_unsafe_database: bool,
    /// The address to serve gRPC on.
    pub listen: SocketAddr,
    /// Where Prometheus scrapes, if it does.
    pub metrics_listen: Option<SocketAddr>,
    /// The address to serve health alone on, if there is one.
    pub health_listen: Option<SocketAddr>,
    /// The collector of traces, if there is one.
    pub collector: Option<OtlpEndpoint>,
    /// Who may connect and call, and how.
    pub server: ServerSettings,
    /// The limits of the rules.
    pub limits: Limits,
    /// How much the committer takes on.
    pub committer: CommitterSettings,
    /// How many connections serve reads.
    pub readers: u32,
    /// How often expired reservations are recorded; `None` for never.
    pub sweep_interval: Option<Duration>,
    /// How long to keep serving after a signal to stop.
    pub drain_delay: Duration,
    /// How long calls in progress may take to finish after that.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Checks the flags.
    ///
    /// # Errors
    /// With everything that is wrong, not just the first.
    pub fn parse(flags: &ServeFlags) -> Result<Self, ConfigError> {
        let ServeFlags { database, network, security, limits, capacity, shutdown, telemetry } = flags;
        let mut problems = Problems::default();
        let config = Self {
            database: database.database(in_kubernetes(), &mut problems),
            allow_unsafe_database: database.allow_unsafe_database,
            listen: network.listen(security.has_credentials(), &mut problems),
            metrics_listen: telemetry.metrics_listen(&mut problems),
            health_listen: network.health_listen(&mut problems),
            collector: telemetry.collector(&mut problems),
            server: ServerSettings {
                connections: network.connections(&mut problems),
                credentials: security.credentials(&mut problems),
                tls: security.tls(&mut problems),
                sample_ratio: telemetry.sample_ratio(&mut problems),
            },
            limits: limits.limits(&mut problems),
            committer: capacity.committer(&mut problems),
            readers: problems.number("--readers", &capacity.readers, 1, 64),
            sweep_interval: limits.sweep_interval(&mut problems),
            drain_delay: problems.duration("--drain-delay", &shutdown.drain_delay, Duration::ZERO),
            shutdown_grace: problems.duration("--shutdown-grace", &shutdown.shutdown_grace, Duration::ZERO),
        };
        problems.none_in(config)
    }
}

fn in_kubernetes() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: ServeFlags,
    }

    /// The configuration that flags make, without the environment.
    fn parse(flags: &[&str]) -> Result<Config, ConfigError> {
        use clap::{CommandFactory as _, FromArgMatches as _};
        let command = Program::command().mut_args(|arg| arg.env(None)).no_binary_name(true);
        let matches = command.try_get_matches_from(flags).unwrap();
        Config::parse(&Program::from_arg_matches(&matches).unwrap().flags)
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let wrong = [
            ("--listen", "0.0.0.0:50051"),
            ("--metrics-listen", "here"),
            ("--health-listen", "50052"),
            ("--writers", "0"),
            ("--queue-max", "many"),
            ("--drain-delay", "soon"),
            ("--lease-default", "25h"),
            ("--sweep-interval", "often"),
            ("--otlp-endpoint", "https://h"),
            ("--otlp-sample-ratio", "most"),
            ("--data-dir", "/d"),
            ("--database-url", "postgres://u:s3cret@h/d?sslmode=verify-full"),
        ];
        let error = parse(&wrong.map(|(flag, value)| [flag, value]).concat()).unwrap_err().to_string();
        let mut lines: Vec<&str> = error.lines().skip(1).collect();
        for (flag, _) in wrong {
            let is_about = |line: &&str| line.trim_start().split([' ', ':']).next() == Some(flag);
            let place = lines.iter().position(is_about);
            lines.remove(place.unwrap_or_else(|| panic!("{flag}: {error}")));
        }
        assert!(lines.is_empty(), "{error}");
    }

    #[test]
    fn the_defaults_are_right() {
        let config = parse(&["--database-url", "postgres://u@h/d"]).unwrap();
        assert!(
            matches!(&config.database, Database::Given(url) if url.to_string() == "postgres://u@h:5432/d")
        );
        assert_eq!(config.health_listen, None);
        assert_eq!(config.limits.admin_credit_max.get(), 1_000_000_000);
        assert_eq!(config.limits.lease_default.micros(), 600_000_000);
        assert_eq!(config.sweep_interval, Some(Duration::from_secs(1)));
        assert_eq!(config.drain_delay, Duration::from_secs(1));
        assert!((2..=64).contains(&config.committer.writers));
    }
}
