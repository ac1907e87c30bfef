//! Connects to the first server of a URL that will do, waiting for none of them without a bound.

use std::{error::Error, time::Duration};

use diesel::{ConnectionError, result::ConnectionResult};
use diesel_async::AsyncPgConnection;
use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Config,
    config::{Host, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database_url::{CONNECT_TIMEOUT_DEFAULT, DatabaseUrl, server_name};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write: no standby will do.
    Write,
    /// To read: as the URL says.
    Read,
    /// To see whether there is a database, and with which schema: any server will do.
    Look,
}

/// Connects to the first server that will do, in the order of the URL.
pub(super) async fn connect(url: &DatabaseUrl, purpose: Purpose) -> ConnectionResult<AsyncPgConnection> {
    let mut servers = url.servers.clone();
    if url.in_any_order {
        fastrand::shuffle(&mut servers);
    }
    let mut failures = Vec::new();
    for mut server in servers {
        match purpose {
            Purpose::Write => server.target_session_attrs(TargetSessionAttrs::ReadWrite),
            Purpose::Read => &mut server,
            Purpose::Look => server.target_session_attrs(TargetSessionAttrs::Any),
        };
        match connect_to_server(&server, &url.tls).await {
            Ok(connection) => return Ok(connection),
            Err(why) => failures.push(format!("{}: {why}", server_name(&server))),
        }
    }
    Err(ConnectionError::BadConnection(failures.join("; ")))
}

/// Connects to the first address of a server that answers in time.
async fn connect_to_server(server: &Config, tls: &MakeRustlsConnect) -> Result<AsyncPgConnection, String> {
    let patience = server.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT);
    let mut failure = "its name has no address".to_owned();
    for address in in_time(patience, addresses(server)).await? {
        match in_time(patience, connect_to_address(&address, tls)).await {
            Ok(connection) => return Ok(connection),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

async fn in_time<T>(
    patience: Duration,
    attempt: impl Future<Output = Result<T, Box<dyn Error + Send + Sync>>>,
) -> Result<T, String> {
    let done = timeout(patience, attempt).await.map_err(|_| format!("no answer within {patience:?}"))?;
    done.map_err(|error| whole_text(error.as_ref()))
}

/// The same server, once for each of its addresses.
async fn addresses(server: &Config) -> Result<Vec<Config>, Box<dyn Error + Send + Sync>> {
    let ([Host::Tcp(name)], []) = (server.get_hosts(), server.get_hostaddrs()) else {
        return Ok(vec![server.clone()]);
    };
    let found = lookup_host((name.as_str(), 0)).await?;
    Ok(found.map(|address| server.clone().hostaddr(address.ip()).clone()).collect())
}

async fn connect_to_address(
    server: &Config,
    tls: &MakeRustlsConnect,
) -> Result<AsyncPgConnection, Box<dyn Error + Send + Sync>> {
    let (client, connection) = server.connect(tls.clone()).await?;
    Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
}

/// An error and all of its causes.
fn whole_text(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
