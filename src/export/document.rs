//! What every format can do: write entries, one at a time, and end.

use std::io;

use crate::accounting::Entry;

/// A journal that is being written.
pub trait Document {
    /// Writes an entry. They come by account and sequence.
    ///
    /// # Errors
    /// When it cannot be written.
    fn entry(&mut self, entry: &Entry) -> io::Result<()>;

    /// Writes what comes after the last entry.
    ///
    /// # Errors
    /// When it cannot be written.
    fn end(&mut self) -> io::Result<()>;
}
