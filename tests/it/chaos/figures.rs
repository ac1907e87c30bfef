//! What happened, in figures, for people.

use std::{collections::BTreeMap, fmt};

use super::{
    book::{Book, Refusal},
    checker::{Verdicts, legs},
    faults::{Sort, Tally},
    history::{Name, Operation, Records},
    wording::{Outcome, Told},
};
use crate::model::Entry;

/// Fewer operations than this in a second are no load.
const ANSWERED_PER_SECOND_MIN: u64 = 5;
/// Fewer kinds of faults than this are no chaos.
const KINDS_MIN: usize = 4;
/// From so many seconds on there must have been so many kills and as many cuts.
const LONG_RUN: u64 = 300;
const SORT_MIN: usize = 100;
/// From so many seconds on everything must have happened to grants.
const GRANTS_RUN: u64 = 60;

/// A run.
pub struct Figures<'a> {
    pub seed: u64,
    pub seconds: u64,
    pub records: &'a Records,
    pub book: &'a Book,
    pub tally: &'a Tally,
    pub verdicts: &'a Verdicts,
}

impl Figures<'_> {
    /// Fails if what happened proves nothing.
    pub fn check_enough_happened(&self) {
        let answered = u64::try_from(self.answered()).unwrap();
        assert!(
            answered >= self.seconds * ANSWERED_PER_SECOND_MIN,
            "only {answered} operations were answered"
        );
        assert!(self.records.lists > 0, "no list was sent");
        let kinds = self.tally.counts().len();
        assert!(kinds >= KINDS_MIN, "only {kinds} kinds of faults");
        let (kills, cuts) = (self.tally.total(Sort::Kill), self.tally.total(Sort::Cut));
        assert!(self.legs().next().is_some(), "nobody was paid by a leg");
        let is_short = self.seconds < LONG_RUN;
        assert!(is_short || self.extended_in_debt() > 0, "no reservation was extended in debt");
        assert!(is_short || self.taken_back() > 0, "nothing was taken back of any leg");
        for (what, count) in self.of_grants() {
            assert!(self.seconds < GRANTS_RUN || count > 0, "of what happens to grants, no {what}");
        }
        assert!(is_short || kills >= SORT_MIN && cuts >= SORT_MIN, "only {kills} kills and {cuts} cuts");
    }

    fn extended_in_debt(&self) -> usize {
        let in_debt = |entry: &&Entry| entry.entry_type == "EXTEND" && entry.posted_after < entry.held_after;
        self.book.entries.iter().filter(in_debt).count()
    }

    fn refused_for_payees(&self) -> usize {
        let is_of_payee = |(_, refusal): &&(Name, Refusal)| refusal.metadata.contains_key("payee_account_id");
        self.book.refusals.iter().filter(is_of_payee).count()
    }

    /// What was moved for the operation of another account.
    fn legs(&self) -> impl Iterator<Item = &Entry> {
        self.book.entries.iter().filter(|entry| entry.source.is_some())
    }

    /// How many entries did what to grants.
    fn of_grants(&self) -> [(&'static str, usize); 8] {
        let count = |of: fn(&Entry) -> bool| self.book.entries.iter().filter(|entry| of(entry)).count();
        [
            ("grants", count(|entry| entry.expire.is_some())),
            ("draws on grants", count(|entry| !entry.moves.draws.is_empty())),
            ("unwinds into grants", count(|entry| !entry.moves.unwinds.is_empty())),
            ("conversions of grants", count(|entry| !entry.moves.converted.is_empty())),
            ("pins of grants", count(|entry| entry.moves.pins.iter().any(|(_, amount)| *amount > 0))),
            ("lapses of grants", count(|entry| entry.entry_type == "GRANT_EXPIRE")),
            ("lapses of what came back too late", count(|entry| entry.lapsed > 0)),
            ("ends of holds that outlived a grant", self.outlived()),
        ]
    }

    /// How many entries gave up what a reservation held of a grant that had expired.
    fn outlived(&self) -> usize {
        let journals = self.book.journals();
        let has_outlived = |entry: &&Entry| {
            entry.moves.pins.iter().filter(|(_, amount)| *amount < 0).any(|(sequence, _)| {
                let grant = legs::at(&journals, &entry.account, *sequence);
                grant.and_then(|grant| grant.expire).is_some_and(|expire| expire <= entry.effective_time)
            })
        };
        self.book.entries.iter().filter(has_outlived).count()
    }

    fn taken_back(&self) -> usize {
        self.legs().filter(|leg| leg.reversed_sequence.is_some()).count()
    }

    /// How many legs are of an operation that drew on grants.
    fn paid_by_grants(&self) -> usize {
        let draws = self.book.entries.iter().filter(|entry| !entry.moves.draws.is_empty());
        draws.flat_map(|payer| &payer.legs).filter(|(_, sequence, _)| *sequence > 0).count()
    }

    fn answered(&self) -> usize {
        let is_answered = |operation: &&Operation| operation.told().next().is_some();
        self.records.operations.values().filter(is_answered).count()
    }

    fn attempts(&self) -> impl Iterator<Item = &Outcome> {
        let attempts = self.records.operations.values().flat_map(|operation| &operation.attempts);
        attempts.map(|attempt| &attempt.outcome)
    }

    /// What went without an answer, by what was said instead.
    fn unanswered(&self) -> BTreeMap<&str, usize> {
        count(self.attempts().filter_map(|outcome| match outcome {
            Outcome::Unanswered(what) => Some(what.as_str()),
            Outcome::Told(_) | Outcome::Unexplained(_) => None,
        }))
    }

    fn replays(&self) -> usize {
        let is_replay =
            |outcome: &&Outcome| matches!(outcome, Outcome::Told(Told::Applied(applied)) if applied.replayed);
        self.attempts().filter(is_replay).count()
    }

    fn refusals(&self) -> BTreeMap<&str, usize> {
        count(self.book.refusals.iter().map(|(_, refusal)| refusal.reason.as_str()))
    }
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, records, book, tally, verdicts } = self;
        let asked = records.operations.len();
        let expiries = book.entries.iter().filter(|entry| entry.entry_type == "EXPIRE").count();
        let unanswered = self.unanswered();
        row(f, "seed", seed)?;
        row(f, "seconds", seconds)?;
        row(f, "operations asked for", asked)?;
        row(f, "operations answered", self.answered())?;
        row(f, "operations abandoned", asked - self.answered())?;
        row(f, "lists of operations", records.lists)?;
        row(f, "calls", self.attempts().count())?;
        row(f, "calls unanswered", unanswered.values().sum::<usize>())?;
        rows(f, unanswered)?;
        row(f, "replays", self.replays())?;
        row(f, "keys misused", records.misuses.len())?;
        row(f, "reads", records.reads.len())?;
        row(f, "refusals", book.refusals.len())?;
        rows(f, self.refusals())?;
        row(f, "because of a payee among them", self.refused_for_payees())?;
        row(f, "entries", book.entries.len())?;
        row(f, "expiries among them", expiries)?;
        row(f, "extensions in debt among them", self.extended_in_debt())?;
        row(f, "legs among them", self.legs().count())?;
        row(f, "parts taken back of legs among them", self.taken_back())?;
        for (what, count) in self.of_grants() {
            row(f, &format!("{what} among them"), count)?;
        }
        row(f, "legs that grants paid among them", self.paid_by_grants())?;
        row(f, "faults", tally.counts().iter().map(|(_, count)| count).sum::<usize>())?;
        rows(f, tally.counts())?;
        row(f, "kills", tally.total(Sort::Kill))?;
        row(f, "cuts", tally.total(Sort::Cut))?;
        row(f, "lost", verdicts.lost.len())?;
        row(f, "doubled", verdicts.doubled.len())?;
        row(f, "unexplained", verdicts.unexplained.len())
    }
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, figure: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<44}{figure:>10}")
}

fn rows<'a>(f: &mut fmt::Formatter<'_>, counts: impl IntoIterator<Item = (&'a str, usize)>) -> fmt::Result {
    counts.into_iter().try_for_each(|(name, count)| row(f, &format!("  {name}"), count))
}
