//! The places of a caller among the calls in progress.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;

/// The places of the caller of a request: a call takes one, and a list of operations one for each.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

/// Places that are taken until all clones of this are gone. With a response they are taken until it has been sent.
#[derive(Debug, Clone)]
pub(super) struct TakenPlaces(#[expect(dead_code, reason = "its end frees them")] Arc<OwnedSemaphorePermit>);

impl Places {
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self(places)
    }

    /// Takes so many places.
    pub(super) fn take(&self, count: usize) -> Result<TakenPlaces, Failure> {
        let count = u32::try_from(count).map_err(|_| Failure::TooManyCalls)?;
        let taken = Arc::clone(&self.0).try_acquire_many_owned(count).map_err(|_| Failure::TooManyCalls)?;
        Ok(TakenPlaces(Arc::new(taken)))
    }
}
