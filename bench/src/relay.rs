//! A longer way to PostgreSQL: a relay that delays whatever passes it, as the network to another machine does.
//!
//! Each chunk is delivered so much later than it came, however many are under way, so the rate stays what it was. It works
//! with threads, since the timer of an asynchronous runtime knows whole milliseconds only.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;

const CHUNK_BYTES: usize = 64 * 1024;

/// Between what, and how far.
#[derive(Debug, Args)]
pub(crate) struct RelayFlags {
    /// The address to listen on.
    #[arg(long)]
    listen: String,
    /// The server's Unix socket.
    #[arg(long)]
    to: PathBuf,
    /// The delay each way, in microseconds.
    #[arg(long)]
    delay_us: u64,
}

/// A chunk, and when it is to be delivered.
#[derive(Debug)]
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

/// One end of a connection.
trait End: Read + Write + Send + Sized + 'static {
    fn another(&self) -> io::Result<Self>;
    fn close(&self, how: Shutdown);
}

impl End for TcpStream {
    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn close(&self, how: Shutdown) {
        let _ = self.shutdown(how); // fails if the other side was faster
    }
}

impl End for UnixStream {
    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn close(&self, how: Shutdown) {
        let _ = self.shutdown(how); // fails if the other side was faster
    }
}

/// Relays until it is killed.
pub(crate) fn serve(flags: &RelayFlags) -> anyhow::Result<()> {
    let RelayFlags { listen, to, delay_us } = flags;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    for client in listener.incoming() {
        if let Err(error) = client.and_then(|client| connect(client, to, Duration::from_micros(*delay_us))) {
            eprintln!("relay: {error}");
        }
    }
    Ok(())
}

fn connect(client: TcpStream, to: &Path, delay: Duration) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = UnixStream::connect(to)?;
    forward(client.another()?, server.another()?, delay);
    forward(server, client, delay);
    Ok(())
}

/// Starts the two threads of one direction.
fn forward(from: impl End, to: impl End, delay: Duration) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || receive(from, &sender, delay));
    thread::spawn(move || deliver(&receiver, to));
}

/// Takes what comes, until nothing more does or nobody wants it.
fn receive(mut from: impl End, sender: &Sender<Chunk>, delay: Duration) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let chunk = Chunk { due: Instant::now() + delay, bytes: buffer[..length].to_vec() };
        if sender.send(chunk).is_err() {
            break;
        }
    }
    from.close(Shutdown::Read);
}

/// Delivers each chunk when it is due, then tells the other side that there is no more.
fn deliver(receiver: &Receiver<Chunk>, mut to: impl End) {
    for Chunk { due, bytes } in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    to.close(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    /// A connection whose other end echoes, by way of the relay.
    fn echo() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        let (far, mut server) = UnixStream::pair().unwrap();
        forward(near.another().unwrap(), far.another().unwrap(), DELAY);
        forward(far, near, DELAY);
        thread::spawn(move || io::copy(&mut server.another().unwrap(), &mut server));
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client
    }

    #[test]
    fn an_answer_takes_the_delay_twice() {
        let (mut client, begin) = (echo(), Instant::now());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(begin.elapsed() >= 2 * DELAY, "{:?}", begin.elapsed());
    }

    #[test]
    fn chunks_keep_their_order_and_do_not_wait_for_each_other() {
        let (mut client, begin) = (echo(), Instant::now());
        let sent: Vec<u8> = (0..100).collect();
        for byte in &sent {
            client.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let mut received = vec![0; sent.len()];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, sent);
        assert!(begin.elapsed() < 50 * DELAY, "one after the other would take {:?}", 100 * 2 * DELAY);
    }

    #[test]
    fn an_end_is_passed_on() {
        let mut client = echo();
        client.write_all(b"last").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"last");
    }
}
