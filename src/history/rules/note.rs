//! What the metadata of imported entries says, and of the entries that balance them.

use crate::accounting::{Entry, Metadata};

use super::HistoryRow;

/// The row's number in the replaced system. Every imported entry has it.
pub const IMPORTED_ID: &str = "imported_id";
/// The type that the row had there, where it is not the entry's own.
const IMPORTED_ENTRY_TYPE: &str = "imported_entry_type";
/// The balance that was recorded after the row, where it is not the entry's own.
const IMPORTED_BALANCE_AFTER: &str = "imported_balance_after";
/// The row's time, where it cannot be the entry's: the entry before it is later, or it is in the future, or before 1970.
const IMPORTED_CREATE_TIME: &str = "imported_create_time";
/// What an adjustment is for.
const IMPORTED_ADJUSTMENT: &str = "imported_adjustment";

/// Who grants an adjustment.
pub const ADJUSTMENT_ACTOR: &str = "billing import";

/// Why an adjustment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// The balance was not the sum of the rows.
    Balance {
        /// What the balance was.
        balance: i64,
        /// What the rows, and all adjustments before this one, came to.
        sum: i128,
    },
    /// No balance can hold what was before the next row and its amount.
    Overflow {
        /// The next row's number in the replaced system.
        id: i64,
    },
    /// The replaced system let so much of the balance leave.
    Withdrawable {
        /// What may leave.
        withdrawable: i64,
    },
}

impl Adjustment {
    /// Why, in words.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Self::Balance { balance, sum } => format!(
                "the balance in the replaced system was {balance} micro-USD, and its entries came to {sum}"
            ),
            Self::Overflow { id } => {
                format!("no balance can hold this one and row {id} of the replaced system")
            }
            Self::Withdrawable { withdrawable } => {
                format!("the replaced system let {withdrawable} micro-USD of the balance leave")
            }
        }
    }

    pub(super) fn metadata(self) -> Metadata {
        let name = match self {
            Self::Balance { .. } => "balance",
            Self::Overflow { .. } => "overflow",
            Self::Withdrawable { .. } => "withdrawable",
        };
        Metadata::from([(IMPORTED_ADJUSTMENT.to_owned(), name.to_owned())])
    }
}

/// What the entry of a row remembers of it.
pub(super) fn metadata(row: &HistoryRow, entry: &Entry) -> Metadata {
    let mut metadata = Metadata::from([(IMPORTED_ID.to_owned(), row.id.to_string())]);
    if row.entry_type != entry.entry_type.name().to_ascii_lowercase() {
        metadata.insert(IMPORTED_ENTRY_TYPE.to_owned(), row.entry_type.clone());
    }
    let posted_after = entry.balance_after.posted().get();
    if let Some(balance_after) = row.balance_after.filter(|written| *written != posted_after) {
        metadata.insert(IMPORTED_BALANCE_AFTER.to_owned(), balance_after.to_string());
    }
    if row.create_time != entry.create_time {
        metadata.insert(IMPORTED_CREATE_TIME.to_owned(), row.create_time.to_string());
    }
    metadata
}
