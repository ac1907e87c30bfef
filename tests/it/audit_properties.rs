//! The pure auditor: it finds nothing in whatever the rules produce, and something in whatever they do not.

use std::collections::BTreeSet;

use billing::{
    accounting::{GrantMoves, GrantShare, MicroUsd, Timestamp},
    audit::{
        AccountFact, AnswerTable, Auditor, Check, ClaimFact, Difference, EntryFact, Fact, GrantFact,
        LegsFact, ReservationFact, Row, Status, StepFact, UndoingFact,
    },
};
use proptest::{prelude::*, sample::Index};

use crate::{
    grant_histories::grant_histories,
    histories::{batch_sizes, histories},
    memory_journal::MemoryJournal,
    translation::{commands, timestamp},
};

/// The facts of a journal after a random history, or one made for grants.
fn journals() -> impl Strategy<Value = Vec<Fact>> {
    let histories = prop_oneof![histories(1..=60).boxed(), grant_histories(1..=60).boxed()];
    (histories, batch_sizes()).prop_map(|(history, sizes)| {
        let mut journal = MemoryJournal::new(&history);
        for (time, batch) in history.batches(&sizes) {
            journal.post_batch(&commands(batch), timestamp(time));
        }
        journal.facts()
    })
}

/// What the auditor finds in facts that are put into order first.
fn audit(mut facts: Vec<Fact>) -> Vec<Difference> {
    facts.sort_by(|a, b| a.order().cmp(&b.order()));
    let mut found = Vec::new();
    let mut auditor = Auditor::default();
    for fact in facts {
        auditor.observe(fact, &mut |difference| found.push(difference));
    }
    let totals = auditor.finish(&mut |difference| found.push(difference));
    assert_eq!(totals.differences, found.len() as u64);
    found
}

/// A change of one figure of a fact of one kind.
#[derive(Clone, Copy)]
enum Damage {
    Account(fn(&mut AccountFact)),
    Entry(fn(&mut EntryFact)),
    Reservation(fn(&mut Status)),
    Legs(fn(&mut LegsFact)),
    Undoing(fn(&mut UndoingFact)),
    Claim(fn(&mut ClaimFact)),
    Step(fn(&mut StepFact)),
    Grant(fn(&mut GrantFact)),
    /// Of an entry that changes grants.
    Moves(fn(&mut GrantMoves)),
    /// Of a reservation that holds some of them.
    Pins(fn(&mut Vec<GrantShare>)),
}

const DAMAGES: [Damage; 42] = [
    Damage::Account(|account| account.posted ^= 1),
    Damage::Account(|account| account.held += 1),
    Damage::Account(|account| account.last_sequence += 1),
    Damage::Account(|account| account.withdrawable += 1),
    Damage::Account(|account| account.settings.0 = account.settings.0 % 3 + 1),
    Damage::Entry(|entry| entry.amount ^= 1),
    Damage::Entry(|entry| entry.held_delta += 1),
    Damage::Entry(|entry| entry.posted_after ^= 1),
    Damage::Entry(|entry| entry.held_after += 1),
    Damage::Entry(|entry| entry.sequence += 1_000),
    Damage::Entry(|entry| entry.withdrawable_delta += 1),
    Damage::Entry(|entry| entry.withdrawable_after += 1),
    Damage::Legs(|legs| legs.amount = i64::MAX),
    Damage::Legs(|legs| legs.found += 1),
    Damage::Entry(|entry| entry.funded = Some(i64::MAX)),
    Damage::Entry(|entry| entry.is_listed = Some(false)),
    Damage::Entry(|entry| entry.entry_type = 19),
    Damage::Entry(|entry| entry.has_fingerprint ^= true),
    Damage::Entry(|entry| entry.reservation_facts = 5),
    Damage::Entry(|entry| entry.effective_time = later(entry.create_time)),
    Damage::Reservation(|status| status.held += 1),
    Damage::Reservation(|status| status.captured += 1),
    Damage::Reservation(|status| status.state = status.state % 4 + 1),
    Damage::Reservation(|status| status.expire_time = later(status.expire_time)),
    Damage::Undoing(|undoing| undoing.amount = i64::MIN), // what is above zero may be possible
    Damage::Undoing(|undoing| undoing.undone_sequence += 1_000),
    Damage::Reservation(|status| status.expiry_policy = 3 - status.expiry_policy),
    Damage::Claim(|claim| claim.sequence += 1_000),
    Damage::Step(|step| step.held_delta += 1),
    Damage::Account(|account| account.granted = Some(account.granted.map_or(0, |granted| granted + 1))),
    Damage::Entry(|entry| entry.granted_after += 1),
    Damage::Entry(|entry| entry.lapsed += 1),
    Damage::Entry(|entry| entry.grant_moves = None),
    Damage::Grant(|grant| grant.amount += 1),
    Damage::Grant(|grant| grant.remaining += 1),
    Damage::Grant(|grant| grant.pinned += 1),
    Damage::Grant(|grant| grant.lapsed += 1),
    Damage::Grant(|grant| grant.reversed += 1),
    Damage::Grant(|grant| grant.expire_time = later(grant.expire_time)),
    Damage::Grant(|grant| grant.sequence += 1_000),
    Damage::Moves(|moves| {
        let GrantMoves { draws, unwinds, converted, lapses, pins } = moves;
        if let Some(share) = [draws, unwinds, converted, lapses, pins].into_iter().flatten().next() {
            share.amount = MicroUsd::new(share.amount.get() + 1);
        }
    }),
    Damage::Pins(|pins| pins.truncate(pins.len() - 1)),
];

impl Damage {
    /// Changes the figure, and tells whether there was one to change.
    fn damage(self, row: &mut Row) -> bool {
        match (self, row) {
            (Self::Account(damage), Row::Account(account)) => damage(account),
            (Self::Entry(damage), Row::Entry(entry)) => damage(entry),
            (Self::Legs(damage), Row::Entry(entry)) => match &mut entry.legs {
                Some(legs) => damage(legs),
                None => return false,
            },
            (Self::Reservation(damage), Row::Reservation(reservation)) => damage(&mut reservation.status),
            (Self::Undoing(damage), Row::Undoing(undoing)) => damage(undoing),
            (Self::Claim(damage), Row::Claim(claim)) => damage(claim),
            (Self::Step(damage), Row::Step(step)) => damage(step),
            (Self::Grant(damage), Row::Grant(grant)) => damage(grant),
            (Self::Moves(damage), Row::Entry(entry)) => match &mut entry.grant_moves {
                Some(moves) if !moves.is_empty() => damage(moves),
                Some(_) | None => return false,
            },
            (Self::Pins(damage), Row::Reservation(reservation)) => match &mut reservation.pins {
                Some(pins) if !pins.is_empty() => damage(pins),
                Some(_) | None => return false,
            },
            _ => return false,
        }
        true
    }
}

/// The names of a payment that an entry gives.
fn external_ids(fact: &Fact) -> impl Iterator<Item = &str> {
    let ids = if let Row::Entry(entry) = &fact.row { entry.external_ids.as_slice() } else { &[] };
    ids.iter().map(String::as_str)
}

/// When the first lease runs out of an account's open reservations, or the first grant that is not pinned as a whole.
fn first_expiry(facts: &[Fact], account_id: &str) -> Option<Timestamp> {
    let expire_time = |fact: &Fact| match &fact.row {
        Row::Reservation(ReservationFact { status, .. }) => (status.state == 1).then_some(status.expire_time),
        Row::Grant(grant) => (grant.pinned < grant.remaining).then_some(grant.expire_time),
        Row::Account(_)
        | Row::Entry(_)
        | Row::Undoing(_)
        | Row::Claim(_)
        | Row::Replay(_)
        | Row::Answer(_)
        | Row::Step(_) => None,
    };
    let facts = facts.iter().filter(|fact| fact.account_id == account_id);
    facts.filter_map(expire_time).min()
}

fn later(time: Timestamp) -> Timestamp {
    Timestamp::from_unix_micros(time.unix_micros() + 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_is_found_in_what_the_rules_produce(facts in journals()) {
        prop_assert_eq!(audit(facts), []);
    }

    #[test]
    fn one_wrong_figure_is_found_in_its_account_and_in_no_other(facts in journals(), which in any::<Index>()) {
        for damage in DAMAGES {
            let able: Vec<usize> =
                (0..facts.len()).filter(|at| damage.damage(&mut facts[*at].row.clone())).collect();
            if able.is_empty() {
                continue;
            }
            let at = able[which.index(able.len())];
            let mut damaged = facts.clone();
            damage.damage(&mut damaged[at].row);
            let found = audit(damaged.clone());
            prop_assert!(!found.is_empty(), "{:?} instead of {:?}", damaged[at], facts[at]);
            for difference in found {
                prop_assert_eq!(&difference.account_id, &facts[at].account_id);
            }
        }
    }

    #[test]
    fn a_fact_that_is_missing_is_found(facts in journals(), which in any::<Index>()) {
        // Nothing points to a key, a refund, a reversal, or a further name of a payment: an audit cannot know that there was one.
        let given: BTreeSet<&str> = facts.iter().flat_map(external_ids).collect();
        let needed = |fact: &&Fact| match &fact.row {
            Row::Account(account) => account.last_sequence > 0,
            Row::Claim(claim) => given.contains(claim.external_id.as_str()),
            Row::Entry(_) | Row::Reservation(_) | Row::Grant(_) => true,
            Row::Step(step) => step.amount != 0 || step.held_delta != 0,
            Row::Undoing(_) | Row::Replay(_) | Row::Answer(_) => false,
        };
        let needed: Vec<&Fact> = facts.iter().filter(needed).collect();
        prop_assume!(!needed.is_empty());
        let missing = needed[which.index(needed.len())];
        let rest = facts.iter().filter(|fact| *fact != missing).cloned().collect();
        prop_assert!(!audit(rest).is_empty(), "{:?}", missing);
    }

    #[test]
    fn a_fact_that_is_there_twice_is_found(facts in journals(), which in any::<Index>()) {
        let repeatable = |fact: &&Fact| matches!(fact.row, Row::Entry(_) | Row::Claim(_) | Row::Answer(_));
        let repeatable: Vec<&Fact> = facts.iter().filter(repeatable).collect();
        prop_assume!(!repeatable.is_empty());
        let twice = repeatable[which.index(repeatable.len())];
        let mut damaged = facts.clone();
        damaged.push(twice.clone());
        prop_assert!(!audit(damaged).is_empty(), "{:?}", twice);
    }

    #[test]
    fn an_account_that_looks_for_leases_and_grants_too_late_is_found(facts in journals()) {
        let mut damaged = facts.clone();
        let mut late = 0;
        for fact in &mut damaged {
            if let Row::Account(account) = &mut fact.row
                && let Some(first) = first_expiry(&facts, &fact.account_id)
            {
                account.next_expire_time = Some(later(first));
                late += 1;
            }
        }
        let checks: Vec<Check> = audit(damaged).into_iter().map(|difference| difference.check).collect();
        prop_assert_eq!(checks, vec![Check::AccountNextExpireTime; late]);
    }

    #[test]
    fn a_key_with_another_answer_is_found(facts in journals(), which in any::<Index>()) {
        let answers: Vec<&Fact> = facts.iter().filter(|fact| matches!(fact.row, Row::Answer(_))).collect();
        prop_assume!(!answers.is_empty());
        let mut other = answers[which.index(answers.len())].clone();
        if let Row::Answer(answer) = &mut other.row {
            answer.table = match answer.table {
                AnswerTable::Entries => AnswerTable::Refusals,
                AnswerTable::Refusals | AnswerTable::Replays => AnswerTable::Entries,
            };
        }
        let mut damaged = facts.clone();
        damaged.push(other);
        prop_assert_eq!(audit(damaged).len(), 1);
    }
}
