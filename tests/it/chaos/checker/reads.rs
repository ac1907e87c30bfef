//! Reads: nothing that was shown at any time contradicts the book, or what had been told before.

use billing::grpc::proto;

use super::{
    super::{
        book::Book,
        history::{Clock, Found, Read, Records, Seen},
        wording::{Told, account_message, entry_message, grant_message, statement_message},
    },
    Expected, Verdicts, since,
    told::Newest,
};
use crate::model::{Entry, Limits, Model, reservations_of};

/// Judges every read.
pub(super) fn check(
    (records, newest): (&Records, &Newest),
    book: &Book,
    expected: &Expected,
    verdicts: &mut Verdicts,
) {
    let journals = book.journals();
    for read in &records.reads {
        let journal = journals.get(read.account.as_str()).map_or(&[][..], Vec::as_slice);
        let newest_told = newest.by(&read.account, read.sent);
        let known = Known { account: &read.account, journal, told: newest_told };
        let fits = match &read.seen {
            Seen::Operation { key, found } => {
                check_operation(read, key, found.as_ref(), known, records, expected, verdicts);
                continue;
            }
            Seen::Page(page) => page_fits(page, journal, newest_told),
            Seen::Account { account, as_of, clock } => known.shows(account.as_ref(), *as_of, *clock),
            Seen::Grants { grants, only_open, clock } => known.grants(grants.as_deref(), *only_open, *clock),
            Seen::Statement { statement, period, clock } => {
                known.sums_up(statement.as_ref(), *period, *clock)
            }
        };
        if !fits {
            verdicts.unexplained.push(format!("a read that contradicts the book: {read:?}"));
        }
    }
}

/// What had been told is found, and what is found is what the book has at the end.
fn check_operation(
    read: &Read,
    key: &str,
    found: Option<&Found>,
    Known { journal, told, .. }: Known,
    records: &Records,
    expected: &Expected,
    verdicts: &mut Verdicts,
) {
    let name = (read.account.clone(), key.to_owned());
    let operation = &records.operations[&name];
    let fits = match (found, expected.get(&name)) {
        (None, _) if operation.standing().any(|(attempt, _)| attempt.settled < read.sent) => {
            return verdicts.lost.push(format!("{name:?}: it was told, and then not found: {operation:?}"));
        }
        (None, _) => true,
        (Some(Found::Applied(found)), Some(Told::Applied(applied))) => {
            found.entry.as_ref() == Some(&applied.entry)
                && found.leg_entries == applied.leg_entries
                && since::fits_read(found, told, journal)
        }
        (Some(Found::Refused(refusal)), Some(Told::Refused { reason, message, metadata })) => {
            (refusal.code, &refusal.reason, &refusal.message, &refusal.metadata)
                == (9, reason, message, metadata)
        }
        (Some(_), None) => {
            return verdicts.lost.push(format!("{name:?}: it was shown, and is not in the book: {read:?}"));
        }
        (Some(_), Some(_)) => false,
    };
    if !fits {
        let expected = expected.get(&name);
        verdicts
            .unexplained
            .push(format!("{name:?}: a read shows {found:?}; the book makes it {expected:?}"));
    }
}

/// The newest entries, newest first, and none missing that had been told.
fn page_fits(page: &[proto::Entry], journal: &[&Entry], newest_told: i64) -> bool {
    let Some(newest) = page.first() else { return newest_told == 0 };
    let sequences = (1..=newest.sequence).rev();
    newest.sequence >= newest_told
        && newest.lapsed_micro_usd == 0
        && page.iter().zip(sequences).all(|(entry, sequence)| {
            at(journal, sequence).is_some_and(|written| *entry == entry_message(written))
        })
}

/// An account's journal at the end, and up to which sequence it had been told before it was read.
#[derive(Clone, Copy)]
struct Known<'a> {
    account: &'a str,
    journal: &'a [&'a Entry],
    told: i64,
}

impl Known<'_> {
    /// The account as it was after one of its entries, without what had run out by the clock at that time, or by the time
    /// that was asked about: then after the last entry of all up to that time, as far as they were there.
    fn shows(self, shown: Option<&proto::Account>, as_of: Option<i64>, clock: Clock) -> bool {
        let until = as_of.map_or(self.journal.len(), |time| self.written_by(time));
        let told = usize::try_from(self.told).unwrap().min(until);
        let Some(shown) = shown else { return told == 0 };
        let count = usize::try_from(shown.last_sequence).unwrap();
        let Some(model) = self.after(count).filter(|_| (told..=until).contains(&count)) else {
            return false;
        };
        let times = as_of.map_or_else(|| self.times(count, clock), |time| vec![time]);
        times.into_iter().any(|time| {
            let account = model.account_at(self.account, time);
            account.is_some_and(|account| *shown == account_message(self.account, &account))
        })
    }

    /// The grants as they were after some entry, without what had run out by the clock at that time.
    fn grants(self, listed: Option<&[proto::Grant]>, only_open: bool, clock: Clock) -> bool {
        let Some(listed) = listed else { return self.told == 0 };
        self.states(clock).any(|(count, model)| {
            self.times(count, clock).into_iter().any(|time| {
                let mut model = model.clone();
                model.lapse(self.account, time);
                let mut grants = model.grants(self.account);
                grants.retain(|grant| !only_open || grant.remaining > 0);
                grants.sort_by_key(|grant| -grant.sequence);
                listed.iter().copied().eq(grants.iter().map(grant_message))
            })
        })
    }

    /// The statement of a period that had passed, as it was known after some entry.
    fn sums_up(self, shown: Option<&proto::GetStatementResponse>, period: (i64, i64), clock: Clock) -> bool {
        let Some(shown) = shown else { return self.told == 0 };
        let mut shown = shown.clone();
        shown.totals.sort_by_key(|total| total.entry_type);
        self.states(clock).any(|(_, model)| {
            let statement = model.statement(self.account, period, clock.0);
            shown == statement_message(&statement)
        })
    }

    /// How many entries were written by a time.
    fn written_by(self, time: i64) -> usize {
        self.journal.partition_point(|entry| entry.create_time <= time)
    }

    /// The account after so many entries as may have been there, with how many these are.
    fn states(self, (_, until): Clock) -> impl Iterator<Item = (usize, Model)> {
        let told = usize::try_from(self.told.max(1)).unwrap();
        (told..=self.written_by(until)).filter_map(move |count| Some((count, self.after(count)?)))
    }

    /// The account after so many entries, if there are so many, and what the last makes necessary is not behind it.
    fn after(self, count: usize) -> Option<Model> {
        let entries = self.journal.get(..count)?;
        entries.last().filter(|last| last.lapsed == 0)?;
        let mut model = Model::new(NO_LIMITS, &[], 0);
        for entry in entries {
            model.give(entry);
        }
        Some(model)
    }

    /// The first of the times between two of the clock, and each at which something of the account after so many entries runs
    /// out; not before the newest of these.
    fn times(self, count: usize, (from, until): Clock) -> Vec<i64> {
        let entries = &self.journal[..count];
        let newest = entries.last().map_or(from, |last| last.create_time);
        let leases = reservations_of(entries).into_iter().map(|lease| lease.status.expire_time);
        let ends = leases.chain(entries.iter().filter_map(|entry| entry.expire));
        let ends = ends.filter(|end| (from..=until).contains(end));
        [from].into_iter().chain(ends).map(|time| time.max(newest)).collect()
    }
}

/// Who only reads is not asked to allow anything.
const NO_LIMITS: Limits = Limits { admin_credit_max: 0, debt_max: 0 };

fn at<'a>(journal: &[&'a Entry], sequence: i64) -> Option<&'a Entry> {
    journal.get(usize::try_from(sequence - 1).ok()?).copied()
}
