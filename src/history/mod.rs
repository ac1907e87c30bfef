//! The replaced system: its database, and its way into the book. Nothing else knows of it: this room can be deleted when
//! all coordinators have moved in.
//!
//! * `rules`: what becomes of each row; pure.
//! * `session`: sees it as it stands at one moment.
//! * `preflight`: looks through all of it before anything is imported.
//! * `source`: reads it for an import; `deposit` does for both.
//! * `import`: compares it with the book, account by account, and adds what is missing; `progress` is how far it is.
//! * `chunk`: cuts rows into what is written at once; `shelf` spreads it over the books, `book` decides what becomes of it, and `write`
//!   writes it.

mod book;
mod chunk;
mod deposit;
mod error;
mod import;
mod preflight;
mod progress;
pub mod rules;
mod session;
mod shelf;
mod source;
mod time;
mod write;

pub use error::HistoryError;
pub use import::Import;
pub use preflight::{Preflight, PreflightEvent, PreflightStep};
pub use progress::{ImportEvent, ImportTotals};
