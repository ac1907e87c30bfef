//! Accepts connections, within bounds on their number and age. Whatever a client does or fails to do, it occupies one place,
//! and for a limited time.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::{
    bounds::ConnectionSettings,
    peer::Peer,
    tls::{ClientChain, Tls},
};
use crate::reload::Reloaded;

/// How long a client may take from connecting to the end of the HTTP/2 preface, TLS handshake included.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The pause after a failed accept, to avoid a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listen backlog, if the kernel allows it. Beyond it the kernel drops connection attempts, and clients retry only after a
/// second: with the usual 128, any burst of clients would meet that.
const BACKLOG: u32 = 4_096;

/// A connection with a client.
pub(crate) struct Connection {
    transport: Transport,
    peer: Arc<Peer>,
    /// The part of the preface that the server has not read yet; it was consumed before the server got the connection.
    greeting: &'static [u8],
    /// When the connection is cut, because of its age.
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Listens on an address, with a large backlog. Needs a runtime.
///
/// # Errors
/// When the address is in use, or not one of this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?; // connections of an earlier run may still be closing
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the stream is dropped. Yields only those that have sent the HTTP/2 preface: a server that shuts
/// down does not wait for others.
pub(crate) fn accept(
    listener: TcpListener,
    settings: ConnectionSettings,
    tls: Option<Reloaded<Tls>>,
) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(settings.connections_max));
        loop {
            let client = tokio::select! {
                client = listener.accept() => client,
                () = accepted.closed() => return,
            };
            match client {
                Ok((client, _)) => {
                    // Without a free place the connection is dropped, and so closed.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (accepted, tls) = (accepted.clone(), tls.clone());
                    tokio::spawn(async move {
                        let connection = tokio::select! {
                            connection = Connection::begin(client, place, settings.age_max, tls) => connection,
                            () = accepted.closed() => return,
                        };
                        if let Ok(connection) = connection {
                            let _ = accepted.send(Ok(connection)).await; // a server that has stopped takes none
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

impl Connection {
    async fn begin(
        client: TcpStream,
        place: OwnedSemaphorePermit,
        age_max: Duration,
        tls: Option<Reloaded<Tls>>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        client.set_nodelay(true)?;
        let (transport, certificates) = timeout_at(now + GREETING_MAX, greeted(client, tls)).await??;
        let end = Box::pin(sleep_until(now + age_max + age_max));
        let peer = Peer::new(certificates);
        Ok(Self { transport, peer, greeting: GREETING, end, _place: place })
    }
}

/// Waits for the HTTP/2 preface, within TLS if configured. Until then a client costs no more than its socket.
async fn greeted(
    mut client: TcpStream,
    tls: Option<Reloaded<Tls>>,
) -> io::Result<(Transport, Option<ClientChain>)> {
    let Some(tls) = tls else {
        read_greeting(&mut client).await?;
        return Ok((Either::Left(client), None));
    };
    let mut stream = TlsAcceptor::from(Arc::clone(&tls.current().config)).accept(client).await?;
    read_greeting(&mut stream).await?;
    let certificates = ClientChain::new(stream.get_ref().1.peer_certificates(), tls);
    Ok((Either::Right(Box::new(stream)), Some(certificates)))
}

/// Reads the preface, and fails at the first wrong byte.
async fn read_greeting(client: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut greeting = [0; GREETING.len()];
    let mut length = 0;
    while length < greeting.len() {
        match client.read(&mut greeting[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
        if greeting[..length] != GREETING[..length] {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(buffer.remaining().min(self.greeting.len()));
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.transport).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
