//! Back-pressure of responses: how many unread pages are kept, for one connection and for all, and for how long.
//!
//! A response stays in memory until its client reads it. That does not matter for a balance, but a page is larger, and a
//! connection may request hundreds and read none. So a connection has few places for unread pages; and if all connections
//! together have too many, the oldest page is dropped: no client waits for another one to read.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tonic::{Status, body::Body, codegen::Bytes};

/// Unread pages of all connections together: a small part of a small machine's memory.
const PAGES_MAX: usize = 64;
/// The time in which a client must read a page.
const READING_MAX: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The size of the pieces that are handed to HTTP/2, which buffers whatever it gets, whether or not the client reads.
const PIECE_BYTES: usize = 16 * 1024;

/// The unread pages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<VecDeque<AbortHandle>>);

impl Pages {
    /// Waits until all pages are read.
    pub(crate) async fn all_read(&self) {
        while !self.unread().is_empty() {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The same body in small pieces, as fast as the client reads them. Body and place are dropped when the client has read it
    /// all, has disconnected, is too slow, or holds the oldest of too many pages.
    pub(crate) fn give(&self, body: Body, place: Option<OwnedSemaphorePermit>) -> Body {
        self.give_within(READING_MAX, body, place)
    }

    fn give_within(&self, reading_max: Duration, body: Body, place: Option<OwnedSemaphorePermit>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let (given, pieces) = mpsc::channel(1);
        let page = tokio::spawn(async move {
            let _place = place;
            let _ = timeout(reading_max, give(body, given)).await; // what is left over is not given
        });
        self.add(page.abort_handle());
        Body::new(Pieces { pieces, is_whole: false })
    }

    /// Adds a page, and drops the oldest if there are too many.
    fn add(&self, page: AbortHandle) {
        let mut pages = self.unread();
        if pages.len() >= PAGES_MAX
            && let Some(oldest) = pages.pop_front()
        {
            oldest.abort();
        }
        pages.push_back(page);
    }

    fn unread(&self) -> MutexGuard<'_, VecDeque<AbortHandle>> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner); // a list is whole at any time
        pages.retain(|page| !page.is_finished());
        pages
    }
}

/// Sends a body in pieces. Ends early if the client disconnects.
async fn give(mut body: Body, given: mpsc::Sender<Result<Frame<Bytes>, Status>>) -> Option<()> {
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(mut data)) => {
                while !data.is_empty() {
                    let piece = data.split_to(data.len().min(PIECE_BYTES));
                    given.send(Ok(Frame::data(piece))).await.ok()?;
                }
            }
            Ok(Err(trailers)) => given.send(Ok(trailers)).await.ok()?,
            Err(status) => given.send(Err(status)).await.ok()?,
        }
    }
    Some(())
}

/// The receiving end of a body in pieces.
struct Pieces {
    pieces: mpsc::Receiver<Result<Frame<Bytes>, Status>>,
    is_whole: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(piece) => {
                self.is_whole |= piece.as_ref().is_ok_and(Frame::is_trailers);
                Some(piece)
            }
            None if self.is_whole => None,
            None => Some(Err(Status::deadline_exceeded("the answer was not read in time"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_not_read_in_time_gives_its_place_back_and_is_never_taken_for_whole() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let body = Body::new("x".repeat(10 * PIECE_BYTES));
        let mut body = Pages::default().give_within(Duration::from_millis(50), body, Some(place));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), places.available_permits()), (PIECE_BYTES, 0));
        let _freed = timeout(Duration::from_secs(5), places.acquire()).await.unwrap();
        let mut last = body.frame().await.unwrap();
        while last.is_ok() {
            last = body.frame().await.unwrap();
        }
        assert_eq!(last.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waits_for_any_more_gives_its_place_back() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let body = Body::new("x".repeat(10 * PIECE_BYTES));
        drop(Pages::default().give_within(Duration::from_secs(3_600), body, Some(place)));
        let _freed = timeout(Duration::from_secs(5), places.acquire()).await.unwrap();
    }

    #[tokio::test]
    async fn of_too_many_unread_pages_the_oldest_gives_way() {
        let pages = Pages::default();
        let unread = || {
            let body = Body::new("x".repeat(10 * PIECE_BYTES));
            pages.give_within(Duration::from_secs(3_600), body, None)
        };
        let mut kept: Vec<Body> = (0..=PAGES_MAX).map(|_| unread()).collect();
        // These bodies have no trailers, so each ends as one that was cut: what counts is how much came before.
        let mut bytes = [0, 0];
        for (body, bytes) in kept.iter_mut().zip(&mut bytes) {
            while let Some(Ok(frame)) = body.frame().await {
                *bytes += frame.into_data().unwrap().len();
            }
        }
        assert!(bytes[0] < 10 * PIECE_BYTES, "the oldest is cut");
        assert_eq!(bytes[1], 10 * PIECE_BYTES, "the next one is whole");
    }
}
