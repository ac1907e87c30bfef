//! The journal of one account: sequences, running sums, what is undone, and rows that refer to entries.

use super::{
    ClaimFact, EntryFact, ReplayFact, UndoingFact,
    check::{Check, Findings, Place},
    entry_types::{check_legs, check_type, takes_debt, withdrawable_parts},
    grants::{GrantsAudit, Known},
    running::Running,
};
use crate::accounting::{AccountState, EntryType, Timestamp};

/// The state of a journal's audit.
#[derive(Debug)]
pub(super) struct EntriesAudit {
    pub(super) posted: Running,
    pub(super) held: Running,
    /// Available after the newest entry; `None` if its figures were reported.
    available: Option<i128>,
    pub(super) first_time: Option<Timestamp>,
    newest: Option<Newest>,
    /// The account's state and debt limit, by its newest entry that changed them.
    pub(super) settings: (i16, Option<i64>),
    /// What may leave the account after the newest entry.
    pub(super) withdrawable: i64,
    pub(super) grants: GrantsAudit,
}

/// The newest entry, and the rows that refer to it.
#[derive(Debug)]
struct Newest {
    entry: EntryFact,
    entry_type: Option<EntryType>,
    /// What was undone of it.
    undone: i128,
    /// How many of the names that it gives are in `payments`.
    claims: usize,
    /// The last name of its payment: they come in their order.
    last_claim: Option<String>,
    /// Whether another key was answered with it, which may have given further names.
    is_replayed: bool,
}

impl Newest {
    /// Whether it gives a name itself.
    fn gives(&self, claim: &ClaimFact) -> bool {
        self.entry.external_ids.contains(&claim.external_id)
    }

    /// Whether a name is one of its payment, and is there for the first time.
    fn accepts(&self, claim: &ClaimFact) -> bool {
        (self.gives(claim) || self.is_replayed) && self.last_claim.as_ref() != Some(&claim.external_id)
    }
}

impl Default for EntriesAudit {
    fn default() -> Self {
        Self {
            posted: Running::default(),
            held: Running::default(),
            available: None,
            first_time: None,
            newest: None,
            settings: (AccountState::Active.number(), None),
            withdrawable: 0,
            grants: GrantsAudit::default(),
        }
    }
}

impl EntriesAudit {
    pub(super) fn observe(&mut self, entry: EntryFact, findings: &mut Findings<'_>) {
        self.settle_newest(findings);
        let entry_type = EntryType::from_number(entry.entry_type);
        let is_next = self.check_place(&entry, entry_type, findings);
        let is_sum = self.check_sums(&entry, findings);
        match entry_type {
            Some(entry_type) => check_type(&entry, entry_type, findings),
            None => findings.report(Check::EntryType, entry.place(), "1 to 18", entry.entry_type),
        }
        self.grants.observe(&entry, entry_type, Known { is_next, is_sum }, findings);
        self.check_available(&entry, is_sum, findings);
        self.check_withdrawable(&entry, entry_type, findings);
        check_legs(&entry, findings);
        self.settings = entry.settings.unwrap_or(self.settings);
        self.first_time.get_or_insert(entry.create_time);
        self.newest =
            Some(Newest { entry, entry_type, undone: 0, claims: 0, last_claim: None, is_replayed: false });
    }

    /// Takes an entry that undoes another one, after that.
    pub(super) fn observe_undoing(&mut self, undoing: &UndoingFact, findings: &mut Findings<'_>) {
        let UndoingFact { undone_sequence, sequence, amount, is_of_credit, reversed_sequence } = *undoing;
        let (check, what) =
            if is_of_credit { (Check::ReversalCredit, "credit") } else { (Check::RefundCharge, "debit") };
        let undone = self.newest.as_mut().filter(|newest| newest.entry.sequence == undone_sequence);
        let found = match undone {
            None => "no such entry".to_owned(),
            Some(_) if undone_sequence >= sequence => "an entry that is not earlier".to_owned(),
            Some(Newest { entry_type: None, .. }) => return, // reported as an entry of no type
            Some(Newest { entry_type: Some(entry_type), entry, undone, .. }) => {
                let is_right =
                    if is_of_credit { entry_type.is_reversible() } else { entry_type.is_refundable() };
                if !is_right {
                    entry_type.name().to_owned()
                } else if !is_of_credit && reversed_sequence != entry.reversed_sequence {
                    let of = |credit: Option<i64>| {
                        credit.map_or("no credit".to_owned(), |credit| credit.to_string())
                    };
                    let (expected, found) = (of(entry.reversed_sequence), of(reversed_sequence));
                    return findings.report(
                        Check::ReversalCredit,
                        Place::Sequence(sequence),
                        expected,
                        found,
                    );
                } else {
                    *undone += i128::from(amount);
                    return;
                }
            }
        };
        let expected = format!("an earlier {what} as entry {undone_sequence}");
        findings.report(check, Place::Sequence(sequence), expected, found);
    }

    /// Takes the claim of a payment, after the entry that it refers to.
    pub(super) fn observe_claim(&mut self, claim: &ClaimFact, findings: &mut Findings<'_>) {
        let claimed = self.newest.as_mut().filter(|newest| {
            newest.entry.sequence == claim.sequence && !newest.entry.external_ids.is_empty()
        });
        match claimed {
            Some(newest) if newest.accepts(claim) => {
                newest.claims += usize::from(newest.gives(claim));
                newest.last_claim = Some(claim.external_id.clone());
            }
            Some(_) | None => findings.report(
                Check::PaymentClaim,
                Place::ExternalId(claim.external_id.clone()),
                format!("entry {} to give it, or to have answered another key, and one row", claim.sequence),
                "something else",
            ),
        }
    }

    /// Takes a key that was answered with another key's entry, after that entry.
    pub(super) fn observe_replay(&mut self, replay: &ReplayFact, findings: &mut Findings<'_>) {
        let points_to = |newest: &Newest| {
            newest.entry.sequence == replay.sequence && !newest.entry.external_ids.is_empty()
        };
        if let Some(newest) = self.newest.as_mut().filter(|newest| points_to(newest)) {
            newest.is_replayed = true;
        } else {
            findings.report(
                Check::ReplayEntry,
                Place::IdempotencyKey(replay.idempotency_key.clone()),
                format!("a credited payment as entry {}", replay.sequence),
                "no such entry",
            );
        }
    }

    /// Checks the rows that refer to the newest entry, at its end.
    pub(super) fn settle_newest(&mut self, findings: &mut Findings<'_>) {
        let Some(Newest { entry, entry_type, undone, claims, .. }) = &self.newest else { return };
        let is_reversible = entry_type.is_some_and(EntryType::is_reversible);
        let (check, moved) = if is_reversible {
            (Check::ReversalSum, i128::from(entry.amount))
        } else {
            (Check::RefundSum, -i128::from(entry.amount))
        };
        if !(0..=moved.max(0)).contains(undone) {
            findings.report(check, entry.place(), format!("at most {}", moved.max(0)), undone);
        }
        if entry_type.is_some() && entry.has_key && *claims < entry.external_ids.len() {
            let expected = format!("{} names in payments", entry.external_ids.len());
            findings.report(Check::PaymentUnclaimed, entry.place(), expected, claims);
        }
    }

    pub(super) fn last_sequence(&self) -> Option<i64> {
        self.newest.as_ref().map(|newest| newest.entry.sequence)
    }

    pub(super) fn last_time(&self) -> Option<Timestamp> {
        self.newest.as_ref().map(|newest| newest.entry.create_time)
    }

    /// Checks that it has its place among the entries, and tells whether none is missing before it.
    fn check_place(
        &mut self,
        entry: &EntryFact,
        entry_type: Option<EntryType>,
        findings: &mut Findings<'_>,
    ) -> bool {
        let expected = i128::from(self.last_sequence().unwrap_or_default()) + 1;
        let is_next = expected == i128::from(entry.sequence);
        if !is_next {
            findings.report(Check::EntrySequence, entry.place(), expected, entry.sequence);
            // The missing entries are unknown, and so is their sum.
            self.posted.go_on_from(entry.posted_after.wrapping_sub(entry.amount));
            self.held.go_on_from(entry.held_after.wrapping_sub(entry.held_delta));
            self.available = None;
        }
        for (before, time) in [
            (self.last_time(), entry.create_time),
            (self.newest.as_ref().map(|newest| newest.entry.effective_time), entry.effective_time),
        ] {
            if let Some(before) = before.filter(|before| *before > time) {
                findings.report(Check::EntryTime, entry.place(), format!("{before} or later"), time);
            }
        }
        // What is about a reservation may record the end of its lease, and there is the end of grants: see there.
        let may_be_late = entry.has_reservation_id || entry_type == Some(EntryType::GrantExpire);
        let is_late = may_be_late && entry.effective_time < entry.create_time;
        if !is_late && entry.effective_time != entry.create_time {
            findings.report(Check::EntryTime, entry.place(), entry.create_time, entry.effective_time);
        }
        is_next
    }

    /// Checks that the entry's balance follows from the previous one.
    fn check_sums(&mut self, entry: &EntryFact, findings: &mut Findings<'_>) -> bool {
        let posted = self.posted.step(entry.amount, entry.posted_after);
        if let Some(expected) = posted {
            findings.report(Check::EntryPostedAfter, entry.place(), expected, entry.posted_after);
        }
        let held = self.held.step(entry.held_delta, entry.held_after);
        if let Some(expected) = held {
            findings.report(Check::EntryHeldAfter, entry.place(), expected, entry.held_after);
        } else if entry.held_after < 0 {
            findings.report(Check::EntryHeldAfter, entry.place(), "zero or more", entry.held_after);
        }
        posted.is_none() && held.is_none()
    }

    /// Checks that what may leave the account follows from what could before, and is no money of grants. History says that
    /// itself.
    fn check_withdrawable(
        &mut self,
        entry: &EntryFact,
        entry_type: Option<EntryType>,
        findings: &mut Findings<'_>,
    ) {
        let (before, after) = (self.withdrawable, entry.withdrawable_after);
        self.withdrawable = after;
        let posted = i128::from(entry.posted_after);
        let left = |part: i64, most: i128| (i128::from(before) + i128::from(part)).min(most).max(0);
        let expected: Vec<i128> = match entry_type.filter(|_| entry.has_key) {
            Some(entry_type) => {
                let other = posted - self.grants.remaining();
                withdrawable_parts(entry, entry_type).map(|part| left(part, other)).into()
            }
            None => vec![left(entry.withdrawable_delta, posted)],
        };
        if !expected.contains(&after.into()) {
            findings.report(Check::EntryWithdrawable, entry.place(), expected[0], after);
        } else if before.checked_add(entry.withdrawable_delta) != Some(after) {
            let expected = i128::from(after) - i128::from(before);
            findings.report(Check::EntryWithdrawable, entry.place(), expected, entry.withdrawable_delta);
        }
    }

    fn check_available(&mut self, entry: &EntryFact, is_sum: bool, findings: &mut Findings<'_>) {
        let unheld = i128::from(entry.posted_after) - i128::from(entry.held_after);
        let after = unheld - self.grants.lapsing();
        let before = if self.newest.is_some() { self.available } else { Some(0) };
        self.available = Some(after).filter(|_| is_sum);
        let may_owe = !entry.has_key || takes_debt(entry.entry_type);
        if let Some(before) = before.filter(|_| is_sum && !may_owe)
            && after < before.min(0)
        {
            let expected = format!("{} or more available", before.min(0));
            findings.report(Check::EntryOverdrawn, entry.place(), expected, after);
        }
    }
}

impl EntryFact {
    pub(super) fn place(&self) -> Place {
        Place::Sequence(self.sequence)
    }
}
