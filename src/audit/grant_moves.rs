//! What an entry says that it changes of grants, by its type and its amount.

use super::{
    EntryFact,
    check::{Check, Findings},
};
use crate::accounting::{EntryType, GrantMoves, GrantShare};

/// Checks that an entry changes grants only as entries of its type do, and not by more than it moves.
pub(super) fn check_moves(
    entry: &EntryFact,
    entry_type: Option<EntryType>,
    moves: &GrantMoves,
    findings: &mut Findings<'_>,
) {
    let GrantMoves { draws, unwinds, converted, lapses, pins } = moves;
    let parts = [draws, unwinds, converted, lapses].into_iter().flatten();
    let are_parts = parts.into_iter().all(|share| share.amount.get() > 0)
        && pins.iter().all(|share| share.amount.get() != 0);
    let amount = i128::from(entry.amount);
    let (drawn, unwound) = (total(draws), total(unwinds));
    for (expected, found, is_right) in [
        ("shares of more than nothing", "others", are_parts),
        ("draws of what it takes at most", "more", drawn <= (-amount).max(0)),
        ("unwinds of what a refund gives back at most", "more", unwound <= unwinding(amount, entry_type)),
        ("lapses of a GRANT_EXPIRE only", "some", lapses.is_empty() || ends(entry_type)),
        (
            "pins by a reservation only",
            "others",
            pins.is_empty() || entry.has_reservation_id || !entry.has_key,
        ),
    ] {
        if !is_right {
            findings.report(Check::EntryGrantMoves, entry.place(), expected, found);
        }
    }
}

fn ends(entry_type: Option<EntryType>) -> bool {
    entry_type == Some(EntryType::GrantExpire)
}

/// The most that an entry brings back into grants.
fn unwinding(amount: i128, entry_type: Option<EntryType>) -> i128 {
    if entry_type == Some(EntryType::Refund) { amount.max(0) } else { 0 }
}

pub(super) fn total(shares: &[GrantShare]) -> i128 {
    shares.iter().map(|share| i128::from(share.amount.get())).sum()
}
