//! The SQLSTATE of errors. Texts depend on the server's language, and Diesel keeps only the text, so codes are read from the
//! wire as they arrive.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    error::SqlState,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

/// The tag of an error message, and the length of a message's head: a tag, and the length of the rest.
const ERROR: u8 = b'E';
const HEAD: usize = 5;

/// The first error that a session received since it was last cleared. Later errors in a transaction only say that it has
/// failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstError(Arc<Mutex<Option<SqlState>>>);

impl FirstError {
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    pub(crate) fn code(&self) -> Option<SqlState> {
        self.lock().clone()
    }

    fn tell(&self, code: SqlState) {
        self.lock().get_or_insert(code);
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Option<SqlState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of messages from the server; records the codes of errors.
pub(crate) struct Overheard<S> {
    stream: S,
    messages: Messages,
}

impl<S> Overheard<S> {
    /// `is_asked_for_tls`: whether the first byte is the answer to a request for TLS, and not a message.
    pub(crate) fn new(stream: S, first_error: &FirstError, is_asked_for_tls: bool) -> Self {
        Self { stream, messages: Messages::new(first_error.clone(), usize::from(is_asked_for_tls)) }
    }
}

/// The position of a stream within the server's messages.
struct Messages {
    first_error: FirstError,
    /// How many bytes to skip.
    rest: usize,
    /// The head of a message, and the body of an error, as far as received.
    kept: Vec<u8>,
}

impl Messages {
    fn new(first_error: FirstError, rest: usize) -> Self {
        Self { first_error, rest, kept: Vec::new() }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left_out = self.rest.min(bytes.len());
            self.rest -= left_out;
            bytes = &bytes[left_out..];
            let wanted = self.length().unwrap_or(HEAD) - self.kept.len();
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            self.kept.extend_from_slice(now);
            bytes = later;
            let Some(length) = self.length() else { continue };
            if self.kept[0] != ERROR {
                self.rest = length - HEAD;
                self.kept.clear();
            } else if self.kept.len() == length {
                if let Some(code) = code(&self.kept[HEAD..]) {
                    self.first_error.tell(code);
                }
                self.kept.clear();
            }
        }
    }

    /// The length of the message, once its head is complete.
    fn length(&self) -> Option<usize> {
        let (_, rest) = self.kept.split_first()?;
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
        Some(length.saturating_add(1).max(HEAD))
    }
}

/// The code of an error: the field with the tag `C`. A field is a tag and a zero-terminated text.
fn code(fields: &[u8]) -> Option<SqlState> {
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"))?;
    Some(SqlState::from_code(std::str::from_utf8(code).ok()?))
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.messages.hear(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Overheard<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Starts TLS, and reads the messages inside it.
pub(crate) struct OverheardTls<T> {
    pub(crate) tls: T,
    pub(crate) first_error: FirstError,
}

impl<S, T> TlsConnect<Overheard<S>> for OverheardTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
    T::Error: 'static,
    T::Stream: 'static,
{
    type Stream = Overheard<T::Stream>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, Self::Error>>;

    fn connect(self, outside: Overheard<S>) -> Self::Future {
        let Self { tls, first_error } = self;
        tls.connect(outside.stream).map_ok(move |inside| Overheard::new(inside, &first_error, false)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[letter], &length[..], body].concat()
    }

    #[test]
    fn the_first_error_is_told_wherever_its_messages_are_cut() {
        let stream = [
            b"N".to_vec(),
            message(b'Z', b"I"),
            message(b'N', b"SHINWEIS\0C01000\0M\0\0"),
            message(b'1', b""),
            message(b'D', b"E\0\0\0\x0cC53100\0\0"),
            message(b'E', "SFEHLER\0VERROR\0C40P01\0MVerklemmung entdeckt\0\0".as_bytes()),
            message(b'E', b"SFEHLER\0C25P02\0\0"),
            message(b'Z', b"E"),
        ]
        .concat();
        for length in 1..=stream.len() {
            let first_error = FirstError::default();
            let mut messages = Messages::new(first_error.clone(), 1);
            stream.chunks(length).for_each(|bytes| messages.hear(bytes));
            assert_eq!(first_error.code(), Some(SqlState::T_R_DEADLOCK_DETECTED), "in pieces of {length}");
            first_error.forget();
            assert_eq!(first_error.code(), None);
        }
    }
}
