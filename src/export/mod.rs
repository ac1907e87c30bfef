//! The journal in other formats: tables for people and programs, and double-entry bookkeeping. Pure: entries in, text out,
//! one entry at a time.
//!
//! * [`Format::Csv`] and [`Format::Jsonl`] write entries unchanged: integers in micro-USD, in columns whose names say so.
//! * [`Format::Hledger`] and [`Format::Beancount`] write balanced transactions in USD, with an account for the source or
//!   destination of the money: `chart` has the chart of accounts.

mod beancount;
mod chart;
mod columns;
mod csv;
mod document;
mod hledger;
mod jsonl;
mod names;

use std::{
    io::{self, Write},
    str::FromStr,
};

pub use document::Document;

/// A format of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, with a header.
    Csv,
    /// JSON Lines: an object for each entry.
    Jsonl,
    /// A journal for hledger.
    Hledger,
    /// A ledger for Beancount.
    Beancount,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Csv, Self::Jsonl, Self::Hledger, Self::Beancount];

    /// The format's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Hledger => "hledger",
            Self::Beancount => "beancount",
        }
    }

    /// Begins a journal in this format.
    ///
    /// # Errors
    /// When its beginning cannot be written.
    pub fn begin<'w>(self, out: impl Write + 'w) -> io::Result<Box<dyn Document + 'w>> {
        Ok(match self {
            Self::Csv => Box::new(csv::Csv::begin(out)?),
            Self::Jsonl => Box::new(jsonl::Jsonl(out)),
            Self::Hledger => Box::new(hledger::Hledger::begin(out)?),
            Self::Beancount => Box::new(beancount::Beancount::begin(out)?),
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|format| format.name() == text);
        named.ok_or_else(|| format!("must be one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
