//! Opens the socket to a server, with keepalive, so that a server that vanishes is noticed.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::{Config, config::Host};
use tokio_util::either::Either;

pub(crate) type Socket = Either<TcpStream, UnixStream>;

/// Connects to the one address of a server.
pub(crate) async fn open(server: &Config) -> io::Result<Socket> {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    let Some(address) = server.get_hostaddrs().first() else {
        return match server.get_hosts().first() {
            Some(Host::Unix(dir)) => {
                Ok(Either::Right(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?))
            }
            Some(Host::Tcp(_)) | None => Err(io::Error::other("has no address")),
        };
    };
    let stream = TcpStream::connect((*address, port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(server.get_tcp_user_timeout().copied())?;
    if server.get_keepalives() {
        socket.set_tcp_keepalive(&keepalive(server))?;
    }
    Ok(Either::Left(stream))
}

fn keepalive(server: &Config) -> TcpKeepalive {
    let mut keepalive = TcpKeepalive::new().with_time(server.get_keepalives_idle());
    if let Some(interval) = server.get_keepalives_interval() {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(retries) = server.get_keepalives_retries() {
        keepalive = keepalive.with_retries(retries);
    }
    keepalive
}
