//! What the replaced system's database holds, and what an import of it will do.

use serde::Serialize;

use super::{Effect, Irregularity, Kind, Meaning, irregularity::Sum, row::KNOWN_TYPES};
use crate::accounting::{AccountId, IdempotencyKey, Timestamp};

/// What an entry of the journal takes on the disk, with its place in the indexes; a little less without a key.
const BYTES_PER_ROW: i64 = 342;
/// How a reference is written that is the account's own id.
pub const ACCOUNT_PLACEHOLDER: &str = "<account>";
/// How one is written that the replaced system made of it.
pub const RESERVE_PLACEHOLDER: &str = "reserve:<account>";

/// The rows of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeFigures {
    /// The type, by the name it has there; none if it has none.
    pub entry_type: Option<String>,
    /// How many rows are of it.
    pub rows: i64,
    /// What they come to.
    #[serde(rename = "amount_micro_usd")]
    pub amount: Sum,
}

/// Rows of an account that are irregular in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OddRows<T> {
    /// How many.
    pub rows: i64,
    /// The first of them.
    pub first_id: i64,
    /// What is odd.
    pub what: T,
}

/// An account, by its rows and by its balance. Sums are in micro-USD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFigures {
    /// Its name. Rows may have none.
    pub account_id: Option<String>,
    /// How many rows it has.
    pub rows: i64,
    /// What they come to.
    pub amount: i128,
    /// What those above zero come to.
    pub given: i128,
    /// What those below zero come to.
    pub taken: i128,
    /// How many rows have no type, no amount or no time.
    pub unreadable: i64,
    /// What its balance is.
    pub balance: i64,
    /// How much of that could be paid out.
    pub withdrawable: i64,
    /// Where the balance after a row does not follow: what follows, and what is there after the first.
    pub balances_after: Option<OddRows<(i128, i128)>>,
    /// Amounts that no operation has, and the first.
    pub amounts: Option<OddRows<i64>>,
    /// Amounts with the other sign than their types, and the first.
    pub signs: Option<OddRows<i64>>,
    /// Times that cannot be, the earliest and the latest.
    pub times: Option<OddRows<(Timestamp, Timestamp)>>,
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

    /// Counts the rows of a type.
    pub fn add_type(&mut self, of_type: &TypeFigures) {
        self.rows += of_type.rows;
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
            Irregularity::Balance { adjustment_micro_usd, .. } => self.adjustment += adjustment_micro_usd.0,
            Irregularity::DuplicatedDeposit { times, over_credited_micro_usd, .. } => {
                self.repeated_payments += times - 1;
                self.over_credited += over_credited_micro_usd.0;
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

impl AccountFigures {
    /// The sum of the rows so far may leave int64 somewhere: only then is it worth looking.
    #[must_use]
    pub fn may_overflow(&self) -> bool {
        self.given > i128::from(i64::MAX) || self.taken < i128::from(i64::MIN)
    }

    fn name(&self) -> Option<AccountId> {
        AccountId::parse("account_id", self.account_id.as_deref()?).ok()
    }

    fn is_left_out(&self) -> bool {
        self.unreadable > 0 || self.name().is_none()
    }

    /// Tells what is irregular. Of an account that is left out only why it is: the rest shows when that has been mended.
    pub fn irregularities(&self, found: &mut dyn FnMut(Irregularity)) {
        match self.name() {
            Some(account_id) if self.unreadable == 0 => {
                self.irregular_balance(&account_id, found);
                self.irregular_rows(&account_id, found);
            }
            name => self.why_left_out(name.as_ref(), found),
        }
    }

    fn why_left_out(&self, name: Option<&AccountId>, found: &mut dyn FnMut(Irregularity)) {
        let (account_id, rows) = (&self.account_id, self.rows);
        if name.is_none() {
            let balance_micro_usd = self.balance;
            found(Irregularity::AccountId { account_id: account_id.clone(), rows, balance_micro_usd });
        }
        if self.unreadable > 0 {
            let (account_id, rows_of_account) = (account_id.clone(), rows);
            found(Irregularity::Unreadable { account_id, rows: self.unreadable, rows_of_account });
        }
    }

    fn irregular_balance(&self, account_id: &AccountId, found: &mut dyn FnMut(Irregularity)) {
        let missing = i128::from(self.balance) - self.amount;
        if missing != 0 {
            found(Irregularity::Balance {
                account_id: account_id.to_string(),
                rows: self.rows,
                balance_micro_usd: self.balance,
                rows_micro_usd: Sum(self.amount),
                adjustment_micro_usd: Sum(missing),
            });
        }
        // An account below zero can pay out nothing.
        if !(0..=self.balance.max(0)).contains(&self.withdrawable) {
            found(Irregularity::Withdrawable {
                account_id: account_id.to_string(),
                balance_micro_usd: self.balance,
                withdrawable_micro_usd: self.withdrawable,
            });
        }
    }

    fn irregular_rows(&self, account_id: &AccountId, found: &mut dyn FnMut(Irregularity)) {
        if let Some(OddRows { rows, first_id, what: (expected, is) }) = self.balances_after {
            let (account_id, expected_micro_usd) = (account_id.to_string(), Sum(expected));
            let found_micro_usd = Sum(is);
            found(Irregularity::BalanceAfter {
                account_id,
                rows,
                first_id,
                expected_micro_usd,
                found_micro_usd,
            });
        }
        if let Some(OddRows { rows, first_id, what: first_amount_micro_usd }) = self.amounts {
            let account_id = account_id.to_string();
            found(Irregularity::Amount { account_id, rows, first_id, first_amount_micro_usd });
        }
        if let Some(OddRows { rows, first_id, what: first_amount_micro_usd }) = self.signs {
            let account_id = account_id.to_string();
            found(Irregularity::Sign { account_id, rows, first_id, first_amount_micro_usd });
        }
        if let Some(OddRows { rows, first_id, what: (earliest, latest) }) = self.times {
            let (earliest, latest) = (earliest.to_string(), latest.to_string());
            found(Irregularity::Time {
                account_id: account_id.to_string(),
                rows,
                first_id,
                earliest,
                latest,
            });
        }
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

    fn account() -> AccountFigures {
        AccountFigures {
            account_id: Some("ann".into()),
            rows: 2,
            amount: 5,
            given: 6,
            taken: -1,
            unreadable: 0,
            balance: 5,
            withdrawable: 5,
            balances_after: None,
            amounts: None,
            signs: None,
            times: None,
        }
    }

    fn kinds(account: &AccountFigures) -> Vec<Kind> {
        let mut found = Vec::new();
        account.irregularities(&mut |what| found.push(what.kind()));
        found
    }

    #[test]
    fn of_an_account_that_is_left_out_only_that_is_told() {
        let odd = AccountFigures { balance: 6, withdrawable: -1, ..account() };
        assert_eq!(kinds(&account()), []);
        assert_eq!(kinds(&odd), [Kind::Balance, Kind::Withdrawable]);
        assert_eq!(kinds(&AccountFigures { unreadable: 1, ..odd.clone() }), [Kind::Unreadable]);
        assert_eq!(kinds(&AccountFigures { account_id: None, ..odd.clone() }), [Kind::AccountId]);
        let both = AccountFigures { account_id: Some("a b".into()), unreadable: 1, ..odd };
        assert_eq!(kinds(&both), [Kind::AccountId, Kind::Unreadable]);
    }

    #[test]
    fn an_account_below_zero_can_pay_out_nothing() {
        for (balance, withdrawable, is_right) in [(5, 0, true), (5, 6, false), (-5, 0, true), (-5, -5, false)]
        {
            let account = AccountFigures { amount: i128::from(balance), balance, withdrawable, ..account() };
            assert_eq!(kinds(&account).is_empty(), is_right, "{balance} {withdrawable}");
        }
    }

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
