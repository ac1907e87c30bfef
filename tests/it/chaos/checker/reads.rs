//! Reads: nothing that was shown at any time contradicts the book, or what had been told before.

use std::collections::BTreeMap;

use billing::grpc::proto;

use super::{
    super::{
        book::Book,
        history::{Found, Read, Records, Seen},
        wording::{Told, balance_message, entry_message, timestamp},
    },
    Expected, Verdicts, newest_told,
};
use crate::model::Entry;

/// Judges every read.
pub(super) fn check(records: &Records, book: &Book, expected: &Expected, verdicts: &mut Verdicts) {
    let journals = book.journals();
    for read in &records.reads {
        let journal = journals.get(read.account.as_str()).map_or(&[][..], Vec::as_slice);
        let fits = match &read.seen {
            Seen::Operation { key, found } => {
                check_operation(read, key, found.as_ref(), records, expected, verdicts);
                continue;
            }
            Seen::Page(page) => page_fits(page, journal, newest_told(records, &read.account, read.sent)),
            Seen::Account { account, clock } => account_fits(
                account.as_ref(),
                *clock,
                journal,
                newest_told(records, &read.account, read.sent),
            ),
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
        (Some(Found::Applied(entry)), Some(Told::Applied(applied))) => *entry == applied.entry,
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
    account.last_sequence >= newest_told
        && account.create_time == Some(timestamp(first.create_time))
        && account.update_time == Some(timestamp(last.create_time))
        && held_between(after_last, clock)
            .into_iter()
            .any(|held| account.balance == Some(balance_message(last.posted_after, held)))
}

/// What reservations may have held between two times of the clock: a lease that ran out in between may count or not.
fn held_between(journal: &[&Entry], (from, until): (i64, i64)) -> Vec<i64> {
    let mut open = BTreeMap::new();
    for after in journal.iter().filter_map(|entry| entry.reservation.as_ref()) {
        open.insert(&after.reservation_id, after.status);
    }
    open.retain(|_, status| status.state == "OPEN");
    let held_at =
        |time: i64| open.values().filter(|status| status.expire_time > time).map(|status| status.held).sum();
    let ends = open.values().map(|status| status.expire_time).filter(|end| (from..=until).contains(end));
    [from].into_iter().chain(ends).map(held_at).collect()
}

fn at<'a>(journal: &[&'a Entry], sequence: i64) -> Option<&'a Entry> {
    journal.get(usize::try_from(sequence - 1).ok()?).copied()
}
