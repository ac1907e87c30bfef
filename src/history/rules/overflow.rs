//! Balances that leave int64 on their way, row by row.

use super::Irregularity;
use crate::accounting::{AccountId, MicroUsd};

/// Follows the balances of accounts through their rows, in the order of accounts and places, as an import does: where no
/// balance can hold the next one, the account begins at 0 again.
#[derive(Debug, Default)]
pub struct OverflowSurvey {
    open: Option<RunningBalance>,
}

#[derive(Debug)]
struct RunningBalance {
    account_id: AccountId,
    balance: MicroUsd,
    overflows: i64,
    first_id: Option<i64>,
}

impl OverflowSurvey {
    /// Takes the next row.
    pub fn observe(
        &mut self,
        account_id: AccountId,
        id: i64,
        amount: MicroUsd,
        found: &mut dyn FnMut(Irregularity),
    ) {
        if self.open.as_ref().is_some_and(|account| account.account_id != account_id) {
            self.finish(found);
        }
        let balance = MicroUsd::ZERO;
        let fresh = || RunningBalance { account_id, balance, overflows: 0, first_id: None };
        self.open.get_or_insert_with(fresh).add(id, amount);
    }

    /// There are no more rows of the account.
    pub fn finish(&mut self, found: &mut dyn FnMut(Irregularity)) {
        let Some(RunningBalance { account_id, overflows: rows, first_id: Some(first_id), .. }) =
            self.open.take()
        else {
            return;
        };
        found(Irregularity::Overflow { account_id: account_id.to_string(), rows, first_id });
    }
}

impl RunningBalance {
    fn add(&mut self, id: i64, amount: MicroUsd) {
        self.balance = self.balance.checked_add(amount).unwrap_or_else(|| {
            self.overflows += 1;
            self.first_id.get_or_insert(id);
            amount
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_begins_the_balance_anew_in_its_account_only() {
        let (mut survey, mut found) = (OverflowSurvey::default(), Vec::new());
        let rows = [("ann", i64::MAX), ("ann", 1), ("ann", i64::MAX), ("ann", -5), ("bob", 1), ("bob", -1)];
        for (id, (account, amount)) in (1..).zip(rows) {
            let account_id = AccountId::parse("account_id", account).unwrap();
            survey.observe(account_id, id, MicroUsd::new(amount), &mut |what| found.push(what));
        }
        survey.finish(&mut |what| found.push(what));
        assert_eq!(found, [Irregularity::Overflow { account_id: "ann".into(), rows: 2, first_id: 2 }]);
    }
}
