//! History of the coordinator that this ledger replaces, taken over into the book. Pure: rows in, entries out.
//!
//! Nothing is dropped and nothing is silently mended. A [`HistoryRow`] becomes one entry, with its amount, its reference
//! and its time; what the book cannot keep as it was, the entry's metadata does: `note` has the names. What does not add up is
//! balanced by an entry of its own, an adjustment, which says why.
//!
//! An [`AccountImport`] adds the rows of one account, and knows how far it got: [`Imported`].
//!
//! Before that, a [`Survey`] has what is there, and each [`Irregularity`] by its [`Kind`].

mod account;
mod deposit;
mod figures;
mod finding;
mod irregularity;
mod note;
mod overflow;
mod row;
mod survey;

pub use account::{AccountImport, Claim, Imported, NoRoom, Standing};
pub use deposit::{Deposit, DepositSurvey, Sessions};
pub use figures::{AccountFigures, OddRows};
pub use finding::Finding;
pub use irregularity::{Effect, Irregularity, Kind};
pub use note::{ADJUSTMENT_ACTOR, Adjustment, IMPORTED_ID};
pub use overflow::OverflowSurvey;
pub use row::{
    Direction, HistoryRow, KNOWN_TYPES, Meaning, Position, SESSION_PREFIX, stripe_deposit_types,
    types_of_direction,
};
pub use survey::{
    ACCOUNT_PLACEHOLDER, RESERVE_PLACEHOLDER, References, RepeatedReference, Survey, TypeFigures, Verdict,
};
