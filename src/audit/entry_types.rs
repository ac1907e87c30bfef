//! What an entry says by its type: the signs of its figures, the facts that it has, and its legs.

use super::{
    EntryFact, LegsFact,
    check::{Check, Findings},
};
use crate::accounting::{CreditKind, EntryType};

/// Checks the signs and the facts of an entry.
pub(super) fn check_type(entry: &EntryFact, entry_type: EntryType, findings: &mut Findings<'_>) {
    if entry.has_key && !has_signs_of(entry_type, entry) {
        let found = format!("{} posted, {} held", entry.amount, entry.held_delta);
        let expected = format!("the signs of a {}", entry_type.name());
        findings.report(Check::EntrySign, entry.place(), expected, found);
    }
    for (expected, found) in wrong_facts(entry, entry_type) {
        findings.report(Check::EntryFacts, entry.place(), expected, found);
    }
}

/// Checks an entry with the entries of other accounts that it lists as its legs, or of which it is one.
pub(super) fn check_legs(entry: &EntryFact, findings: &mut Findings<'_>) {
    let is_fee = entry.entry_type == EntryType::Credit(CreditKind::Fee).number();
    if entry.is_listed == Some(false) || (is_fee && entry.is_listed.is_none()) {
        findings.report(Check::LegSource, entry.place(), "an entry that lists it as its leg", "none");
    }
    let Some(LegsFact { paid, found, amount }) = entry.legs else { return };
    findings.compare(Check::LegsPaid, || entry.place(), paid, found);
    let most = entry.funded.unwrap_or(0);
    let is_sum = if entry.refunded_sequence.is_some() { amount <= 0 } else { (0..=most).contains(&amount) };
    if !is_sum || most > entry.amount.saturating_neg().max(0) {
        let expected = format!("at most {most} of {}", entry.amount.saturating_neg());
        findings.report(Check::LegsFunded, entry.place(), expected, amount);
    }
}

/// The changes of what may leave an account that an entry may mean: an operator decides whether such a credit may, and a payer
/// whether what its grants pay of a leg may. What is left is then at most what is posted beside grants.
pub(super) fn withdrawable_parts(entry: &EntryFact, entry_type: EntryType) -> [i64; 2] {
    let slice = |amount: i64, sign: i64| {
        let undone = entry.undone?;
        let own = undone.withdrawable_delta.saturating_mul(-sign);
        let after = undone.undone.saturating_add(amount);
        Some(sign * own.min(after).saturating_sub(undone.undone_withdrawable).max(0))
    };
    let part = match entry_type {
        EntryType::Credit(_) | EntryType::AdminCredit if entry.grant_expire_time.is_some() => 0,
        EntryType::Credit(kind) if kind.is_withdrawable() => {
            return [entry.amount, entry.paid_by_other.unwrap_or(entry.amount)];
        }
        EntryType::Withdrawal => entry.amount,
        EntryType::AdminCredit => return [0, entry.amount],
        EntryType::Refund => slice(entry.amount, 1).unwrap_or_default(),
        EntryType::Reversal => slice(entry.amount.saturating_neg(), -1).unwrap_or_default(),
        EntryType::Credit(_)
        | EntryType::Charge
        | EntryType::Reserve
        | EntryType::Capture
        | EntryType::Release
        | EntryType::Extend
        | EntryType::Expire
        | EntryType::AccountChange
        | EntryType::GrantExpire => 0,
    };
    [part; 2]
}

/// Whether an entry of this type may take what is available below zero.
pub(super) fn takes_debt(entry_type: i16) -> bool {
    [EntryType::Charge, EntryType::Capture, EntryType::Reversal]
        .iter()
        .any(|debit| debit.number() == entry_type)
}

fn has_signs_of(entry_type: EntryType, entry: &EntryFact) -> bool {
    let EntryFact { amount, held_delta, uncollected, .. } = *entry;
    match entry_type {
        EntryType::Credit(_) | EntryType::Refund | EntryType::AdminCredit => amount > 0 && held_delta == 0,
        EntryType::Charge | EntryType::Reversal => {
            amount <= 0 && held_delta == 0 && (amount < 0 || uncollected > 0)
        }
        EntryType::Reserve | EntryType::Extend => amount == 0 && held_delta >= 0,
        EntryType::Capture => amount <= 0 && held_delta <= 0,
        EntryType::Release | EntryType::Expire => amount == 0 && held_delta <= 0,
        EntryType::AccountChange => held_delta == 0,
        EntryType::Withdrawal | EntryType::GrantExpire => amount < 0 && held_delta == 0,
    }
}

/// The facts that are missing, or should not be there.
fn wrong_facts(entry: &EntryFact, entry_type: EntryType) -> Vec<(&'static str, &'static str)> {
    let mut wrong = Vec::new();
    let mut check = |what: &'static str, must: bool, is: bool| {
        if must != is {
            let words = ["none", "some"];
            wrong.push((what, words[usize::from(is)]));
        }
    };
    check("a fingerprint with a key, and only then", entry.has_key, entry.has_fingerprint);
    let has_whole = matches!(entry.reservation_facts, 0 | 6);
    check("all six facts about a reservation, or none", true, has_whole);
    let has_ended = entry.reservation_state.is_some_and(|state| state != 1);
    check("a close time of a reservation that has ended, and only then", has_ended, entry.has_close_time);
    let is = |other: EntryType| entry_type == other;
    let (is_refund, has_legs) = (is(EntryType::Refund), entry.legs.is_some());
    let is_debit_with_legs = has_legs && (is(EntryType::Charge) || is(EntryType::Capture));
    check("what is funded of a debit with legs, and only then", is_debit_with_legs, entry.funded.is_some());
    check("moves of grants that can be read", true, entry.grant_moves.is_some());
    check("legs only of a debit or a refund", has_legs, is_debit_with_legs || (has_legs && is_refund));
    if !entry.has_key {
        return wrong;
    }
    check("the refunded debit of a refund, and only then", is_refund, entry.refunded_sequence.is_some());
    if !is_refund {
        let is_reversal = is(EntryType::Reversal);
        check("the credit of a reversal, and only then", is_reversal, entry.reversed_sequence.is_some());
    }
    let (actor, reason) = (entry.has_actor, entry.has_reason);
    let is_decision = is(EntryType::AdminCredit) || is(EntryType::AccountChange);
    check("the actor of an operator's decision, and only then", is_decision, actor);
    if !is(EntryType::Reversal) {
        check("the reason of an operator's decision, and only then", is_decision, reason);
    }
    if entry.grant_expire_time.is_some() {
        check("a time of expiry only of a credit that may have one", may_expire(entry_type), true);
    }
    let is_change = is(EntryType::AccountChange);
    check("the account's settings after a change, and only then", is_change, entry.settings.is_some());
    check(
        "the reservation of an entry about one, and only then",
        moves_hold(entry_type),
        entry.has_reservation_id,
    );
    if entry_type.number() == 1 {
        check("the external id of a Stripe deposit", true, !entry.external_ids.is_empty());
    }
    wrong
}

/// Whether an entry of this type may be a grant.
fn may_expire(entry_type: EntryType) -> bool {
    match entry_type {
        EntryType::Credit(
            CreditKind::Deposit | CreditKind::Earning | CreditKind::ReferralReward | CreditKind::InviteCredit,
        )
        | EntryType::AdminCredit => true,
        EntryType::Credit(CreditKind::StripeDeposit | CreditKind::Fee)
        | EntryType::Charge
        | EntryType::Refund
        | EntryType::Reserve
        | EntryType::Capture
        | EntryType::Release
        | EntryType::Extend
        | EntryType::Expire
        | EntryType::AccountChange
        | EntryType::Withdrawal
        | EntryType::Reversal
        | EntryType::GrantExpire => false,
    }
}

/// Whether an entry of this type is about a reservation.
fn moves_hold(entry_type: EntryType) -> bool {
    match entry_type {
        EntryType::Reserve
        | EntryType::Capture
        | EntryType::Release
        | EntryType::Extend
        | EntryType::Expire => true,
        EntryType::Credit(_)
        | EntryType::Charge
        | EntryType::Refund
        | EntryType::AdminCredit
        | EntryType::AccountChange
        | EntryType::Withdrawal
        | EntryType::Reversal
        | EntryType::GrantExpire => false,
    }
}
