//! Comma-separated values (RFC 4180), safe to open in a spreadsheet.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{
    Document,
    columns::{Columns, NAMES},
};
use crate::accounting::{Entry, Metadata};

/// A text that begins so is a formula to a spreadsheet, or looks as if this module had made it safe.
const UNSAFE_BEGINNINGS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// A table that is being written.
pub(super) struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub(super) fn begin(out: W) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
        writer.write_record(NAMES).map_err(io_error)?;
        Ok(Self(writer))
    }
}

impl<W: Write> Document for Csv<W> {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let columns = Columns::of(entry, metadata_text(&entry.note.metadata), safe);
        self.0.serialize(columns).map_err(io_error)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error of the output itself, which tells a closed pipe from a full disk.
fn io_error(error: csv::Error) -> io::Error {
    let said = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() { error } else { io::Error::other(said) }
}

/// A text that no spreadsheet runs: an apostrophe is put in front of one that could be a formula. Taking one apostrophe off
/// the front gives the text back.
fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(UNSAFE_BEGINNINGS) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Metadata as a JSON object in one field.
fn metadata_text(metadata: &Metadata) -> Option<String> {
    let object = || metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    (!metadata.is_empty()).then(|| serde_json::Value::Object(object().collect()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_formula_is_a_text_and_can_be_had_back() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "''"] {
            let safe = safe(formula);
            assert_eq!(safe.strip_prefix('\''), Some(formula));
        }
        for text in ["", "acme", "a=b", "5-3", "\"", "a'"] {
            assert_eq!(safe(text), text);
        }
    }
}
