//! What the replaced system's database holds, and what an import of it will do.

use serde::Serialize;

use super::{AccountFigures, Effect, Irregularity, Kind, Meaning, row::KNOWN_TYPES};
use crate::accounting::{AccountId, IdempotencyKey, Timestamp};

/// What an entry of the journal takes on the disk, with its place in the indexes; a little less without a key.
const BYTES_PER_ROW: i64 = 342;
/// How a reference is written that is the account's own id.
pub const ACCOUNT_PLACEHOLDER: &str = "<account>";
/// How one is written that the replaced system made of it.
pub const RESERVE_PLACEHOLDER: &str = "reserve:<account>";

/// The rows of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFigures {
    /// The type, by the name it has there; none if it has none.
    pub entry_type: Option<String>,
    /// How many rows are of it.
    pub rows: i64,
    /// What they come to.
    pub amount: i128,
}

/// A reference that one account has many times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepeatedReference {
    /// The reference, with `<account>` for the account's own id.
    pub reference: String,
    /// How many rows have it, of accounts that have it more than once.
    pub rows: i64,
    /// How many accounts these are.
    pub accounts: i64,
    /// Whether it is a word that many operations share, so that no key may be it.
    pub is_generic: bool,
}

/// References. They are imported as they are, and recognise nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct References {
    /// How many rows have none.
    pub empty: i64,
    /// How many are longer than what a caller may send.
    pub long: i64,
    /// How long the longest is, in bytes.
    pub longest: i64,
    /// How many are repeated within an account.
    pub repeated: i64,
    /// How many rows have these.
    pub repeated_rows: i64,
    /// Those that most rows have.
    pub most_repeated: Vec<RepeatedReference>,
}

/// What an import will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that is there, and nothing else.
    Exact,
    /// All that is there, and something else; or there is something to decide.
    Inexact,
    /// Accounts are left out.
    Incomplete,
}

/// All that was found, in figures. Sums are in micro-USD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many rows there are.
    pub rows: i64,
    /// How many accounts have a name.
    pub accounts: i64,
    /// The sum of all balances.
    pub balance: i128,
    /// When the first row was written, of those with a time that can be.
    pub first_time: Option<Timestamp>,
    /// When the last one was.
    pub last_time: Option<Timestamp>,
    /// The largest number of a row.
    pub largest_id: Option<i64>,
    /// Whether the accounts' rows can be found by an index.
    pub has_account_index: bool,
    /// References.
    pub references: References,
    /// How many irregularities of each kind, in the order of [`Kind::ALL`].
    counts: [u64; Kind::ALL.len()],
    /// What the adjustments of balances come to.
    pub adjustment: i128,
    /// How many deposits repeat an earlier one.
    pub repeated_payments: i64,
    /// What these come to.
    pub over_credited: i128,
    /// How many accounts are left out; rows without an account count as one.
    pub left_out_accounts: i64,
    /// How many rows these have.
    pub left_out_rows: i64,
}

impl Survey {
    /// How many irregularities of a kind were found.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// What an import will do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut found = Kind::ALL.iter().filter(|kind| self.count(**kind) > 0).peekable();
        match (found.peek().is_some(), found.any(|kind| kind.effect() == Effect::LeftOut)) {
            (false, _) => Verdict::Exact,
            (true, false) => Verdict::Inexact,
            (true, true) => Verdict::Incomplete,
        }
    }

    /// About how many bytes the book will take on the disk. Long references come on top.
    #[must_use]
    pub fn disk_bytes(&self) -> i64 {
        self.rows.saturating_mul(BYTES_PER_ROW)
    }

    /// Counts an account.
    pub fn add_account(&mut self, account: &AccountFigures) {
        self.accounts += i64::from(account.account_id.is_some());
        self.balance += i128::from(account.balance);
        if account.is_left_out() {
            self.left_out_accounts += 1;
            self.left_out_rows += account.rows;
        }
    }

    /// Counts an irregularity.
    pub fn add(&mut self, irregularity: &Irregularity) {
        self.counts[irregularity.kind() as usize] += 1;
        match irregularity {
            Irregularity::Balance { adjustment_micro_usd, .. } => self.adjustment += *adjustment_micro_usd,
            Irregularity::DuplicatedDeposit { times, over_credited_micro_usd, .. } => {
                self.repeated_payments += times - 1;
                self.over_credited += *over_credited_micro_usd;
            }
            Irregularity::DepositWithoutSession { .. }
            | Irregularity::BalanceAfter { .. }
            | Irregularity::Amount { .. }
            | Irregularity::Overflow { .. }
            | Irregularity::UnknownType { .. }
            | Irregularity::Sign { .. }
            | Irregularity::Time { .. }
            | Irregularity::Withdrawable { .. }
            | Irregularity::AccountId { .. }
            | Irregularity::Unreadable { .. } => {}
        }
    }
}

impl TypeFigures {
    /// What its rows become.
    #[must_use]
    pub fn becomes(&self) -> &'static str {
        match self.entry_type.as_deref().map(Meaning::of) {
            Some(Meaning::Is(entry_type)) => entry_type.name(),
            Some(Meaning::BySign) => "DEPOSIT or CHARGE, by sign",
            None => "left out",
        }
    }

    /// That nobody knows it, if so.
    #[must_use]
    pub fn irregularity(&self) -> Option<Irregularity> {
        let entry_type = self.entry_type.clone()?;
        let is_known = KNOWN_TYPES.iter().any(|(known, _)| *known == entry_type);
        let (rows, amount_micro_usd) = (self.rows, self.amount);
        (!is_known).then_some(Irregularity::UnknownType { entry_type, rows, amount_micro_usd })
    }
}

impl RepeatedReference {
    /// A reference, with placeholders for the account.
    #[must_use]
    pub fn new(reference: String, rows: i64, accounts: i64) -> Self {
        let is_generic = is_generic(&reference);
        Self { reference, rows, accounts, is_generic }
    }
}

fn is_generic(reference: &str) -> bool {
    let is_word = || {
        let account_id = AccountId::parse("account_id", ACCOUNT_PLACEHOLDER).ok()?;
        Some(IdempotencyKey::parse_of_operation(reference).ok()?.must_be_specific(&account_id).is_err())
    };
    is_word().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_that_of_the_worst_kind() {
        for kind in Kind::ALL {
            let mut survey = Survey::default();
            assert_eq!(survey.verdict(), Verdict::Exact);
            survey.counts[Kind::Sign as usize] += 1;
            assert_eq!(survey.verdict(), Verdict::Inexact);
            survey.counts[*kind as usize] += 1;
            let is_left_out = kind.effect() == Effect::LeftOut;
            assert_eq!(survey.verdict() == Verdict::Incomplete, is_left_out, "{}", kind.name());
        }
    }

    #[test]
    fn a_generic_reference_is_what_no_key_may_be() {
        for generic in
            [ACCOUNT_PLACEHOLDER, RESERVE_PLACEHOLDER, "reservation_refund", "Admin_Credit", "refund"]
        {
            assert!(is_generic(generic), "{generic}");
        }
        for other in ["", "job-1", "two words", "reserve:ann", "admin_credit:ticket-7"] {
            assert!(!is_generic(other), "{other}");
        }
    }
}
