//! The audit: is the book consistent? Pure: no SQL, no clock, and little memory whatever the size of the book.
//!
//! The rows of a book arrive as [`Fact`]s in one order ([`Fact::order`]), as if all tables were merged: account by account;
//! for each account its row, its entries with the rows that refer to them, its keys, its reservations with their entries,
//! and its grants. Rows that belong together arrive together, so the [`Auditor`] keeps one account, one entry, one key, one
//! reservation and the grants of one account in memory at a time, whether the account has three entries or three million.
//!
//! As far as possible one damage is reported as one [`Difference`]: after a figure that does not follow from its
//! predecessor, the auditor continues from whichever of the two the next entry agrees with.

mod account;
mod auditor;
mod check;
mod entries;
mod entry_types;
mod fact;
mod grant_moves;
mod grants;
mod reservations;
mod running;

pub use auditor::{Auditor, Totals};
pub use check::{Check, Difference, Place};
pub use fact::{
    AccountFact, AnswerFact, AnswerTable, ClaimFact, EntryFact, Fact, GrantFact, LegsFact, Order, ReplayFact,
    ReservationFact, Row, Status, StepFact, UndoingFact, UndoneFact,
};
