//! The database of the replaced system, and its way into the book.
//!
//! * [`source`]: reads it, as it stands at one moment.
//! * [`import`]: compares it with the book, account by account, and adds what is missing.
//! * [`chunk`]: cuts rows into what is written in one transaction, and [`book`] writes it.

mod book;
mod chunk;
mod error;
mod import;
mod source;
mod time;

pub use error::HistoryError;
pub use import::{Import, ImportEvent, ImportTotals};
