//! History of the coordinator that this ledger replaces, taken over into the book. Pure: rows in, entries out.
//!
//! Nothing is dropped and nothing is silently mended. A [`HistoryRow`] becomes one entry, with its amount, its reference
//! and its time; what the book cannot keep as it was, the entry's metadata does: [`note`](mod@note) has the names. What does not add up is
//! balanced by an entry of its own, an adjustment, which says why.
//!
//! An [`AccountImport`] adds the rows of one account, and knows how far it came: [`Imported`].

mod account;
mod finding;
mod note;
mod row;

pub use account::{AccountImport, Claim, Imported, NoRoom, Standing};
pub use finding::Finding;
pub use note::{ADJUSTMENT_ACTOR, Adjustment, IMPORTED_ID};
pub use row::{HistoryRow, KNOWN_TYPES, Meaning, Position};
