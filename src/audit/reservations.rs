//! The reservations of one account: compares each with the entries that opened, changed and ended it.

use std::collections::BTreeMap;

use super::{
    ReservationFact, Status, StepFact,
    check::{Check, Findings, Place},
};
use crate::accounting::{EntryType, ExpiryPolicy, GrantShare, ReservationState, Timestamp};

/// Parts of grants, by their sequences.
type Pins = BTreeMap<i64, i128>;

/// All reservations so far, and the current one.
#[derive(Debug, Default)]
pub(super) struct ReservationsAudit {
    /// The sum that open reservations hold.
    pub(super) held: i128,
    /// The earliest expiry of the open reservations.
    pub(super) first_expire_time: Option<Timestamp>,
    /// What they pin of each grant.
    pub(super) pinned: Pins,
    current: Option<Current>,
}

/// A reservation, and its entries so far.
#[derive(Debug)]
struct Current {
    reservation_id: String,
    row: Option<ReservationFact>,
    first: Option<StepFact>,
    /// Its state after its newest entry that has one.
    status: Option<Status>,
    /// The sequence of the entry that brought it into that state, unless it is open.
    close_sequence: Option<i64>,
    /// What its entries pin; `None` if one of them cannot be read.
    pins: Option<Pins>,
}

impl ReservationsAudit {
    pub(super) fn observe(&mut self, row: ReservationFact, findings: &mut Findings<'_>) {
        let current = self.current(&row.reservation_id, findings);
        current.row = Some(row);
    }

    pub(super) fn observe_step(&mut self, step: StepFact, findings: &mut Findings<'_>) {
        let current = self.current(&step.reservation_id, findings);
        current.check_step(&step, findings);
        if let Some(status) = step.status
            && current.status.map_or(ReservationState::Open.number(), |before| before.state) != status.state
        {
            current.close_sequence = Some(step.sequence);
        }
        current.status = step.status.or(current.status);
        match (&mut current.pins, &step.pins) {
            (Some(pins), Some(shares)) => add(pins, shares),
            (pins, _) => *pins = None,
        }
        current.first.get_or_insert(step);
    }

    /// Finishes the current reservation.
    pub(super) fn settle(&mut self, findings: &mut Findings<'_>) {
        let Some(current) = self.current.take() else { return };
        current.check(findings);
        // A difference between row and entries has been reported; from here on the entries count.
        let status = current.status.or(current.row.map(|row| row.status));
        if let Some(status) = status.filter(|status| status.state == ReservationState::Open.number()) {
            self.held += i128::from(status.held);
            let first = self.first_expire_time.unwrap_or(status.expire_time);
            self.first_expire_time = Some(first.min(status.expire_time));
            for (sequence, amount) in current.pins.unwrap_or_default() {
                *self.pinned.entry(sequence).or_default() += amount;
            }
        }
    }

    fn current(&mut self, reservation_id: &str, findings: &mut Findings<'_>) -> &mut Current {
        if self.current.as_ref().is_some_and(|current| current.reservation_id != reservation_id) {
            self.settle(findings);
        }
        self.current.get_or_insert_with(|| Current {
            reservation_id: reservation_id.to_owned(),
            row: None,
            first: None,
            status: None,
            close_sequence: None,
            pins: Some(Pins::new()),
        })
    }
}

impl Current {
    fn place(&self) -> Place {
        Place::ReservationId(self.reservation_id.clone())
    }

    /// Compares an entry with the one before it.
    fn check_step(&self, step: &StepFact, findings: &mut Findings<'_>) {
        let is_first = self.first.is_none();
        let opens = step.entry_type == EntryType::Reserve.number();
        let place = Place::Sequence(step.sequence);
        if step.is_named_so.is_some_and(|is_named_so| is_first != (opens && is_named_so)) {
            let expected = if is_first { "to open it under its name" } else { "to change or end it" };
            let found = EntryType::from_number(step.entry_type).map_or("no type", EntryType::name);
            findings.report(Check::ReservationStep, place, expected, found);
            return;
        }
        let Some(after) = step.status else { return }; // reported as an entry with parts of facts
        self.check_lapse(step, findings);
        let Some((held, captured)) = self.before(is_first) else { return };
        let held = held + i128::from(step.held_delta);
        let captured = captured - i128::from(step.amount);
        if (held, captured) != (after.held.into(), after.captured.into()) {
            let expected = format!("{held} held, {captured} captured");
            let found = format!("{} held, {} captured", after.held, after.captured);
            findings.report(Check::ReservationStep, place, expected, found);
        }
    }

    /// Checks that the end of a lease takes effect then, and charges what was held if the policy before it said so; and that
    /// any other entry takes effect when it is written.
    fn check_lapse(&self, step: &StepFact, findings: &mut Findings<'_>) {
        let ended = self.status.filter(|_| step.is_lapse);
        let place = || Place::Sequence(step.sequence);
        let expected = ended.map_or(step.create_time, |before| before.expire_time);
        findings.compare(Check::ReservationLapse, place, expected, step.effective_time);
        let Some(before) = ended else { return };
        let captures = before.expiry_policy == ExpiryPolicy::Capture.number() && before.held > 0;
        let expected = if captures { (EntryType::Capture, -before.held) } else { (EntryType::Expire, 0) };
        if (expected.0.number(), expected.1) != (step.entry_type, step.amount) {
            let name = EntryType::from_number(step.entry_type).map_or("no type", EntryType::name);
            let expected = format!("{} of {}", expected.0.name(), expected.1);
            let found = format!("{name} of {}", step.amount);
            findings.report(Check::ReservationLapse, place(), expected, found);
        }
    }

    /// Held and captured before the next entry; `None` if unknown.
    fn before(&self, is_first: bool) -> Option<(i128, i128)> {
        if is_first {
            return Some((0, 0));
        }
        self.status.map(|status| (status.held.into(), status.captured.into()))
    }

    /// Compares the row with the entries.
    fn check(&self, findings: &mut Findings<'_>) {
        match (&self.row, &self.first) {
            (Some(row), Some(first)) => self.check_row(row, first, findings),
            (Some(row), None) => findings.report(
                Check::ReservationWithoutEntries,
                self.place(),
                format!("entry {} to have opened it", row.sequence),
                "no entry of it",
            ),
            (None, Some(first)) => findings.report(
                Check::ReservationMissing,
                self.place(),
                format!("a row, since entry {} opened it", first.sequence),
                "none",
            ),
            (None, None) => {}
        }
    }

    fn check_row(&self, row: &ReservationFact, first: &StepFact, findings: &mut Findings<'_>) {
        let place = || self.place();
        findings.compare(Check::ReservationSequence, place, first.sequence, row.sequence);
        findings.compare(Check::ReservationCreateTime, place, first.create_time, row.create_time);
        let Some(expected) = self.status else { return };
        let found = row.status;
        findings.compare(Check::ReservationState, place, state(expected.state), state(found.state));
        findings.compare(Check::ReservationHeld, place, expected.held, found.held);
        findings.compare(Check::ReservationCaptured, place, expected.captured, found.captured);
        findings.compare(Check::ReservationExpireTime, place, expected.expire_time, found.expire_time);
        findings.compare(Check::ReservationExpiryPolicy, place, expected.expiry_policy, found.expiry_policy);
        findings.compare(
            Check::ReservationCloseSequence,
            place,
            sequence_or_none(self.close_sequence),
            sequence_or_none(row.close_sequence),
        );
        findings.compare(
            Check::ReservationCloseTime,
            place,
            time_or_none(expected.close_time),
            time_or_none(found.close_time),
        );
        self.check_pins(row, expected, findings);
        let has_ended = found.state != ReservationState::Open.number();
        if has_ended && found.held != 0 && found.held == expected.held {
            findings.report(Check::ReservationHeld, self.place(), 0, found.held); // both are wrong
        }
    }

    fn check_pins(&self, row: &ReservationFact, status: Status, findings: &mut Findings<'_>) {
        let Some(expected) = &self.pins else { return }; // reported as an entry that cannot be read
        let Some(shares) = &row.pins else {
            let found = "what cannot be read";
            return findings.report(Check::ReservationPins, self.place(), pins_text(expected), found);
        };
        let mut found = Pins::new();
        add(&mut found, shares);
        let (pinned, held) = (expected.values().sum::<i128>(), i128::from(status.held));
        if *expected != found {
            let [expected, found] = [expected, &found].map(pins_text);
            findings.report(Check::ReservationPins, self.place(), expected, found);
        } else if pinned > held {
            findings.report(Check::ReservationPins, self.place(), format!("at most {held}"), pinned);
        }
    }
}

/// Adds shares. What becomes nothing goes.
fn add(pins: &mut Pins, shares: &[GrantShare]) {
    for share in shares {
        *pins.entry(share.sequence).or_default() += i128::from(share.amount.get());
    }
    pins.retain(|_, amount| *amount != 0);
}

fn pins_text(pins: &Pins) -> String {
    let text = |(sequence, amount): (&i64, &i128)| format!("{amount} of grant {sequence}");
    if pins.is_empty() { "none".to_owned() } else { pins.iter().map(text).collect::<Vec<_>>().join(", ") }
}

fn state(number: i16) -> String {
    ReservationState::from_number(number).map_or_else(|| number.to_string(), |state| state.name().to_owned())
}

fn sequence_or_none(sequence: Option<i64>) -> String {
    sequence.map_or_else(|| "none".to_owned(), |sequence| sequence.to_string())
}

pub(super) fn time_or_none(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| time.to_string())
}
