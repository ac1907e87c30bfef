//! The places of a caller among the calls in progress.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;

/// The places of the caller of a request: a call takes one, and a list of operations one for each.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self(places)
    }

    /// Takes so many places.
    pub(super) fn take(&self, count: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let count = u32::try_from(count).map_err(|_| Failure::TooManyCalls)?;
        Arc::clone(&self.0).try_acquire_many_owned(count).map_err(|_| Failure::TooManyCalls)
    }
}
