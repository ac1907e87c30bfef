//! Judges a history by the book: what was answered is there, what is there was asked for, and each only once.
//!
//! It knows nothing of the service. What every answer and every entry has to be, the reference model says (`replay`).

#[cfg(test)]
mod grant_tests;
mod grants;
#[cfg(test)]
mod leg_tests;
pub mod legs;
mod order;
mod reads;
mod replay;
#[cfg(test)]
mod scenario;
mod since;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use billing::grpc::proto;

use super::{
    book::Book,
    history::{Attempt, Misuse, Moment, Name, Operation, Records},
    wording::{Applied, Outcome, Told},
};
use crate::model::{Answer, Entry, Limits, Of, What};
use told::Newest;

/// What is wrong, each with the key, what was asked and told, and what was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// It was answered, and is not in the book.
    pub lost: Vec<String>,
    /// A key or a payment was applied more than once.
    pub doubled: Vec<String>,
    /// Anything else that does not fit.
    pub unexplained: Vec<String>,
}

/// What the book holds, an entry or another answer, by key.
type Index<'a> = BTreeMap<Name, Vec<&'a dyn fmt::Debug>>;

/// What each key has to be answered, as the model says.
type Expected = BTreeMap<Name, Told>;

/// Judges all of a history.
pub fn check(records: &Records, book: &Book, limits: Limits) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let index = index(book);
    let journals = book.journals();
    let newest = Newest::of(records);
    let expected = replay::journals(records, book, limits, &mut verdicts);
    for (name, operation) in &records.operations {
        let held = index.get(name).map_or(&[][..], Vec::as_slice);
        check_operation(name, operation, held, &mut verdicts);
        let journal = journals.get(name.0.as_str()).map_or(&[][..], Vec::as_slice);
        check_answers(name, operation, expected.get(name), journal, &mut verdicts);
        check_not_found(name, operation, journal, (records, &newest), &mut verdicts);
        check_invalid(name, operation, journal, &mut verdicts);
        check_declined(name, operation, limits, &mut verdicts);
    }
    check_strangers(records, &index, &mut verdicts);
    check_payments(book, &mut verdicts);
    legs::check(book, &mut verdicts);
    grants::check(book, &mut verdicts);
    for misuse in &records.misuses {
        check_misuse(misuse, records, &mut verdicts);
    }
    order::check(records, book, &mut verdicts);
    reads::check((records, &newest), book, &expected, &mut verdicts);
    verdicts.unexplained.extend(records.incidents.iter().cloned());
    verdicts
}

fn index(book: &Book) -> Index<'_> {
    let mut index = Index::new();
    for entry in &book.entries {
        if let Some(key) = &entry.key {
            index.entry((entry.account.clone(), key.clone())).or_default().push(entry);
        }
    }
    for (name, refusal) in &book.refusals {
        index.entry(name.clone()).or_default().push(refusal);
    }
    for (name, replay) in &book.replays {
        index.entry(name.clone()).or_default().push(replay);
    }
    index
}

/// Whatever was answered for good is there once, and what is there may have happened.
fn check_operation(name: &Name, operation: &Operation, held: &[&dyn fmt::Debug], verdicts: &mut Verdicts) {
    let is_answered = operation.standing().next().is_some();
    match held {
        [] if is_answered => verdicts.lost.push(report(name, operation, "the book has nothing")),
        [_] if !is_answered && !operation.has_open_end() => {
            verdicts.unexplained.push(report(name, operation, &format!("nobody was told of {held:?}")));
        }
        [] | [_] => {}
        _ => verdicts.doubled.push(report(name, operation, &format!("the book has {held:?}"))),
    }
    for attempt in &operation.attempts {
        if let Outcome::Unexplained(_) | Outcome::Told(Told::KeyReused { .. }) = attempt.outcome {
            verdicts.unexplained.push(report(name, operation, "no answer of the contract"));
        }
    }
}

/// Every answer is the one that the model gives, and says rightly whether it was given before.
fn check_answers(
    name: &Name,
    operation: &Operation,
    expected: Option<&Told>,
    journal: &[&Entry],
    verdicts: &mut Verdicts,
) {
    let Some(expected) = expected else { return };
    let mut firsts = 0;
    for (attempt, told) in operation.standing() {
        if told.lasting() != expected.lasting() {
            let found = report(name, operation, &format!("the book makes it {expected:?}"));
            // The entry of the answer is not there, whatever else is.
            let is_lost = is_of_another_entry(told, expected);
            return if is_lost { &mut verdicts.lost } else { &mut verdicts.unexplained }.push(found);
        }
        let Told::Applied(applied) = told else { continue };
        firsts += usize::from(!applied.replayed);
        if !says_rightly_whether_it_is_a_replay(operation, attempt, applied) {
            let found = "an answer says wrongly whether it was given before";
            verdicts.unexplained.push(report(name, operation, found));
        }
        if !since::fits(applied, journal) {
            let found = "an answer says wrongly what has happened since";
            verdicts.unexplained.push(report(name, operation, found));
        }
    }
    if firsts > 1 {
        verdicts.doubled.push(report(name, operation, "more than one answer says that it is the first"));
    }
}

fn is_of_another_entry(told: &Told, expected: &Told) -> bool {
    let place = |entry: &proto::Entry| (entry.account_id.clone(), entry.sequence);
    told.entry().is_some_and(|entry| expected.entry().map(place) != Some(place(entry)))
}

/// A replay follows a call that may have been carried out; after an answer there are only replays.
fn says_rightly_whether_it_is_a_replay(operation: &Operation, attempt: &Attempt, applied: &Applied) -> bool {
    let is_own = applied.entry.idempotency_key == operation.call.key;
    if applied.replayed {
        let mut others = operation.attempts.iter().filter(|other| other.settled != attempt.settled);
        !is_own || others.any(|other| other.sent < attempt.settled)
    } else {
        is_own && operation.standing().all(|(other, _)| other.settled >= attempt.sent)
    }
}

/// What was not found had not been told of by then.
fn check_not_found(
    name: &Name,
    operation: &Operation,
    journal: &[&Entry],
    (records, newest): (&Records, &Newest),
    verdicts: &mut Verdicts,
) {
    for (attempt, told) in operation.told() {
        let Told::NotFound { reason } = told else { continue };
        let is_explained = match (&operation.call.what, reason.as_str()) {
            (What::Refund { of: Of::Key(key), .. }, "CHARGE_NOT_FOUND")
            | (What::Reverse { of: Of::Key(key), .. }, "CREDIT_NOT_FOUND")
            | (
                What::Capture { reservation_id: key, .. }
                | What::Release { reservation_id: key }
                | What::Extend { reservation_id: key, .. },
                "RESERVATION_NOT_FOUND",
            ) => !was_applied(records, &(name.0.clone(), key.clone()), attempt.sent),
            (What::SetAccount(_), "ACCOUNT_NOT_FOUND") => newest.by(&name.0, attempt.sent) == 0,
            (What::Refund { of: Of::Sequence(sequence), .. }, "CHARGE_NOT_FOUND")
            | (What::Reverse { of: Of::Sequence(sequence), .. }, "CREDIT_NOT_FOUND") => {
                newest.by(&name.0, attempt.sent) < *sequence
            }
            (What::Refund { of: Of::ExternalId(id), .. }, "CHARGE_NOT_FOUND")
            | (What::Reverse { of: Of::ExternalId(id), .. }, "CREDIT_NOT_FOUND") => {
                !was_named(records, &name.0, id, attempt.sent)
            }
            _ => false,
        };
        let told = journal.partition_point(|entry| entry.sequence <= newest.by(&name.0, attempt.sent));
        if !is_explained || is_of_one_of(&operation.call.what, &journal[..told]) {
            verdicts.unexplained.push(report(name, operation, "what it names was there"));
        }
    }
}

/// Whether it is to undo one of these entries, by whatever name, also one that is a leg.
fn is_of_one_of(what: &What, entries: &[&Entry]) -> bool {
    match what {
        What::Refund { of, .. } | What::Reverse { of, .. } => named(entries, of).is_some(),
        What::Credit { .. }
        | What::Charge { .. }
        | What::AdminCredit { .. }
        | What::Reserve { .. }
        | What::Capture { .. }
        | What::Release { .. }
        | What::Extend { .. }
        | What::SetAccount(_)
        | What::Withdraw { .. } => false,
    }
}

/// What was told to lack a word about legs is a refund of a debit that has some. What is written stays, so the end tells.
fn check_invalid(name: &Name, operation: &Operation, journal: &[&Entry], verdicts: &mut Verdicts) {
    for (_, told) in operation.told() {
        let Told::Invalid { field } = told else { continue };
        let is_explained = if let What::Refund { amount, of, legs: None } = &operation.call.what {
            let debit = named(journal, of).filter(|debit| !debit.legs.is_empty());
            field == "legs" && debit.is_some_and(|debit| *amount <= -debit.amount)
        } else {
            false
        };
        if !is_explained {
            verdicts.unexplained.push(report(name, operation, "what it names has no legs"));
        }
    }
}

/// The entry with a name in a journal.
fn named<'a>(journal: &[&'a Entry], of: &Of) -> Option<&'a Entry> {
    let is_named = |entry: &&&Entry| match of {
        Of::Sequence(sequence) => entry.sequence == *sequence,
        Of::Key(key) => entry.key.as_ref() == Some(key),
        Of::ExternalId(id) => entry.external_ids.contains(id),
    };
    journal.iter().find(is_named).copied()
}

/// What was declined is more than the configuration allows.
fn check_declined(name: &Name, operation: &Operation, limits: Limits, verdicts: &mut Verdicts) {
    let is_explained =
        matches!(operation.call.what, What::AdminCredit { amount, .. } if amount > limits.admin_credit_max);
    let is_declined = operation.told().any(|(_, told)| matches!(told, Told::Declined { .. }));
    if is_declined && !is_explained {
        verdicts.unexplained.push(report(name, operation, "the configuration allows it"));
    }
}

/// Whether it had been told by a moment that an operation was applied.
fn was_applied(records: &Records, name: &Name, by: Moment) -> bool {
    let Some(operation) = records.operations.get(name) else { return false };
    operation.standing().any(|(attempt, told)| attempt.settled < by && matches!(told, Told::Applied(_)))
}

/// Whether it had been told by a moment that an operation on an account was applied which gave a payment this name.
fn was_named(records: &Records, account: &str, external_id: &String, by: Moment) -> bool {
    let named = records
        .operations
        .iter()
        .filter(|((of, _), operation)| of == account && operation.call.external_ids().contains(external_id));
    named.into_iter().any(|(name, _)| was_applied(records, name, by))
}

/// Whatever is in the book was asked for.
fn check_strangers(records: &Records, index: &Index, verdicts: &mut Verdicts) {
    for ((account, key), held) in index {
        if key.starts_with("billing/leg/") || key.starts_with("billing/lapse/") {
            continue; // `legs` asks who lists it; `replay` has the model write what lapses
        }
        let asked = key.strip_prefix("billing/expire/").unwrap_or(key); // an expiry goes with what was reserved
        if !records.operations.contains_key(&(account.clone(), asked.to_owned())) {
            verdicts.unexplained.push(format!("{account} {key}: nobody asked for {held:?}"));
        }
    }
}

/// Every payment moved money once.
fn check_payments(book: &Book, verdicts: &mut Verdicts) {
    let mut moved: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &book.entries {
        for external_id in &entry.external_ids {
            moved.entry(external_id).or_default().push(entry);
        }
    }
    for (external_id, entries) in moved.into_iter().filter(|(_, entries)| entries.len() > 1) {
        verdicts.doubled.push(format!("{external_id}: moved money by {entries:?}"));
    }
}

/// Another request under a key that was answered is told so, and what differs.
fn check_misuse(misuse: &Misuse, records: &Records, verdicts: &mut Verdicts) {
    let name = (misuse.call.account.clone(), misuse.call.key.clone());
    let first = &records.operations[&name].call;
    let is_right = match (&misuse.outcome, first.reused_by(&misuse.call)) {
        (Outcome::Unanswered(_), _) => true,
        (
            Outcome::Told(Told::KeyReused { method, fields }),
            Some(Answer::KeyReused { method: its, fields: differ }),
        ) => {
            let differ: BTreeSet<String> = differ.into_iter().map(str::to_owned).collect();
            *method == its && *fields == differ
        }
        _ => false,
    };
    if !is_right {
        verdicts.unexplained.push(format!("{name:?}: after {first:?}, a misuse of its key: {misuse:?}"));
    }
}

fn report(name: &Name, operation: &Operation, found: &str) -> String {
    let (account, key) = name;
    format!("{account} {key}: asked {:?}; called {:?}; {found}", operation.call, operation.attempts)
}

impl Verdicts {
    pub fn are_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("lost", &self.lost), ("doubled", &self.doubled), ("unexplained", &self.unexplained)];
        for (verdict, findings) in named {
            for finding in findings {
                writeln!(f, "{verdict}: {finding}")?;
            }
        }
        Ok(())
    }
}
