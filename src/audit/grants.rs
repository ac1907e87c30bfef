//! The grants of one account: recomputes each from the entries alone, and compares it with its row.
//!
//! The grants of one account are in memory, spent or not, since any entry may bring money back into any of them. Where an
//! entry's figure differs, what follows is compared with both, so that one wrong figure is reported once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use super::{
    EntryFact, GrantFact,
    check::{Check, Findings, Place},
    grant_moves::{check_moves, total},
};
use crate::accounting::{EntryType, GrantMoves, GrantShare, Timestamp};

/// The grants so far.
#[derive(Debug, Default)]
pub(super) struct GrantsAudit {
    lots: BTreeMap<i64, Lot>,
    /// Those of which something is not pinned, by expiry.
    free: BTreeSet<(Timestamp, i64)>,
    /// What remains of all of them.
    remaining: i128,
    /// What is not pinned of that.
    unpinned: i128,
    granted: Figure,
    lapsing: Figure,
    /// What lapses right behind the newest entry; `None` if entries are missing.
    behind: Option<Behind>,
    /// Whether it was reported that more is granted than is available.
    is_uncovered: bool,
}

/// What the entries say of a grant.
#[derive(Debug)]
struct Lot {
    amount: i128,
    expire_time: Timestamp,
    remaining: i128,
    pinned: i128,
    lapsed: i128,
    reversed: i128,
    /// Whether its parts were reported.
    is_wrong: bool,
    has_row: bool,
}

/// A figure that is recomputed after each entry, and how far the written one is off.
#[derive(Debug, Default)]
struct Figure {
    value: i128,
    off: i128,
}

/// What lapses right behind an entry.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// How much, as it is recomputed, and as it is written. Where only one says that nothing does, that was reported.
    amounts: [i128; 2],
    /// The entry.
    sequence: i64,
    time: Timestamp,
}

/// A change of a grant.
type Change = fn(&mut Lot, i128);

/// What entries before it leave open about an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Whether no entry is missing before it.
    pub(super) is_next: bool,
    /// Whether its balance is as expected.
    pub(super) is_sum: bool,
}

impl GrantsAudit {
    /// Takes the next entry.
    pub(super) fn observe(
        &mut self,
        entry: &EntryFact,
        entry_type: Option<EntryType>,
        known: Known,
        findings: &mut Findings<'_>,
    ) {
        let none = GrantMoves::default();
        let moves = entry.grant_moves.as_ref().unwrap_or(&none);
        let is_about_none = entry.grant_expire_time.is_none() && entry.grant_moves.as_ref() == Some(&none);
        if self.lots.is_empty() && is_about_none && (entry.granted_after, entry.lapsed) == (0, 0) {
            return;
        }
        check_moves(entry, entry_type, moves, findings);
        self.check_lapse(entry, entry_type, moves, known, findings);
        self.apply(entry, moves, findings);
        let is_known = known.is_next && entry.grant_moves.is_some();
        self.check_figures(entry, is_known, findings);
        if known.is_sum {
            self.check_cover(entry, findings);
        }
    }

    /// What remains of all grants.
    pub(super) fn remaining(&self) -> i128 {
        self.remaining
    }

    /// What lapses right behind the newest entry.
    pub(super) fn lapsing(&self) -> i128 {
        self.lapsing.value
    }

    /// When the first grant expires that is not pinned as a whole.
    pub(super) fn first_expire_time(&self) -> Option<Timestamp> {
        self.free.first().map(|(expire_time, _)| *expire_time)
    }

    /// Checks what the account says to be granted: nothing if nothing remains of any grant.
    pub(super) fn check_account(&self, found: Option<i64>, findings: &mut Findings<'_>) {
        let is_right =
            found.map_or(self.remaining == 0, |found| self.remaining != 0 && self.granted.is(found.into()));
        if !is_right {
            let expected = Some(self.granted.value).filter(|_| self.remaining != 0);
            findings.report(Check::AccountGranted, Place::Account, or_none(expected), or_none(found));
        }
    }

    /// Takes a row, after all entries.
    pub(super) fn observe_row(&mut self, row: &GrantFact, findings: &mut Findings<'_>) {
        let place = || Place::Sequence(row.sequence);
        let Some(lot) = self.lots.get_mut(&row.sequence) else {
            let expected = format!("a credit that expires as entry {}", row.sequence);
            findings.report(Check::GrantWithoutCredit, place(), expected, "no such entry");
            return;
        };
        lot.has_row = true;
        findings.compare(Check::GrantExpireTime, place, lot.expire_time, row.expire_time);
        for (check, expected, found) in [
            (Check::GrantAmount, lot.amount, row.amount),
            (Check::GrantRemaining, lot.remaining, row.remaining),
            (Check::GrantPinned, lot.pinned, row.pinned),
            (Check::GrantLapsed, lot.lapsed, row.lapsed),
            (Check::GrantReversed, lot.reversed, row.reversed),
        ] {
            findings.compare(check, place, expected, found.into());
        }
    }

    /// Checks what can only be checked at the end, with what open reservations pin of each grant.
    pub(super) fn settle(&self, pinned: &BTreeMap<i64, i128>, findings: &mut Findings<'_>) {
        if let Some(behind) = self.behind.filter(Behind::lapses) {
            behind.report("no entry", findings);
        }
        for (sequence, lot) in &self.lots {
            let place = || Place::Sequence(*sequence);
            if !lot.has_row {
                findings.report(Check::GrantMissing, place(), "a row in grants", "none");
            }
            let by_reservations = pinned.get(sequence).copied().unwrap_or_default();
            findings.compare(Check::ReservationsPin, place, lot.pinned, by_reservations);
        }
    }

    /// Checks that what lapses because of an entry does so in the next one, and that the end of grants ends what it says.
    fn check_lapse(
        &mut self,
        entry: &EntryFact,
        entry_type: Option<EntryType>,
        moves: &GrantMoves,
        known: Known,
        findings: &mut Findings<'_>,
    ) {
        let ends = entry_type == Some(EntryType::GrantExpire);
        let lapsed = total(&moves.lapses);
        let behind = self.behind.take().filter(|_| known.is_next);
        if let Some(behind) = behind.filter(Behind::lapses) {
            let is_it = ends && behind.amounts.contains(&lapsed) && entry.effective_time == behind.time;
            if !is_it {
                let name = entry_type.map_or("no type", EntryType::name);
                behind.report(format!("{name} of {} at {}", -lapsed, entry.effective_time), findings);
            }
        }
        let stands_alone = behind.is_some_and(|behind| behind.amounts == [0, 0]);
        if !ends {
            return;
        }
        if i128::from(entry.amount) != -lapsed {
            findings.report(Check::GrantLapse, entry.place(), -lapsed, entry.amount);
        }
        for share in &moves.lapses {
            let Some(lot) = self.lots.get(&share.sequence) else { continue };
            let has_expired = lot.expire_time <= entry.effective_time;
            if !has_expired || (stands_alone && lot.expire_time != entry.effective_time) {
                let expected = format!("the end of grant {} at {}", share.sequence, lot.expire_time);
                findings.report(Check::GrantLapse, entry.place(), expected, entry.effective_time);
            }
        }
    }

    /// Changes the grants as an entry says, and checks the parts of each.
    fn apply(&mut self, entry: &EntryFact, moves: &GrantMoves, findings: &mut Findings<'_>) {
        let mut touched = BTreeSet::new();
        if let Some(expire_time) = entry.grant_expire_time {
            self.lots.insert(entry.sequence, Lot::new(expire_time));
            self.change(entry.sequence, |lot| {
                lot.amount = entry.amount.into();
                lot.remaining = entry.amount.into();
            });
            touched.insert(entry.sequence);
        }
        if let Some(credit) = entry.reversed_sequence
            && self.change(credit, |lot| lot.reversed -= i128::from(entry.amount))
        {
            touched.insert(credit);
        }
        let GrantMoves { draws, unwinds, converted, lapses, pins } = moves;
        let kinds: [(&[GrantShare], Change); 5] = [
            (draws, |lot, amount| lot.remaining -= amount),
            (unwinds, |lot, amount| lot.remaining += amount),
            (converted, |lot, amount| lot.remaining -= amount),
            (lapses, |lot, amount| {
                lot.remaining -= amount;
                lot.lapsed += amount;
            }),
            (pins, |lot, amount| lot.pinned += amount),
        ];
        for (shares, change) in kinds {
            for GrantShare { sequence, amount } in shares {
                if self.change(*sequence, |lot| change(lot, amount.get().into())) {
                    touched.insert(*sequence);
                } else {
                    let expected = "a grant that this entry or an earlier one credits";
                    let found = format!("{sequence}");
                    findings.report(Check::EntryGrantMoves, entry.place(), expected, found);
                }
            }
        }
        for sequence in touched {
            self.check_parts(sequence, entry, findings);
        }
    }

    /// Changes a grant, and with it the sums over all. False if there is none.
    fn change(&mut self, sequence: i64, change: impl FnOnce(&mut Lot)) -> bool {
        let Some(lot) = self.lots.get_mut(&sequence) else { return false };
        let (remaining, unpinned) = (lot.remaining, lot.unpinned());
        change(lot);
        self.remaining += lot.remaining - remaining;
        self.unpinned += lot.unpinned() - unpinned;
        let place = (lot.expire_time, sequence);
        if lot.unpinned() == 0 {
            self.free.remove(&place);
        } else {
            self.free.insert(place);
        }
        true
    }

    fn check_parts(&mut self, sequence: i64, entry: &EntryFact, findings: &mut Findings<'_>) {
        let Some(lot) = self.lots.get_mut(&sequence) else { return };
        let is_wrong = !lot.adds_up();
        if is_wrong && !lot.is_wrong {
            let Lot { amount, remaining, pinned, lapsed, reversed, .. } = lot;
            let expected = format!("parts of the {amount} of grant {sequence}");
            let found =
                format!("{remaining} remaining, {pinned} pinned, {lapsed} lapsed, {reversed} reversed");
            findings.report(Check::GrantParts, entry.place(), expected, found);
        }
        lot.is_wrong = is_wrong;
    }

    /// Checks what the entry says to be granted and to lapse after it.
    fn check_figures(&mut self, entry: &EntryFact, is_known: bool, findings: &mut Findings<'_>) {
        let expired = self.free.iter().take_while(|(expire_time, _)| *expire_time <= entry.effective_time);
        let lapsing: i128 = expired.map(|(_, sequence)| self.lots[sequence].unpinned()).sum();
        let granted = self.unpinned - lapsing;
        for (check, figure, value, found) in [
            (Check::EntryGranted, &mut self.granted, granted, entry.granted_after),
            (Check::EntryLapsed, &mut self.lapsing, lapsing, entry.lapsed),
        ] {
            if !figure.step(value, found.into()) && is_known {
                findings.report(check, entry.place(), value, found);
            }
        }
        let amounts = [lapsing, entry.lapsed.into()];
        self.behind = Some(Behind { amounts, sequence: entry.sequence, time: entry.effective_time });
    }

    /// Checks that not more is granted than is available.
    fn check_cover(&mut self, entry: &EntryFact, findings: &mut Findings<'_>) {
        let unheld = i128::from(entry.posted_after) - i128::from(entry.held_after);
        let available = (unheld - self.lapsing.value).max(0);
        let granted = self.granted.value.min(entry.granted_after.into()); // one alone that is wrong is reported
        let is_uncovered = granted > available;
        if is_uncovered && !self.is_uncovered {
            findings.report(Check::GrantsCovered, entry.place(), format!("at most {available}"), granted);
        }
        self.is_uncovered = is_uncovered;
    }
}

impl Lot {
    fn new(expire_time: Timestamp) -> Self {
        let (amount, remaining, pinned, lapsed, reversed) = (0, 0, 0, 0, 0);
        let (is_wrong, has_row) = (false, false);
        Self { amount, expire_time, remaining, pinned, lapsed, reversed, is_wrong, has_row }
    }

    fn unpinned(&self) -> i128 {
        self.remaining - self.pinned
    }

    fn adds_up(&self) -> bool {
        let left = self.amount - self.reversed - self.lapsed;
        let are_parts = (0..=self.remaining).contains(&self.pinned) && self.remaining <= self.amount;
        are_parts && self.lapsed >= 0 && self.reversed >= 0 && self.unpinned() <= left && left >= 0
    }
}

impl Behind {
    /// Whether something does.
    fn lapses(&self) -> bool {
        !self.amounts.contains(&0)
    }

    fn report(self, found: impl Display, findings: &mut Findings<'_>) {
        let expected = format!("a GRANT_EXPIRE of {} at {} behind it", -self.amounts[0], self.time);
        findings.report(Check::LapseBehind, Place::Sequence(self.sequence), expected, found);
    }
}

impl Figure {
    /// Takes the value after the next entry, and what is written. False if that differs otherwise than before.
    fn step(&mut self, value: i128, written: i128) -> bool {
        let off = written - value;
        let is_right = off == 0 || off == self.off;
        *self = Self { value, off };
        is_right
    }

    /// Whether a figure is the value, or what is written.
    fn is(&self, figure: i128) -> bool {
        [self.value, self.value + self.off].contains(&figure)
    }
}

fn or_none(figure: Option<impl ToString>) -> String {
    figure.map_or_else(|| "none".to_owned(), |figure| figure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_figure_that_is_wrong_is_found_once() {
        let mut figure = Figure::default();
        let steps = [(5, 5), (10, 11), (15, 15), (20, 20)];
        assert_eq!(steps.map(|(value, written)| figure.step(value, written)), [true, false, true, true]);
        assert!(figure.is(20) && !figure.is(21));
    }

    #[test]
    fn a_step_that_is_wrong_is_found_once() {
        let mut figure = Figure::default();
        let steps = [(5, 5), (11, 10), (16, 15), (21, 20)];
        assert_eq!(steps.map(|(value, written)| figure.step(value, written)), [true, false, true, true]);
        assert!(figure.is(20) && figure.is(21));
    }
}
