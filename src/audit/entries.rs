//! The journal of one account: sequences, running sums, signs, facts, refunds, and rows that refer to entries.

use super::{
    ClaimFact, EntryFact, RefundFact, ReplayFact,
    check::{Check, Findings, Place},
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
}

/// The newest entry, and the rows that refer to it.
#[derive(Debug)]
struct Newest {
    entry: EntryFact,
    entry_type: Option<EntryType>,
    refunded: i128,
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
        }
    }
}

impl EntriesAudit {
    pub(super) fn observe(&mut self, entry: EntryFact, findings: &mut Findings<'_>) {
        self.settle_newest(findings);
        let entry_type = EntryType::from_number(entry.entry_type);
        self.check_place(&entry, findings);
        let is_sum = self.check_sums(&entry, findings);
        match entry_type {
            Some(entry_type) => check_kind(&entry, entry_type, findings),
            None => findings.report(Check::EntryType, entry.place(), "1 to 14", entry.entry_type),
        }
        self.check_available(&entry, is_sum, findings);
        self.settings = entry.settings.unwrap_or(self.settings);
        self.first_time.get_or_insert(entry.create_time);
        self.newest =
            Some(Newest { entry, entry_type, refunded: 0, claims: 0, last_claim: None, is_replayed: false });
    }

    /// Takes a refund, after the charge that it refers to.
    pub(super) fn observe_refund(&mut self, refund: &RefundFact, findings: &mut Findings<'_>) {
        let RefundFact { refunded_sequence, sequence, amount } = *refund;
        let charge = self.newest.as_mut().filter(|newest| newest.entry.sequence == refunded_sequence);
        let expected = format!("an earlier charge or capture as entry {refunded_sequence}");
        let found = match charge {
            None => "no such entry".to_owned(),
            Some(_) if refunded_sequence >= sequence => "an entry that is not earlier".to_owned(),
            Some(Newest { entry_type: Some(entry_type), refunded, .. }) if entry_type.is_refundable() => {
                *refunded += i128::from(amount);
                return;
            }
            Some(Newest { entry_type: Some(other), .. }) => other.name().to_owned(),
            Some(Newest { entry_type: None, .. }) => return, // reported as an entry of no type
        };
        findings.report(Check::RefundCharge, Place::Sequence(sequence), expected, found);
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
        let Some(Newest { entry, entry_type, refunded, claims, .. }) = &self.newest else { return };
        let charged = -i128::from(entry.amount);
        if *refunded > charged.max(0) {
            let at_most = format!("at most {}", charged.max(0));
            findings.report(Check::RefundSum, entry.place(), at_most, refunded);
        }
        let is_credit = matches!(entry_type, Some(EntryType::Credit(_)));
        if is_credit && entry.has_key && *claims < entry.external_ids.len() {
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

    fn check_place(&mut self, entry: &EntryFact, findings: &mut Findings<'_>) {
        let expected = i128::from(self.last_sequence().unwrap_or_default()) + 1;
        if expected != i128::from(entry.sequence) {
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
        // What is about a reservation may record the end of its lease: see there.
        let is_late = entry.has_reservation_id && entry.effective_time < entry.create_time;
        if !is_late && entry.effective_time != entry.create_time {
            findings.report(Check::EntryTime, entry.place(), entry.create_time, entry.effective_time);
        }
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

    fn check_available(&mut self, entry: &EntryFact, is_sum: bool, findings: &mut Findings<'_>) {
        let after = i128::from(entry.posted_after) - i128::from(entry.held_after);
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

/// Whether an entry of this type may take what is available below zero.
fn takes_debt(entry_type: i16) -> bool {
    [EntryType::Charge, EntryType::Capture].iter().any(|debit| debit.number() == entry_type)
}

fn check_kind(entry: &EntryFact, entry_type: EntryType, findings: &mut Findings<'_>) {
    if entry.has_key && !has_signs_of(entry_type, entry) {
        let found = format!("{} posted, {} held", entry.amount, entry.held_delta);
        let expected = format!("the signs of a {}", entry_type.name());
        findings.report(Check::EntrySign, entry.place(), expected, found);
    }
    for (expected, found) in wrong_facts(entry, entry_type) {
        findings.report(Check::EntryFacts, entry.place(), expected, found);
    }
}

fn has_signs_of(entry_type: EntryType, entry: &EntryFact) -> bool {
    let EntryFact { amount, held_delta, uncollected, .. } = *entry;
    match entry_type {
        EntryType::Credit(_) | EntryType::Refund | EntryType::AdminCredit => amount > 0 && held_delta == 0,
        EntryType::Charge => amount <= 0 && held_delta == 0 && (amount < 0 || uncollected > 0),
        EntryType::Reserve | EntryType::Extend => amount == 0 && held_delta >= 0,
        EntryType::Capture => amount <= 0 && held_delta <= 0,
        EntryType::Release | EntryType::Expire => amount == 0 && held_delta <= 0,
        EntryType::AccountChange => held_delta == 0,
    }
}

/// The facts that are missing, or should not be there.
fn wrong_facts(entry: &EntryFact, entry_type: EntryType) -> Vec<(&'static str, &'static str)> {
    let mut wrong = Vec::new();
    let mut check = |what: &'static str, must: bool, is: bool| {
        if must != is {
            let words = ["none", "some"];
            wrong.push((what, words[usize::from(is)]));
        }
    };
    check("a fingerprint with a key, and only then", entry.has_key, entry.has_fingerprint);
    let has_whole = matches!(entry.reservation_facts, 0 | 6);
    check("all six facts about a reservation, or none", true, has_whole);
    let has_ended = entry.reservation_state.is_some_and(|state| state != 1);
    check("a close time of a reservation that has ended, and only then", has_ended, entry.has_close_time);
    if !entry.has_key {
        return wrong;
    }
    let is = |other: EntryType| entry_type == other;
    let is_refund = is(EntryType::Refund);
    check("the refunded charge of a refund, and only then", is_refund, entry.refunded_sequence.is_some());
    let (actor, reason) = (entry.has_actor, entry.has_reason);
    let is_decision = is(EntryType::AdminCredit) || is(EntryType::AccountChange);
    check("actor and reason of an operator's decision, and only then", is_decision, actor && reason);
    let is_change = is(EntryType::AccountChange);
    check("the account's settings after a change, and only then", is_change, entry.settings.is_some());
    check(
        "the reservation of an entry about one, and only then",
        moves_hold(entry_type),
        entry.has_reservation_id,
    );
    if entry_type.number() == 1 {
        check("the external id of a Stripe deposit", true, !entry.external_ids.is_empty());
    }
    wrong
}

/// Whether an entry of this type is about a reservation.
fn moves_hold(entry_type: EntryType) -> bool {
    match entry_type {
        EntryType::Reserve
        | EntryType::Capture
        | EntryType::Release
        | EntryType::Extend
        | EntryType::Expire => true,
        EntryType::Credit(_)
        | EntryType::Charge
        | EntryType::Refund
        | EntryType::AdminCredit
        | EntryType::AccountChange => false,
    }
}

impl EntryFact {
    fn place(&self) -> Place {
        Place::Sequence(self.sequence)
    }
}
