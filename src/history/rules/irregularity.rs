//! What may not be as it should in the replaced system, by name, and what an import does about it.

use serde::Serialize;

use crate::{accounting::ExternalId, json::text};

/// What an import does about an irregularity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Rows and balances come as they are. A person must know, or decide.
    Kept,
    /// The book says something else than the replaced system did, and beside it what that said.
    Changed,
    /// The account is left out until its rows are changed at the source.
    LeftOut,
}

/// Declares the kinds, each with its effect, what it is, and what an import does about it.
macro_rules! kinds {
    ($($kind:ident $name:literal $effect:ident $meaning:literal $handling:literal,)+) => {
        /// What is irregular.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Kind {
            $(#[doc = $meaning] #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The kind's name, which never changes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// What it is.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$kind => $meaning,)+ }
            }

            /// What an import does about it.
            #[must_use]
            pub const fn handling(self) -> &'static str {
                match self { $(Self::$kind => $handling,)+ }
            }

            /// The same in one word.
            #[must_use]
            pub const fn effect(self) -> Effect {
                match self { $(Self::$kind => Effect::$effect,)+ }
            }
        }
    };
}

kinds! {
    DuplicatedDeposit "DUPLICATED_DEPOSIT" Kept
        "A Stripe session was deposited more than once, in one account or in several."
        "Every row is an entry. The first claims the payment, the others are listed as repeated payments. Whether to take the money back is yours to decide.",
    DepositWithoutSession "DEPOSIT_WITHOUT_SESSION" Kept
        "The reference of a Stripe deposit names no session."
        "The row is an entry without a payment: were the deposit credited again, nothing would recognise it.",
    Balance "BALANCE" Changed
        "The balance is not the sum of the account's rows."
        "An ADMIN_CREDIT entry of either sign follows the last row and brings the account to its balance.",
    BalanceAfter "BALANCE_AFTER" Changed
        "The balance after a row does not follow, in the order of ids, from the row before it."
        "The entry has the true running balance; its metadata keeps the figure as imported_balance_after.",
    Amount "AMOUNT" Kept
        "An amount is 0, or beyond 1,000,000,000 USD either way."
        "The row is an entry with that amount.",
    Overflow "OVERFLOW" Changed
        "The sum of the rows so far, in the order of time, leaves int64."
        "Before such a row an ADMIN_CREDIT entry brings the account to 0.",
    UnknownType "UNKNOWN_TYPE" Changed
        "A type is not among those that the replaced system is known to have written."
        "Its rows are CHARGE entries below 0, else DEPOSIT; their metadata keeps the type as imported_entry_type.",
    Sign "SIGN" Kept
        "An amount has the other sign than its type."
        "The row is an entry of its type with that amount.",
    Time "TIME" Changed
        "A time is in the future, before 1970, or infinite."
        "The entry has the nearest time that can be; its metadata keeps the row's as imported_create_time.",
    Withdrawable "WITHDRAWABLE" Kept
        "What can be paid out is below 0, or more than the balance."
        "What may be paid out is imported as at least 0 and at most the balance.",
    AccountId "ACCOUNT_ID" LeftOut
        "An account id is not 1 to 128 visible ASCII characters, or rows have none."
        "The account is left out until it is renamed at the source.",
    Unreadable "UNREADABLE" LeftOut
        "Rows have no type, no amount or no time."
        "The account is left out until they are mended at the source.",
}

/// Something irregular. What concerns rows is one for each account, with the number of rows and the first of them by id. Sums are
/// in micro-USD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the rest is said above, and by the kinds")]
pub enum Irregularity {
    /// [`Kind::DuplicatedDeposit`], for each session.
    DuplicatedDeposit {
        #[serde(serialize_with = "text")]
        external_id: ExternalId,
        /// Who was credited, each once, in the order of time.
        account_ids: Vec<String>,
        /// How often.
        times: i64,
        /// What all but the first time come to.
        #[serde(serialize_with = "text")]
        over_credited_micro_usd: i128,
    },
    /// [`Kind::DepositWithoutSession`], for each row.
    DepositWithoutSession {
        account_id: String,
        #[serde(serialize_with = "text")]
        id: i64,
        /// What was deposited.
        #[serde(serialize_with = "text")]
        amount_micro_usd: i64,
        /// The reference, or its beginning.
        reference: String,
    },
    /// [`Kind::Balance`].
    Balance {
        account_id: String,
        /// How many rows it has.
        rows: i64,
        #[serde(serialize_with = "text")]
        balance_micro_usd: i64,
        /// What its rows come to.
        #[serde(serialize_with = "text")]
        rows_micro_usd: i128,
        /// What is missing between them.
        #[serde(serialize_with = "text")]
        adjustment_micro_usd: i128,
    },
    /// [`Kind::BalanceAfter`].
    BalanceAfter {
        account_id: String,
        rows: i64,
        #[serde(serialize_with = "text")]
        first_id: i64,
        /// What the balance after it should be.
        #[serde(serialize_with = "text")]
        expected_micro_usd: i128,
        /// What it is.
        #[serde(serialize_with = "text")]
        found_micro_usd: i128,
    },
    /// [`Kind::Amount`].
    Amount {
        account_id: String,
        rows: i64,
        #[serde(serialize_with = "text")]
        first_id: i64,
        #[serde(serialize_with = "text")]
        first_amount_micro_usd: i64,
    },
    /// [`Kind::Overflow`].
    Overflow {
        account_id: String,
        /// Before how many rows.
        rows: i64,
        #[serde(serialize_with = "text")]
        first_id: i64,
    },
    /// [`Kind::UnknownType`], for each type.
    UnknownType {
        entry_type: String,
        /// How many rows are of it.
        rows: i64,
        /// What they come to.
        #[serde(serialize_with = "text")]
        amount_micro_usd: i128,
    },
    /// [`Kind::Sign`].
    Sign {
        account_id: String,
        rows: i64,
        #[serde(serialize_with = "text")]
        first_id: i64,
        #[serde(serialize_with = "text")]
        first_amount_micro_usd: i64,
    },
    /// [`Kind::Time`].
    Time {
        account_id: String,
        rows: i64,
        #[serde(serialize_with = "text")]
        first_id: i64,
        /// The earliest time of these rows.
        earliest: String,
        /// The latest.
        latest: String,
    },
    /// [`Kind::Withdrawable`].
    Withdrawable {
        account_id: String,
        #[serde(serialize_with = "text")]
        balance_micro_usd: i64,
        /// What can be paid out.
        #[serde(serialize_with = "text")]
        withdrawable_micro_usd: i64,
    },
    /// [`Kind::AccountId`].
    AccountId {
        /// The account, by the name it has there; none if it has none.
        account_id: Option<String>,
        /// How many rows it has.
        rows: i64,
        #[serde(serialize_with = "text")]
        balance_micro_usd: i64,
    },
    /// [`Kind::Unreadable`].
    Unreadable {
        /// The account; none if it has no name either.
        account_id: Option<String>,
        rows: i64,
        /// How many rows it has.
        rows_of_account: i64,
    },
}

impl Irregularity {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::DuplicatedDeposit { .. } => Kind::DuplicatedDeposit,
            Self::DepositWithoutSession { .. } => Kind::DepositWithoutSession,
            Self::Balance { .. } => Kind::Balance,
            Self::BalanceAfter { .. } => Kind::BalanceAfter,
            Self::Amount { .. } => Kind::Amount,
            Self::Overflow { .. } => Kind::Overflow,
            Self::UnknownType { .. } => Kind::UnknownType,
            Self::Sign { .. } => Kind::Sign,
            Self::Time { .. } => Kind::Time,
            Self::Withdrawable { .. } => Kind::Withdrawable,
            Self::AccountId { .. } => Kind::AccountId,
            Self::Unreadable { .. } => Kind::Unreadable,
        }
    }
}
