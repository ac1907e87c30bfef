//! The flags about addresses and connections.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::problems::Problems;
use crate::grpc::ConnectionSettings;

/// Shorter, and a connection would end before it is of use.
const CONNECTION_AGE_MIN: Duration = Duration::from_secs(1);

#[derive(Clone, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkFlags {
    /// Address to serve gRPC on. It must be a loopback address unless --credentials is set.
    #[arg(long, env = "BILLING_LISTEN", default_value = "127.0.0.1:50051", value_name = "ADDRESS:PORT")]
    listen: String,
    /// Second address, which serves health checks only, without TLS and credentials. Kubelets need it where --tls-cert is set.
    #[arg(long, env = "BILLING_HEALTH_LISTEN", value_name = "ADDRESS:PORT")]
    health_listen: Option<String>,
    /// Maximum number of client connections. Further ones are closed at once. It bounds memory and open files.
    #[arg(long, env = "BILLING_CONNECTIONS_MAX", default_value = "512", value_name = "COUNT")]
    connections_max: String,
    /// Age at which a client is asked to reconnect, so that clients find new replicas. At twice this age its connection is cut.
    #[arg(long, env = "BILLING_CONNECTION_AGE_MAX", default_value = "10m", value_name = "DURATION")]
    connection_age_max: String,
}

impl NetworkFlags {
    pub(super) fn listen(&self, has_credentials: bool, problems: &mut Problems) -> SocketAddr {
        let address = problems.address("--listen", &self.listen);
        if !address.ip().is_loopback() && !has_credentials {
            let why = "since there are no --credentials";
            problems.add(format!("--listen must be a loopback address, {why}, not {}", self.listen));
        }
        address
    }

    /// Any address will do: health is open to everybody on the main port, too.
    pub(super) fn health_listen(&self, problems: &mut Problems) -> Option<SocketAddr> {
        self.health_listen.as_deref().map(|text| problems.address("--health-listen", text))
    }

    pub(super) fn connections(&self, problems: &mut Problems) -> ConnectionSettings {
        ConnectionSettings {
            connections_max: problems.number("--connections-max", &self.connections_max, 1, 1_000_000),
            age_max: problems.duration("--connection-age-max", &self.connection_age_max, CONNECTION_AGE_MIN),
        }
    }
}
