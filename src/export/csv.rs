//! Comma-separated values (RFC 4180), safe to open in a spreadsheet.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use csv::QuoteStyle;
use serde_json::json;

use super::{
    Document,
    columns::{Columns, NAMES},
};
use crate::accounting::{Entry, EntryType, Metadata};

/// Characters with which a formula begins in some spreadsheet, including full-width forms. Some spreadsheets strip leading
/// blanks first.
const FORMULA_BEGINNINGS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

pub(super) struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        writeln!(out, "{}", NAMES.join(","))?;
        // Fields without a comma are quoted, too: a spreadsheet may split at semicolons, tabs or blanks.
        let mut writer = csv::WriterBuilder::new();
        Ok(Self(writer.has_headers(false).quote_style(QuoteStyle::NonNumeric).from_writer(out)))
    }
}

impl<W: Write> Document for Csv<W> {
    fn entry(&mut self, entry: &Entry, _refunded: Option<EntryType>) -> io::Result<()> {
        let columns = Columns::of(entry, metadata_text(&entry.note.metadata), safe);
        self.0.serialize(columns).map_err(io_error)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error of the output itself: a closed pipe, say, or a full disk.
fn io_error(error: csv::Error) -> io::Error {
    let said = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() { error } else { io::Error::other(said) }
}

/// Makes a text safe for spreadsheets: puts an apostrophe in front if it could be a formula, or begins with a blank or an
/// apostrophe. Removing one leading apostrophe restores the text.
fn safe(text: &str) -> Cow<'_, str> {
    let is_unsafe =
        |c: char| FORMULA_BEGINNINGS.contains(&c) || c == '\'' || c.is_whitespace() || c.is_control();
    if text.starts_with(is_unsafe) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Metadata as a JSON object in one field.
fn metadata_text(metadata: &Metadata) -> Option<String> {
    (!metadata.is_empty()).then(|| json!(metadata).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_formula_is_a_text_and_can_be_had_back() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", " =1", "\u{a0}=1", "\0=1", "＝1", "'quoted",
            "''", " ",
        ] {
            let safe = safe(formula);
            assert_eq!(safe.strip_prefix('\''), Some(formula));
        }
        for text in ["", "acme", "a=b", "5-3", "\"", "a'", "a ", "é"] {
            assert_eq!(safe(text), text);
        }
    }
}
