//! The journals, replayed through the reference model: each request at the place and the time of its entry.
//!
//! What was answered without an entry of its own (a refusal, a payment that another key had credited) has a time, and the
//! model must give that answer at one of the places which that time allows.
//!
//! Each journal has a model of its own. Before an operation with legs, it is given the journals of the payees as far as they
//! had come (`legs`); so what the legs moved is judged in the payer's journal and, as far as the payee has a say in it, again
//! in the payee's.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        book::{Book, Refusal, Replay},
        history::{Name, Records},
        wording::Told,
    },
    Expected, Verdicts,
    legs::{self, Journals},
};
use crate::model::{Answer, Call, Entry, Limits, Model};

/// The entry of each payment, by its names.
type Credited<'a> = BTreeMap<&'a str, &'a Entry>;

/// Replays all journals, and returns what each key has to be answered.
pub(super) fn journals(records: &Records, book: &Book, limits: Limits, verdicts: &mut Verdicts) -> Expected {
    let mut expected = Expected::new();
    let credited = credited(book);
    let journals = book.journals();
    let mut unwritten = unwritten(records, book);
    let accounts: BTreeSet<&str> = journals.keys().chain(unwritten.keys()).copied().collect();
    for account in accounts {
        let entries = journals.get(account).map_or(&[][..], Vec::as_slice);
        let of_account = unwritten.remove(account).unwrap_or_default();
        let model = Model::new(limits, &[], 0);
        let (journals, credited) = (&journals, &credited);
        let mut journal =
            Journal { account, entries, unwritten: of_account, records, journals, credited, model };
        journal.replay(&mut expected, verdicts);
    }
    expected
}

fn credited<'book>(book: &'book Book) -> Credited<'book> {
    let entries: BTreeMap<_, _> =
        book.entries.iter().map(|entry| ((entry.account.as_str(), entry.sequence), entry)).collect();
    let payments = book.payments.iter();
    let entry = |account: &'book str, sequence| entries.get(&(account, sequence)).copied();
    payments
        .filter_map(|(name, (account, sequence))| Some((name.as_str(), entry(account, *sequence)?)))
        .collect()
}

/// What each account was answered without an entry of its own, as far as it was asked for.
fn unwritten<'a>(records: &'a Records, book: &'a Book) -> BTreeMap<&'a str, Vec<Unwritten<'a>>> {
    let refusals = book.refusals.iter().map(|(name, refusal)| (name, Answered::No(refusal)));
    let replays = book.replays.iter().map(|(name, replay)| (name, Answered::Before(replay)));
    let mut unwritten: BTreeMap<&str, Vec<Unwritten>> = BTreeMap::new();
    for (name, answered) in refusals.chain(replays) {
        let Some(operation) = records.operations.get(name) else { continue };
        let of_account = unwritten.entry(&name.0).or_default();
        of_account.push(Unwritten {
            call: &operation.call,
            answered,
            verdicts: Vec::new(),
            is_explained: false,
        });
    }
    unwritten
}

/// An operation that was answered without an entry of its own.
struct Unwritten<'a> {
    call: &'a Call,
    answered: Answered<'a>,
    /// What the model said to it, where it was not that.
    verdicts: Vec<Answer>,
    is_explained: bool,
}

#[derive(Debug, Clone, Copy)]
enum Answered<'a> {
    No(&'a Refusal),
    Before(&'a Replay),
}

impl Answered<'_> {
    fn create_time(&self) -> i64 {
        match self {
            Self::No(refusal) => refusal.create_time,
            Self::Before(replay) => replay.create_time,
        }
    }

    /// The answer, if the model agrees to it.
    fn told(&self, verdict: &Answer) -> Option<Told> {
        match (self, verdict) {
            (Self::No(refusal), Answer::Refused { reason, metadata })
                if refusal.reason == *reason && refusal.metadata == *metadata =>
            {
                let Refusal { reason, message, metadata, .. } = (*refusal).clone();
                Some(Told::Refused { reason, message, metadata })
            }
            (Self::Before(replay), Answer::Applied { entry, since: Some(_), .. })
                if replay.sequence == entry.sequence =>
            {
                Told::applied(verdict)
            }
            _ => None,
        }
    }
}

/// One account's journal, and how far it has been replayed.
struct Journal<'a> {
    account: &'a str,
    entries: &'a [&'a Entry],
    unwritten: Vec<Unwritten<'a>>,
    records: &'a Records,
    /// Those of all accounts.
    journals: &'a Journals<'a>,
    credited: &'a Credited<'a>,
    model: Model,
}

impl<'a> Journal<'a> {
    fn replay(&mut self, expected: &mut Expected, verdicts: &mut Verdicts) {
        for position in 0..=self.entries.len() {
            self.explain(position, expected);
            let Some(entry) = self.entries.get(position) else { break };
            let answer = self.write(entry);
            let of_model = self.model.entries(self.account).get(position).copied();
            if of_model != Some(entry) {
                let account = self.account;
                let finding = format!(
                    "{account}: the book has {entry:?}; the model has {of_model:?}, and says {answer:?}"
                );
                return verdicts.unexplained.push(finding); // what follows would follow from this
            }
            if let (Some(key), Some(told)) = (&entry.key, answer.as_ref().and_then(Told::applied)) {
                expected.insert((self.account.to_owned(), key.clone()), told);
            }
        }
        if let Some(missing) = self.model.entries(self.account).get(self.entries.len()) {
            let finding = format!("{}: the book ends before {missing:?}", self.account);
            verdicts.unexplained.push(finding);
        }
        for unwritten in self.unwritten.iter().filter(|unwritten| !unwritten.is_explained) {
            let Unwritten { call, answered, verdicts: said, .. } = unwritten;
            let finding =
                format!("{call:?}: the book has {answered:?}; at that time the model says {said:?}");
            verdicts.unexplained.push(finding);
        }
    }

    /// Has the model write what the book has next: an expiry by itself, a leg because it was paid, all else because it was
    /// asked for. What lapses because of an entry, the model has written with that.
    fn write(&mut self, entry: &Entry) -> Option<Answer> {
        if entry.source.is_some() {
            let earned = legs::earned(entry, self.journals, self.records).unwrap_or(entry.amount);
            self.model.receive(entry, earned);
            return None;
        }
        if entry.key.as_ref().is_some_and(|key| key.starts_with("billing/")) {
            self.model.lapse(self.account, entry.create_time);
            return None;
        }
        let mut said = None;
        let call = self.call(entry)?;
        for mut model in legs::informed(&self.model, call, entry.create_time, &entry.legs, self.journals) {
            let answer = model.call(entry.create_time, call);
            let is_right = legs::are_in_the_book(&answer, self.journals);
            said = Some(answer);
            if is_right {
                self.model = model;
                break;
            }
        }
        said
    }

    /// Asks the model about each operation whose time is between those of the entries around a position, and again while that
    /// explains some: one of them may have named a payment that another is about.
    fn explain(&mut self, position: usize, expected: &mut Expected) {
        while self.explain_some(position, expected) {}
    }

    fn explain_some(&mut self, position: usize, expected: &mut Expected) -> bool {
        let mut has_explained = false;
        let after = position.checked_sub(1).map_or(i64::MIN, |last| self.entries[last].create_time);
        let before = self.entries.get(position).map_or(i64::MAX, |next| next.create_time);
        for unwritten in self.unwritten.iter_mut().filter(|unwritten| !unwritten.is_explained) {
            let time = unwritten.answered.create_time();
            // Whatever is answered for good, what had run out by then was written down before.
            if time < after || time > before || self.model.has_lapsed(self.account, time) {
                continue;
            }
            let mut models = legs::informed(&self.model, unwritten.call, time, &[], self.journals);
            models.extend(knowing_payments(&self.model, unwritten.call, self.credited));
            let verdicts = models.iter().map(|model| model.verdict(time, unwritten.call));
            let verdicts: Vec<Answer> = verdicts.collect();
            let agreed = verdicts.iter().find_map(|said| Some((said, unwritten.answered.told(said)?)));
            let Some((verdict, told)) = agreed else {
                unwritten.verdicts.extend(verdicts);
                continue;
            };
            unwritten.is_explained = true;
            has_explained = true;
            self.model.remember(unwritten.call, verdict); // a refund may name it later
            expected.insert((self.account.to_owned(), unwritten.call.key.clone()), told);
        }
        has_explained
    }

    fn call(&self, entry: &Entry) -> Option<&'a Call> {
        let name: Name = (entry.account.clone(), entry.key.clone()?);
        self.records.operations.get(&name).map(|operation| &operation.call)
    }
}

/// The same model, knowing which of the payments that a call names are of other accounts, if any are. From when on they were,
/// only the database knows.
fn knowing_payments(model: &Model, call: &Call, credited: &Credited) -> Option<Model> {
    let entries = call.external_ids().iter().filter_map(|id| Some((id, *credited.get(id.as_str())?)));
    let of_others: Vec<_> = entries.filter(|(_, entry)| entry.account != call.account).collect();
    let mut model = (!of_others.is_empty()).then(|| model.clone())?;
    for (id, entry) in of_others {
        model.know_payment(id, entry);
    }
    Some(model)
}
