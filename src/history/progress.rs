//! How far an import is: of each account, and in all.

use super::{
    rules::{AccountImport, Finding, Imported},
    source::SourceAccount,
};
use crate::accounting::AccountId;

/// What an import tells while it runs.
#[derive(Debug)]
pub enum ImportEvent {
    /// So many rows more are in the book.
    Rows(u64),
    /// Something was not as it should be.
    Found(Finding),
}

/// Whom an import tells.
pub(super) type Tell<'a> = &'a mut (dyn FnMut(ImportEvent) + Send);

/// All that is in the book of the history of replaced systems. Sums are in micro-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportTotals {
    /// How many accounts.
    pub accounts: i64,
    /// How many rows.
    pub rows: i64,
    /// What they come to.
    pub amount: i128,
    /// How many accounts did not add up.
    pub adjusted_accounts: i64,
    /// What the adjustments come to.
    pub adjustment: i128,
}

impl ImportTotals {
    /// The totals of two books.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            accounts: self.accounts + other.accounts,
            rows: self.rows + other.rows,
            amount: self.amount + other.amount,
            adjusted_accounts: self.adjusted_accounts + other.adjusted_accounts,
            adjustment: self.adjustment + other.adjustment,
        }
    }
}

/// An account of which something is missing in the book.
pub(super) struct Pending {
    pub(super) account_id: AccountId,
    pub(super) source: SourceAccount,
    pub(super) imported: Imported,
    /// Whether it has been told why it cannot be taken further.
    pub(super) is_left_out: bool,
}

impl Pending {
    /// Whether the book has what the source has.
    pub(super) fn is_complete(&self) -> bool {
        self.is_all(&self.imported)
            && i128::from(self.source.balance) == self.imported.amount + self.imported.adjustment
    }

    /// Whether these are the rows that the source has, as far as their number and sum can tell.
    pub(super) fn is_all(&self, imported: &Imported) -> bool {
        (imported.rows, imported.amount) == (self.source.rows, self.source.amount)
    }

    /// Takes over what was added, now that it is committed, and tells of it.
    pub(super) fn keep(&mut self, added: AccountImport, tell: Tell<'_>) {
        let rows = added.imported.rows - self.imported.rows;
        self.imported = added.imported;
        tell(ImportEvent::Rows(rows.unsigned_abs()));
        for finding in added.findings {
            tell(ImportEvent::Found(finding));
        }
    }

    /// Tells that it cannot be taken further, and why.
    pub(super) fn leave_out(&mut self, reason: String, tell: Tell<'_>) {
        self.is_left_out = true;
        let rows = self.source.rows - self.imported.rows;
        tell(ImportEvent::Found(self.source.left_out(rows, reason)));
    }

    /// All that there was has been added. If that is not what was counted, rows in the book are no longer in the source.
    pub(super) fn tell_if_incomplete(&mut self, tell: Tell<'_>) {
        if !self.is_left_out && !self.is_all(&self.imported) {
            let Imported { rows, amount, .. } = self.imported;
            let reason = format!(
                "rows were changed or deleted after they had been imported: {rows} that came to {amount} micro-USD \
                 are in the book, and {} that come to {} in the source",
                self.source.rows, self.source.amount
            );
            self.leave_out(reason, tell);
        }
    }
}
