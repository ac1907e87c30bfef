//! An account of the replaced system in figures, and what is irregular about it.

use super::Irregularity;
use crate::accounting::{AccountId, Timestamp};

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

impl AccountFigures {
    /// The sum of the rows so far may leave int64 somewhere: only then is it worth looking.
    #[must_use]
    pub fn may_overflow(&self) -> bool {
        self.given > i128::from(i64::MAX) || self.taken < i128::from(i64::MIN)
    }

    fn name(&self) -> Option<AccountId> {
        AccountId::parse("account_id", self.account_id.as_deref()?).ok()
    }

    pub(super) fn is_left_out(&self) -> bool {
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
                rows_micro_usd: self.amount,
                adjustment_micro_usd: missing,
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
        let account_id = || account_id.to_string();
        if let Some(OddRows { rows, first_id, what: (expected_micro_usd, found_micro_usd) }) =
            self.balances_after
        {
            let account_id = account_id();
            found(Irregularity::BalanceAfter {
                account_id,
                rows,
                first_id,
                expected_micro_usd,
                found_micro_usd,
            });
        }
        if let Some(OddRows { rows, first_id, what: first_amount_micro_usd }) = self.amounts {
            let account_id = account_id();
            found(Irregularity::Amount { account_id, rows, first_id, first_amount_micro_usd });
        }
        if let Some(OddRows { rows, first_id, what: first_amount_micro_usd }) = self.signs {
            let account_id = account_id();
            found(Irregularity::Sign { account_id, rows, first_id, first_amount_micro_usd });
        }
        if let Some(OddRows { rows, first_id, what: (earliest, latest) }) = self.times {
            let (earliest, latest) = (earliest.to_string(), latest.to_string());
            found(Irregularity::Time { account_id: account_id(), rows, first_id, earliest, latest });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::rules::Kind;

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
}
