//! What every format does: write entries, one at a time, and finish.

use std::io;

use crate::accounting::Entry;

/// A journal that is being written.
pub trait Document {
    /// Writes an entry. Entries are ordered by account and sequence.
    ///
    /// # Errors
    /// When it cannot be written.
    fn entry(&mut self, entry: &Entry) -> io::Result<()>;

    /// Finishes the document.
    ///
    /// # Errors
    /// When it cannot be written.
    fn end(&mut self) -> io::Result<()>;
}
