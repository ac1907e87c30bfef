//! Legs: what one operation moved in the accounts of others.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    super::{
        book::Book,
        history::{Name, Records},
    },
    Verdicts,
};
use crate::model::{Answer, Call, Entry, Model};

/// The journal of each account.
pub type Journals<'a> = BTreeMap<&'a str, Vec<&'a Entry>>;

/// What the payers' entries list, by the payee and the key that belongs to this place: the sequence and the amount.
type Listed<'a> = BTreeMap<(&'a str, String), (i64, i64)>;

/// The same model, knowing the journals of all payees of a call as they were when it was answered at a time: right before the
/// legs, where these are listed, otherwise as that time allows. So there may be several.
pub(super) fn informed(
    model: &Model,
    call: &Call,
    time: i64,
    legs: &[(String, i64, i64)],
    journals: &Journals,
) -> Vec<Model> {
    let mut models = vec![model.clone()];
    for payee in model.accounts_of(call).iter().filter(|account| **account != call.account) {
        let journal = journals.get(payee.as_str()).map_or(&[][..], Vec::as_slice);
        let known = model.entries(payee).len();
        let counts = counts_before(payee, time, legs, journal);
        let counts = known.max(*counts.start())..=*counts.end();
        let after = |count| models.iter().map(move |model| given(model, journal, (known, count)));
        models = counts.flat_map(after).collect();
    }
    models
}

/// How many entries a payee may have had. Those of the same microsecond may have been written before or after.
fn counts_before(
    payee: &str,
    time: i64,
    legs: &[(String, i64, i64)],
    journal: &[&Entry],
) -> RangeInclusive<usize> {
    let listed = legs.iter().find(|(account, sequence, _)| account == payee && *sequence > 0);
    if let Some((_, sequence, _)) = listed {
        let count = usize::try_from(sequence - 1).unwrap();
        return count..=count;
    }
    let until =
        |is_before: fn(i64, i64) -> bool| journal.partition_point(|entry| is_before(entry.create_time, time));
    until(|written, time| written < time)..=until(|written, time| written <= time)
}

/// The same model, knowing a journal up to so many entries, and not only so many.
fn given(model: &Model, journal: &[&Entry], (known, count): (usize, usize)) -> Model {
    let mut model = model.clone();
    journal.iter().take(count).skip(known).for_each(|entry| model.give(entry));
    model
}

/// How much of what a leg paid its payee has earned: what other money than grants paid, or all of it, where the request says
/// so. Only the payer knows: what is funded pays the legs in their order, and grants pay the last part of it. `None` where the
/// book lacks the payer's entry, or nobody asked for it.
pub(super) fn earned(leg: &Entry, journals: &Journals, records: &Records) -> Option<i64> {
    let (account, sequence) = leg.source.as_ref()?;
    let payer = at(journals, account, *sequence)?;
    let name: Name = (account.clone(), payer.key.clone()?);
    let asked = records.operations.get(&name)?.call.legs();
    let index = payer.legs.iter().position(|(payee, at, _)| (payee, at) == (&leg.account, &leg.sequence))?;
    let before: i64 = payer.legs[..index].iter().map(|(.., amount)| amount).sum();
    let by_grants: i64 = payer.moves.draws.iter().map(|(_, amount)| amount).sum();
    let by_other = (payer.funded - before - by_grants).clamp(0, leg.amount.max(0));
    Some(if asked.get(index)?.grants_withdrawable { leg.amount } else { by_other })
}

/// Whether the entries of an answer are in the book.
pub(super) fn are_in_the_book(answer: &Answer, journals: &Journals) -> bool {
    let Answer::Applied { entry, leg_entries, .. } = answer else { return false };
    let mut entries = [entry].into_iter().chain(leg_entries);
    entries.all(|entry| at(journals, &entry.account, entry.sequence) == Some(entry))
}

/// Whatever is listed as a leg is there once, and whatever is there as a leg is listed; so what legs move cancels out.
pub(super) fn check(book: &Book, verdicts: &mut Verdicts) {
    let journals = book.journals();
    let mut listed = Listed::new();
    for payer in &book.entries {
        for ((payee, key), (sequence, amount)) in places(payer) {
            if at(&journals, payee, sequence).is_none_or(|leg| leg.key.as_ref() != Some(&key)) {
                verdicts.lost.push(format!("{payee} {key}: {payer:?} lists a leg that is not there"));
            }
            listed.insert((payee, key), (sequence, amount));
        }
    }
    let legs = book.entries.iter().filter(|entry| entry.source.is_some());
    legs.clone().for_each(|leg| check_leg(leg, &listed, verdicts));
    let paid: i128 = listed.values().map(|(_, amount)| i128::from(*amount)).sum();
    let received: i128 = legs.map(|leg| i128::from(leg.amount)).sum();
    if paid != received {
        verdicts.unexplained.push(format!("legs list {paid}, and their accounts have {received}"));
    }
}

/// The places of a payer's legs that have an entry: the payee and the key, the sequence and the amount.
fn places(payer: &Entry) -> impl Iterator<Item = ((&str, String), (i64, i64))> {
    let Entry { account, sequence: of_payer, .. } = payer;
    let legs = payer.legs.iter().enumerate().filter(|(_, (_, sequence, _))| *sequence != 0);
    legs.map(move |(index, (payee, sequence, amount))| {
        let key = format!("billing/leg/{of_payer}/{}/{account}", index + 1);
        ((payee.as_str(), key), (*sequence, *amount))
    })
}

fn check_leg(leg: &Entry, listed: &Listed, verdicts: &mut Verdicts) {
    let key = leg.key.clone().unwrap_or_default();
    let is_of_source = leg.source.as_ref().is_some_and(|(payer, sequence)| {
        key.starts_with(&format!("billing/leg/{sequence}/")) && key.ends_with(&format!("/{payer}"))
    });
    match listed.get(&(leg.account.as_str(), key)) {
        Some((sequence, _)) if *sequence != leg.sequence => {
            verdicts.doubled.push(format!("{leg:?}: its payer lists {sequence} in this place"));
        }
        Some((_, amount)) if *amount == leg.amount && is_of_source => {}
        Some((_, amount)) => verdicts.unexplained.push(format!("{leg:?}: its payer lists {amount}")),
        None => verdicts.unexplained.push(format!("{leg:?}: no entry lists this leg")),
    }
}

/// The entry at a place, as far as the book has it.
pub fn at<'a>(journals: &Journals<'a>, account: &str, sequence: i64) -> Option<&'a Entry> {
    let index = usize::try_from(sequence - 1).ok()?;
    journals.get(account)?.get(index).copied()
}
