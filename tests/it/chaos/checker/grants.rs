//! Grants: what the book keeps of them is what its entries come to.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{book::Book, history::Name},
    Verdicts,
};
use crate::model::{Grant, Shares, grants_of, reservations_of};

/// Judges what is kept of every grant, and of what every reservation holds of grants.
pub(super) fn check(book: &Book, verdicts: &mut Verdicts) {
    let mut kept: BTreeMap<&str, Vec<Grant>> = BTreeMap::new();
    for (account, grant) in &book.grants {
        kept.entry(account).or_default().push(*grant);
    }
    for (account, journal) in book.journals() {
        let (grants, granted) = (kept.remove(account).unwrap_or_default(), grants_of(&journal));
        if grants != granted {
            let finding = format!("{account}: the book has {grants:?}; its entries come to {granted:?}");
            verdicts.unexplained.push(finding);
        }
    }
    for (account, grants) in kept {
        verdicts.unexplained.push(format!("{account}: without entries the book has {grants:?}"));
    }
    check_pins(book, verdicts);
}

fn check_pins(book: &Book, verdicts: &mut Verdicts) {
    let some = |(name, pins): (Name, Shares)| (!pins.is_empty()).then_some((name, pins));
    let kept: BTreeMap<Name, Shares> = book.pins.clone().into_iter().filter_map(some).collect();
    let reservations = book.journals().into_values().flat_map(|journal| reservations_of(&journal));
    let pinned = reservations.map(|held| ((held.account, held.reservation_id), held.pins));
    let pinned: BTreeMap<Name, Shares> = pinned.filter_map(some).collect();
    for name in kept.keys().chain(pinned.keys()).collect::<BTreeSet<_>>() {
        let (kept, pinned) = (kept.get(name), pinned.get(name));
        if kept != pinned {
            let finding = format!("{name:?} holds {kept:?} of grants; its entries come to {pinned:?}");
            verdicts.unexplained.push(finding);
        }
    }
}
