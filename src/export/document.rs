//! What every format does: write entries, one at a time, and finish.

use std::io;

use crate::accounting::{Entry, EntryType};

/// A journal that is being written.
pub trait Document {
    /// Writes an entry, and for a refund the type of what it refunds. Entries are ordered by account and sequence.
    ///
    /// # Errors
    /// When it cannot be written.
    fn entry(&mut self, entry: &Entry, refunded: Option<EntryType>) -> io::Result<()>;

    /// Finishes the document.
    ///
    /// # Errors
    /// When it cannot be written.
    fn end(&mut self) -> io::Result<()>;
}
