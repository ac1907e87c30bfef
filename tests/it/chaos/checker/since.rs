//! What a replay tells beside its entry: what had happened to it by some moment of its journal.

use billing::grpc::proto;

use super::super::wording::{Applied, micros, reservation_message};
use crate::model::{Entry, reservations_of};

/// Whether an answer of a mutating call tells what had happened by the time that it names, and only a replay does. It is
/// given under the lock of the account: only entries of the same microsecond may have been written before it or after it.
pub(super) fn fits(applied: &Applied, journal: &[&Entry]) -> bool {
    let Some(since) = &applied.since else { return !applied.replayed };
    let time = micros(since.read_time.as_ref());
    let before = journal.partition_point(|entry| entry.create_time < time);
    applied.replayed && fits_after(before, &applied.entry, since, journal)
}

/// The same of a read, which may have missed what was not committed yet, but nothing that had been told.
pub(super) fn fits_read(found: &proto::Applied, newest_told: i64, journal: &[&Entry]) -> bool {
    let (Some(entry), Some(since), true) = (&found.entry, &found.since, found.replayed) else { return false };
    let known = usize::try_from(newest_told.max(entry.sequence)).unwrap();
    fits_after(known, entry, since, journal)
}

/// Whether it is what had happened after some entry, from so many entries on and not after the time that is told.
fn fits_after(known: usize, entry: &proto::Entry, since: &proto::Since, journal: &[&Entry]) -> bool {
    let time = micros(since.read_time.as_ref());
    let until = journal.partition_point(|entry| entry.create_time <= time);
    let id = entry.reservation.as_ref().map(|after| &after.reservation_id);
    (known..=until).any(|count| {
        let entries = &journal[..count];
        let undone: i64 = entries.iter().map(|later| undone_by(later, entry.sequence)).sum();
        let found = reservations_of(entries).into_iter().find(|found| Some(&found.reservation_id) == id);
        let reservation = found.map(|found| reservation_message(&found.at(time)));
        (undone, reservation) == (since.undone_micro_usd, since.reservation.clone())
    })
}

/// How much of an entry a later one undoes: less than nothing, if it gives back what a reversal took.
fn undone_by(later: &Entry, sequence: i64) -> i64 {
    match (later.refunded_sequence, later.reversed_sequence) {
        (Some(refunded), _) if refunded == sequence => later.amount,
        (_, Some(reversed)) if reversed == sequence => -later.amount,
        _ => 0,
    }
}
