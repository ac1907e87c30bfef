//! HTTP/2 as no library would send it: frames by hand, over a socket.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// With which every connection begins.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const CONTINUATION: u8 = 9;

pub const NO_FLAGS: u8 = 0;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The setting of how much of a stream may be sent before the client says that it may be more.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The first thing of a client: the preface and its settings.
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    [PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &settings)].concat()
}

/// The headers of a call, as HPACK literals that nobody needs to remember.
pub fn call_headers(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let call = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    call.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &text(name)[..], &text(value)].concat()
}

/// A text with its length, which is a number with a prefix of seven bits (RFC 7541, section 5.1).
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len().checked_sub(127) {
        None => bytes.push(u8::try_from(text.len()).unwrap()),
        Some(mut rest) => {
            bytes.push(127);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// A message as gRPC sends it: a flag, its length, itself.
pub fn message(flag: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(length).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A socket.
pub struct Raw(TcpStream);

impl Raw {
    pub async fn connect(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// A connection on which these bytes were sent.
    pub async fn open(address: &str, bytes: &[u8]) -> Self {
        let mut raw = Self::connect(address).await;
        assert!(raw.send(bytes).await);
        raw
    }

    /// Sends bytes; whether that was possible. Waits for a peer that takes none, but not for ever.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(Duration::from_secs(1), self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Reads until the peer has closed; whether it did in time.
    pub async fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut buffer = [0; 4096];
        let closed = async { while !matches!(self.0.read(&mut buffer).await, Ok(0) | Err(_)) {} };
        timeout(limit, closed).await.is_ok()
    }
}
