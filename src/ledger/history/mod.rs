//! The database of the replaced system, and its way into the book.
//!
//! * [`session`]: sees it as it stands at one moment.
//! * [`preflight`]: looks through all of it before anything is imported.
//! * [`source`]: reads it for an import; [`deposit`] does for both.
//! * [`import`]: compares it with the book, account by account, and adds what is missing.
//! * [`chunk`]: cuts rows into what is written in one transaction, and [`book`] writes it.

mod book;
mod chunk;
mod deposit;
mod error;
mod import;
mod preflight;
mod session;
mod source;
mod time;

pub use error::HistoryError;
pub use import::{Import, ImportEvent, ImportTotals};
pub use preflight::{Preflight, PreflightEvent, PreflightStep};
