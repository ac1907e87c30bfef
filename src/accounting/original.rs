//! Entries that later operations undo, and what is left of them.
//!
//! A refund undoes a debit, and a reversal undoes a credit. A reversal is a debit itself: its refund undoes the reversal, and
//! so restores the credit. Parts that are undone one after the other add up to the same as all at once.

use std::sync::Arc;

use super::{Entry, GrantShare, MicroUsd, grant::sum_of};

/// An entry that a later operation refers to, and what has been undone of it.
#[derive(Debug, Clone)]
pub struct Original {
    /// The entry, of any type.
    pub entry: Arc<Entry>,
    /// What has been undone of it.
    pub undone: Undone,
}

/// What has been undone of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undone {
    /// Of a debit, the sum of its refunds; of a credit, that of its reversals, less what was given back of these.
    pub amount: MicroUsd,
    /// How much of what is withdrawable these have given back, or taken.
    pub withdrawable: MicroUsd,
}

impl Original {
    /// What is left to undo. Of imported history it may be less than nothing.
    #[must_use]
    pub fn left(&self) -> MicroUsd {
        let moved = self.moved(self.entry.amount);
        MicroUsd::new(moved.get().saturating_sub(self.undone.amount.get()).max(0))
    }

    /// What undoing so much more moves of what is withdrawable: the part that the entry itself moved comes first.
    pub(super) fn withdrawable_slice(&self, amount: MicroUsd) -> MicroUsd {
        let own = self.moved(self.entry.withdrawable_delta);
        // Cannot overflow: at most what the entry moved.
        let undone = MicroUsd::new(self.undone.amount.get() + amount.get());
        MicroUsd::new((own.min(undone).get() - self.undone.withdrawable.get()).max(0))
    }

    /// The part of something that the entry moved which belongs to so much more of it: the parts of all of it add up to the
    /// whole.
    pub(super) fn part_of(&self, moved: MicroUsd, amount: MicroUsd) -> MicroUsd {
        let (whole, before) = (self.moved(self.entry.amount), self.undone.amount);
        let up_to =
            |undone: i64| i128::from(moved.get()) * i128::from(undone) / i128::from(whole.get().max(1));
        // Cannot overflow: what is undone is at most the whole, so the part is at most what was moved.
        let part = up_to(before.get().saturating_add(amount.get())) - up_to(before.get());
        MicroUsd::new(i64::try_from(part).unwrap_or(0))
    }

    /// What undoing so much more of a debit brings back into grants, in that order: what was taken last comes back first, and
    /// grants were taken before other money.
    pub(super) fn unwound(&self, amount: MicroUsd) -> Vec<GrantShare> {
        let draws = &self.entry.grant_moves.draws;
        // Cannot overflow: all are parts of what the debit took.
        let mut begin = self.moved(self.entry.amount).get() - sum_of(draws).get();
        let (from, until) = (self.undone.amount.get(), self.undone.amount.get() + amount.get());
        let mut unwound = Vec::new();
        for draw in draws.iter().rev() {
            let end = begin + draw.amount.get();
            let part = until.min(end) - from.max(begin);
            if part > 0 {
                unwound.push(GrantShare { sequence: draw.sequence, amount: MicroUsd::new(part) });
            }
            begin = end;
        }
        unwound
    }

    /// Counts an entry that undoes this one, or undoes what undid it.
    pub(super) fn undo(&mut self, by: &Entry) {
        // Cannot overflow: judged to be at most what this entry moved.
        self.undone.amount = MicroUsd::new(self.undone.amount.get() - self.moved(by.amount).get());
        let withdrawable = self.moved(by.withdrawable_delta);
        self.undone.withdrawable = MicroUsd::new(self.undone.withdrawable.get() - withdrawable.get());
    }

    /// A change as this entry counts it: what a debit takes and what a credit adds is positive.
    fn moved(&self, delta: MicroUsd) -> MicroUsd {
        if self.entry.entry_type.is_refundable() {
            return MicroUsd::new(delta.get().saturating_neg());
        }
        delta
    }
}
