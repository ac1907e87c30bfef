//! The audit: does the book say the same everywhere? Pure: no SQL, no clock, and no more memory for a larger book.
//!
//! The rows of a book come as [`Fact`]s in one order ([`Fact::order`]), as if all tables were merged: account after
//! account; of each its row, its entries with what points to them, its keys, its reservations with their entries. So
//! whatever belongs together comes together, and the [`Auditor`] remembers one account, one entry, one key and one
//! reservation at a time, whether the account has three entries or three million.
//!
//! One damage is one [`Difference`], as far as that can be told: after a figure that does not follow from the one before
//! it, the auditor goes on from whichever of the two the next entry follows from.

mod account;
mod answers;
mod auditor;
mod check;
mod entries;
mod fact;
mod reservations;
mod running;

pub use auditor::{Auditor, Totals};
pub use check::{Check, Difference, Place};
pub use fact::{
    AccountFact, AnswerFact, AnswerTable, ClaimFact, EntryFact, Fact, Order, RefundFact, ReplayFact,
    ReservationFact, Row, Status, StepFact,
};
