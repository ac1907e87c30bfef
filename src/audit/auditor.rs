//! Takes the facts of a book in order, and reports differences.

use super::{Difference, Fact, Row, account::AccountAudit};

/// The state of the audit of a book.
#[derive(Debug, Default)]
pub struct Auditor {
    totals: Totals,
    account: Option<AccountAudit>,
}

/// Totals over all accounts. Sums are in micro-USD.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Accounts that have a row.
    pub accounts: u64,
    /// Entries.
    pub entries: u64,
    /// Reservations.
    pub reservations: u64,
    /// Keys with an answer.
    pub answers: u64,
    /// Posted, according to the entries.
    pub posted: i128,
    /// Held, according to the entries.
    pub held: i128,
    /// Differences reported.
    pub differences: u64,
}

impl Auditor {
    /// Takes the next fact, in the order of [`Fact::order`].
    pub fn observe(&mut self, fact: Fact, report: &mut dyn FnMut(Difference)) {
        let Fact { account_id, row } = fact;
        if self.account.as_ref().is_some_and(|account| account.account_id != account_id) {
            self.finish_account(report);
        }
        match row {
            Row::Account(_) => self.totals.accounts += 1,
            Row::Entry(_) => self.totals.entries += 1,
            Row::Answer(_) => self.totals.answers += 1,
            Row::Reservation(_) => self.totals.reservations += 1,
            Row::Undoing(_) | Row::Claim(_) | Row::Replay(_) | Row::Step(_) | Row::Grant(_) => {}
        }
        let account = self.account.get_or_insert_with(|| AccountAudit::new(account_id));
        account.observe(row, &mut counting(&mut self.totals.differences, report));
    }

    /// Finishes the last account, and returns the totals.
    #[must_use]
    pub fn finish(mut self, report: &mut dyn FnMut(Difference)) -> Totals {
        self.finish_account(report);
        self.totals
    }

    fn finish_account(&mut self, report: &mut dyn FnMut(Difference)) {
        let Some(account) = self.account.take() else { return };
        let (posted, held) = account.finish(&mut counting(&mut self.totals.differences, report));
        self.totals.posted += posted;
        self.totals.held += held;
    }
}

/// Counts reports and forwards them.
fn counting<'a>(
    differences: &'a mut u64,
    report: &'a mut dyn FnMut(Difference),
) -> impl FnMut(Difference) + use<'a> {
    move |difference| {
        *differences += 1;
        report(difference);
    }
}
