//! Reads: nothing that was shown at any time contradicts the book, or what had been told before.

use billing::grpc::proto;

use super::{
    super::{
        book::Book,
        history::{Found, Read, Records, Seen},
        wording::{ACCOUNT_STATES, Told, balance_message, entry_message, number, timestamp},
    },
    Expected, Verdicts, since,
    told::Newest,
};
use crate::model::{Entry, reservations_of, settings_of};

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
        let fits = match &read.seen {
            Seen::Operation { key, found } => {
                let known = (journal, newest_told);
                check_operation(read, key, found.as_ref(), known, records, expected, verdicts);
                continue;
            }
            Seen::Page(page) => page_fits(page, journal, newest_told),
            Seen::Account { account, clock } => account_fits(account.as_ref(), *clock, journal, newest_told),
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
    (journal, newest_told): (&[&Entry], i64),
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
                && since::fits_read(found, newest_told, journal)
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
    let Some(newest) = page.first().map(|entry| entry.sequence) else { return newest_told == 0 };
    let sequences = (1..=newest).rev();
    newest >= newest_told
        && page.iter().zip(sequences).all(|(entry, sequence)| {
            at(journal, sequence).is_some_and(|written| *entry == entry_message(written))
        })
}

/// The account as it was after one of its entries, without what had run out by the clock at that time.
fn account_fits(
    account: Option<&proto::Account>,
    clock: (i64, i64),
    journal: &[&Entry],
    newest_told: i64,
) -> bool {
    let Some(account) = account else { return newest_told == 0 };
    let (Some(first), Some(last)) = (journal.first(), at(journal, account.last_sequence)) else {
        return false;
    };
    let after_last = &journal[..usize::try_from(last.sequence).unwrap()];
    let settings = settings_of(after_last);
    account.last_sequence >= newest_told
        && account.create_time == Some(timestamp(first.create_time))
        && account.update_time == Some(timestamp(last.create_time))
        && account.state == number(&ACCOUNT_STATES, settings.state)
        && account.debt_limit_micro_usd == settings.debt_limit
        && moved_between(after_last, clock).into_iter().any(|(captured, held)| {
            account.balance
                == Some(balance_message(last.posted_after - captured, held, last.withdrawable_after))
        })
}

/// What the ends of leases may have captured between two times of the clock, and what reservations still held: a lease that
/// ran out in between may count or not.
fn moved_between(journal: &[&Entry], (from, until): (i64, i64)) -> Vec<(i64, i64)> {
    let mut open = reservations_of(journal);
    open.retain(|reservation| reservation.status.state == "OPEN");
    let at = |time: i64| {
        let ended = open.iter().map(|reservation| (reservation.status, reservation.clone().at(time).status));
        ended.fold((0, 0), |(captured, held), (before, after)| {
            (captured + after.captured - before.captured, held + after.held)
        })
    };
    let ends = open.iter().map(|reservation| reservation.status.expire_time);
    [from].into_iter().chain(ends.filter(|end| (from..=until).contains(end))).map(at).collect()
}

fn at<'a>(journal: &[&'a Entry], sequence: i64) -> Option<&'a Entry> {
    journal.get(usize::try_from(sequence - 1).ok()?).copied()
}
