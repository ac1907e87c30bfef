//! Connections: how many, from whom, and for how long. Whatever a client does or leaves undone, it takes up no more than
//! its place, and not for ever.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::tls::{ClientCertificate, Tls};
use crate::reload::Reloaded;

/// How long a client may take from connecting to the first bytes of HTTP/2, the TLS handshake included.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// With which bytes HTTP/2 begins (RFC 9113, section 3.4): how many they are.
const GREETING_BYTES: usize = 24;
/// How long to wait after a connection could not be accepted, so that it is not tried in vain all the time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// How many there are at once at most. Further ones are closed at once.
    pub connections_max: usize,
    /// After how long a connection is asked to end. It is cut when it has not after as long again.
    pub age_max: Duration,
}

/// A connection with a client.
pub(super) struct Connection {
    transport: Transport,
    certificate: ClientCertificate,
    /// When the connection is cut: at first when it should have begun to speak, then when it has grown too old.
    end: Pin<Box<Sleep>>,
    greeted_bytes: usize,
    last_end: Instant,
    _place: OwnedSemaphorePermit,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts connections for as long as the stream is held.
pub(super) fn accept(
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
                    // Where there is no place the connection is dropped, and so closed.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (accepted, tls) = (accepted.clone(), tls.as_ref().map(Reloaded::current));
                    tokio::spawn(async move {
                        if let Ok(connection) = Connection::begin(client, place, settings.age_max, tls).await
                        {
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
        tls: Option<Arc<Tls>>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let greeted_by = now + GREETING_MAX;
        client.set_nodelay(true)?;
        let (transport, certificate) = match tls {
            None => (Transport::Plain(client), ClientCertificate::None),
            Some(tls) => {
                let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(client);
                let stream = timeout_at(greeted_by, handshake).await??;
                let certificate = tls.judge(stream.get_ref().1.peer_certificates());
                (Transport::Tls(Box::new(stream)), certificate)
            }
        };
        Ok(Self {
            transport,
            certificate,
            end: Box::pin(sleep_until(greeted_by)),
            greeted_bytes: 0,
            last_end: now + age_max + age_max,
            _place: place,
        })
    }

    fn count_greeting(&mut self, bytes: usize) {
        if self.greeted_bytes < GREETING_BYTES {
            self.greeted_bytes += bytes;
            if self.greeted_bytes >= GREETING_BYTES {
                self.end.as_mut().reset(self.last_end);
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ClientCertificate;

    fn connect_info(&self) -> ClientCertificate {
        self.certificate.clone()
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
        let before = buffer.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        self.count_greeting(buffer.filled().len() - before);
        read
    }
}

/// Passes a call on to the transport.
macro_rules! delegate {
    ($connection:expr, $method:ident($($argument:expr),*)) => {
        match &mut $connection.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
