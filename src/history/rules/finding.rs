//! What whoever imports must know of it.

use serde::Serialize;

use crate::json::text;

/// Something that was not as it should be, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// An entry was added that balances what does not add up.
    Adjustment {
        /// The account.
        account_id: String,
        /// The entry.
        #[serde(serialize_with = "text")]
        sequence: i64,
        /// Its amount.
        #[serde(serialize_with = "text")]
        amount_micro_usd: i64,
        /// Why it had to be.
        reason: String,
    },
    /// A payment was credited before. This entry credited it once more, and is in the book all the same.
    RepeatedPayment {
        /// The account.
        account_id: String,
        /// The entry.
        #[serde(serialize_with = "text")]
        sequence: i64,
        /// The payment.
        external_id: String,
        /// How much was credited once more.
        #[serde(serialize_with = "text")]
        amount_micro_usd: i64,
    },
    /// An account was left out, or not taken further.
    LeftOut {
        /// The account, by the name it has there; none if it has none.
        account_id: Option<String>,
        /// How many of its rows are not in the book.
        rows: i64,
        /// Why.
        reason: String,
    },
}
