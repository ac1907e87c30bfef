//! Order: what was told before another was asked for comes before it in their journal.

use super::{
    super::{
        book::Book,
        history::{Moment, Operation, Records},
    },
    Verdicts,
    legs::{self, Journals},
};
use crate::model::Entry;

/// Judges the order of every journal.
pub(super) fn check(records: &Records, book: &Book, verdicts: &mut Verdicts) {
    let journals = book.journals();
    for journal in journals.values() {
        let mut told_of_later = Moment::MAX;
        for entry in journal.iter().rev() {
            let Some(operation) = operation(records, entry, &journals) else { continue };
            let asked = operation.attempts.iter().map(|attempt| attempt.sent).min();
            if asked.is_some_and(|asked| told_of_later < asked) {
                let finding = format!("{entry:?} comes before what was told before it was asked for");
                verdicts.unexplained.push(finding);
            }
            let told = operation.standing().map(|(attempt, _)| attempt.settled).min();
            told_of_later = told_of_later.min(told.unwrap_or(Moment::MAX));
        }
    }
}

/// The operation that wrote an entry: that of its payer, if it is a leg.
fn operation<'a>(records: &'a Records, entry: &Entry, journals: &Journals) -> Option<&'a Operation> {
    let entry = match &entry.source {
        Some((payer, sequence)) => legs::at(journals, payer, *sequence)?,
        None => entry,
    };
    let name = (entry.account.clone(), entry.key.clone()?);
    records.operations.get(&name)
}
