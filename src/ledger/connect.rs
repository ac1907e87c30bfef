//! Connects to the first server of a URL that will do, waiting for none of them without a bound.

use std::{error::Error, time::Duration};

use diesel::{ConnectionError, result::ConnectionResult};
use diesel_async::AsyncPgConnection;
use futures_util::FutureExt as _;
use tokio::{net::lookup_host, time::timeout};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database_url::{CONNECT_TIMEOUT_DEFAULT, DatabaseUrl, server_name};

/// What talks to the server on behalf of a [`Client`].
type PgConnection = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;
type Attempt<T> = Result<T, Box<dyn Error + Send + Sync>>;

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
    connect_as(url, purpose, async |client, connection| {
        Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
    })
    .await
}

/// The same without Diesel, for what Diesel cannot do: COPY, and rows as they come. The session ends with the client.
pub(super) async fn connect_without_diesel(url: &DatabaseUrl, purpose: Purpose) -> ConnectionResult<Client> {
    connect_as(url, purpose, async |client, connection| {
        // How it ends is told to whoever uses the client.
        tokio::spawn(connection.map(drop));
        Ok(client)
    })
    .await
}

async fn connect_as<T>(
    url: &DatabaseUrl,
    purpose: Purpose,
    begin: impl AsyncFn(Client, PgConnection) -> Attempt<T>,
) -> ConnectionResult<T> {
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
        match connect_to_server(&server, &url.tls, &begin).await {
            Ok(connection) => return Ok(connection),
            Err(why) => failures.push(format!("{}: {why}", server_name(&server))),
        }
    }
    Err(ConnectionError::BadConnection(failures.join("; ")))
}

/// Connects to the first address of a server that answers in time.
async fn connect_to_server<T>(
    server: &Config,
    tls: &MakeRustlsConnect,
    begin: &impl AsyncFn(Client, PgConnection) -> Attempt<T>,
) -> Result<T, String> {
    let patience = server.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT);
    let mut failure = "its name has no address".to_owned();
    for address in in_time(patience, addresses(server)).await? {
        let attempt = async {
            let (client, connection) = address.connect(tls.clone()).await?;
            begin(client, connection).await
        };
        match in_time(patience, attempt).await {
            Ok(connection) => return Ok(connection),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

async fn in_time<T>(patience: Duration, attempt: impl Future<Output = Attempt<T>>) -> Result<T, String> {
    let done = timeout(patience, attempt).await.map_err(|_| format!("no answer within {patience:?}"))?;
    done.map_err(|error| whole_text(error.as_ref()))
}

/// The same server, once for each of its addresses.
async fn addresses(server: &Config) -> Attempt<Vec<Config>> {
    let ([Host::Tcp(name)], []) = (server.get_hosts(), server.get_hostaddrs()) else {
        return Ok(vec![server.clone()]);
    };
    let found = lookup_host((name.as_str(), 0)).await?;
    Ok(found.map(|address| server.clone().hostaddr(address.ip()).clone()).collect())
}

/// An error and all of its causes.
fn whole_text(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
