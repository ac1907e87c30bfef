//! JSON Lines: an object for each entry. Sequences and sums are strings, as in `ProtoJSON`.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{Document, columns::Columns};
use crate::accounting::{Entry, EntryType};

pub(super) struct Jsonl<W: Write>(pub(super) W);

impl<W: Write> Document for Jsonl<W> {
    fn entry(&mut self, entry: &Entry, _refunded: Option<EntryType>) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &Columns::of(entry, &entry.note.metadata, Cow::Borrowed))?;
        self.0.write_all(b"\n")
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
