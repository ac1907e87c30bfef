//! The pure rules against the reference model, and their promises, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use billing::accounting::{Command, Entry, EntryType, ExternalId, Outcome, Timestamp};
use proptest::{collection::vec, prelude::*};

use crate::{
    histories::{ACCOUNTS, ADMIN_CREDIT_MAX, History, batch_sizes, cut, histories},
    memory_journal::MemoryJournal,
    model::{Answer, Call, Model, What},
    translation::{account_id, answer, answers, command, commands, entry},
};

const CALLS_MAX: usize = 40;
const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

fn journal_of(history: &History) -> MemoryJournal {
    MemoryJournal::new(&history.imported, NOW)
}

/// Readings of a clock that jumps about.
fn clocks() -> impl Strategy<Value = Vec<Timestamp>> {
    let jump = -5..=5_i64;
    let reading = jump.prop_map(|jump| Timestamp::from_unix_micros(NOW.unix_micros() + jump));
    vec(reading, 1..=5)
}

/// Posts a history in batches, by a clock that jumps about, and returns the journal and the answers.
fn post_all(history: &History, sizes: &[usize], clock: &[Timestamp]) -> (MemoryJournal, Vec<Outcome>) {
    let mut journal = journal_of(history);
    let all = commands(&history.calls);
    let batches = cut(&all, sizes).into_iter().zip(clock.iter().cycle());
    let outcomes = batches.flat_map(|(batch, now)| journal.post_batch(batch, *now)).collect();
    (journal, outcomes)
}

/// The entries that calls wrote, as opposed to those that answered them again.
fn written(outcomes: &[Outcome]) -> Vec<&Entry> {
    let mut entries = Vec::new();
    for outcome in outcomes {
        if let Outcome::Applied { entry, replayed: false, .. } = outcome {
            entries.push(entry.as_ref());
        }
    }
    entries
}

/// What must be true of any account's journal.
fn check_accounts(journal: &MemoryJournal) {
    for id in journal.account_ids() {
        let mut posted = 0_i128;
        let mut last: Option<&Entry> = None;
        for entry in journal.entries(id) {
            posted += i128::from(entry.amount.get());
            assert_eq!(entry.sequence, last.map_or(1, |last| last.sequence + 1), "sequences have no gaps");
            assert_eq!(i128::from(entry.balance_after.posted().get()), posted, "the running sum");
            assert!(last.is_none_or(|last| last.create_time <= entry.create_time), "times never decrease");
            last = Some(entry);
        }
        assert_eq!(i128::from(journal.posted(id).get()), posted, "the balance is the sum of the entries");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn every_answer_is_the_models(history in histories(1..=CALLS_MAX)) {
        let mut journal = journal_of(&history);
        let mut model = Model::new(ADMIN_CREDIT_MAX, &history.imported);
        for call in &history.calls {
            let answered = answer(&journal.post(&command(call), NOW));
            prop_assert_eq!(answered, model.call(call), "{:?}", call);
        }
        for account in ACCOUNTS {
            let entries: Vec<_> = journal.entries(&account_id(account)).into_iter().map(entry).collect();
            prop_assert_eq!(entries.iter().collect::<Vec<_>>(), model.entries(account));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_history_cut_into_batches_is_answered_as_one_call_at_a_time(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, outcomes) = post_all(&history, &sizes, &[NOW]);
        let (journal_of_ones, outcomes_of_ones) = post_all(&history, &[1], &[NOW]);
        prop_assert_eq!(outcomes, outcomes_of_ones);
        prop_assert_eq!(journal, journal_of_ones);
    }

    #[test]
    fn the_balance_is_the_sum_of_the_entries_and_sequences_have_no_gaps(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, outcomes) = post_all(&history, &sizes, &[NOW]);
        check_accounts(&journal);
        let kept: usize = journal.account_ids().into_iter().map(|id| journal.entries(id).len()).sum();
        prop_assert_eq!(kept, history.imported.len() + written(&outcomes).len());
    }

    #[test]
    fn an_earlier_call_sent_again_at_any_time_gets_the_same_answer_and_moves_nothing(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
        clock in clocks(),
    ) {
        let (mut journal, outcomes) = post_all(&history, &sizes, &clock);
        let before = journal.clone();
        for (call, outcome) in history.calls.iter().zip(outcomes) {
            let again = match outcome {
                Outcome::Applied { entry, reservation, .. } => Outcome::Applied { entry, replayed: true, reservation },
                Outcome::Refused(refusal) => Outcome::Refused(refusal),
                Outcome::KeyReused(reused) => Outcome::KeyReused(reused),
                Outcome::NotFound(_) => continue, // the key is as it was
            };
            let later = Timestamp::from_unix_micros(NOW.unix_micros() + 1_000_000);
            prop_assert_eq!(journal.post(&command(call), later), again, "{:?}", call);
            prop_assert_eq!(&journal, &before, "{:?}", call);
        }
    }

    #[test]
    fn the_refunds_of_a_charge_never_exceed_it(history in histories(1..=CALLS_MAX), sizes in batch_sizes()) {
        let (journal, _) = post_all(&history, &sizes, &[NOW]);
        for id in journal.account_ids() {
            let entries = journal.entries(id);
            let mut left: BTreeMap<i64, i128> = entries.iter().copied().filter_map(charged).collect();
            for refund in entries.iter().filter(|entry| entry.entry_type == EntryType::Refund) {
                let left = refund.refunded_sequence.and_then(|sequence| left.get_mut(&sequence));
                let left = left.expect("a refund names a charge of the same account");
                *left -= i128::from(refund.amount.get());
                prop_assert!(*left >= 0, "{:?}", refund);
            }
        }
    }

    #[test]
    fn a_charge_never_takes_more_than_there_is(history in histories(1..=CALLS_MAX), sizes in batch_sizes()) {
        let (_, outcomes) = post_all(&history, &sizes, &[NOW]);
        for entry in written(&outcomes).into_iter().filter(|entry| entry.entry_type == EntryType::Charge) {
            prop_assert!(entry.balance_after.posted().get() >= 0, "{:?}", entry);
        }
    }

    #[test]
    fn an_overflow_is_refused_and_moves_nothing(history in histories(1..=CALLS_MAX)) {
        let mut journal = journal_of(&history);
        for call in &history.calls {
            let posted = journal.posted(&account_id(&call.account)).get();
            let entries = journal.entries(&account_id(&call.account)).len();
            let answered = answer(&journal.post(&command(call), NOW));
            let fits = posted.checked_add(call.amount()).is_some();
            let adds = !matches!(call.what, What::Charge { .. });
            if is_overflow(&answered) {
                prop_assert!(adds);
                prop_assert_eq!(journal.entries(&account_id(&call.account)).len(), entries);
                prop_assert_eq!(journal.posted(&account_id(&call.account)).get(), posted);
            } else if adds && !fits {
                prop_assert!(!matches!(answered, Answer::Applied { replayed: false, .. }), "{:?}", answered);
            }
        }
        check_accounts(&journal);
    }

    #[test]
    fn create_time_never_decreases_although_the_clock_jumps_back(
        history in histories(1..=CALLS_MAX),
        clock in clocks(),
    ) {
        let mut journal = journal_of(&history);
        for (call, now) in history.calls.iter().zip(clock.iter().cycle()) {
            let last = journal.entries(&account_id(&call.account)).last().map(|entry| entry.create_time);
            if let Outcome::Applied { entry, replayed: false, .. } = journal.post(&command(call), *now) {
                prop_assert!(entry.create_time >= *now);
                if let Some(last) = last {
                    prop_assert_eq!(entry.create_time, last.max(*now));
                }
            }
        }
        check_accounts(&journal);
    }

    #[test]
    fn a_refusal_repeats_for_ever_even_after_the_account_was_funded(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (mut journal, outcomes) = post_all(&history, &sizes, &[NOW]);
        let refused: Vec<_> = history
            .calls
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_)))
            .collect();
        for account in ACCOUNTS {
            journal.post(&funding(account), NOW);
        }
        let later = Timestamp::from_unix_micros(NOW.unix_micros() + 1_000_000);
        for (call, outcome) in refused {
            prop_assert_eq!(&journal.post(&command(call), later), outcome, "{:?}", call);
        }
    }

    #[test]
    fn a_payment_is_credited_at_most_once_over_all_accounts_and_keys(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (_, outcomes) = post_all(&history, &sizes, &[NOW]);
        let mut credited = BTreeSet::new();
        for entry in written(&outcomes) {
            if let Some(external_id) = &entry.external_id {
                prop_assert!(credited.insert((entry.entry_type, external_id)), "{:?}", entry);
            }
        }
        let named = history.calls.iter().zip(&outcomes).filter_map(|(call, outcome)| payment(call, outcome));
        for (kind, external_id, entry) in named {
            prop_assert_eq!(entry.entry_type.name(), kind);
            let credited = entry.external_id.as_ref().map(ExternalId::as_str);
            prop_assert_eq!(credited, Some(external_id));
        }
    }

    #[test]
    fn a_key_has_one_answer_and_an_account_does_not_see_the_keys_of_another(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (_, outcomes) = post_all(&history, &sizes, &[NOW]);
        let mut first: BTreeMap<(&str, &str), (&Call, Answer)> = BTreeMap::new();
        for (call, answered) in history.calls.iter().zip(answers(&outcomes)) {
            let name = (call.account.as_str(), call.key.as_str());
            match (first.get(&name), answered) {
                (None, Answer::KeyReused { .. }) => prop_assert!(false, "nothing was answered: {call:?}"),
                (None, answered) if answered.stands() => {
                    first.insert(name, (call, answered));
                }
                (None, _) => {}
                (Some((before, _)), Answer::KeyReused { fields, .. }) => {
                    prop_assert_ne!(*before, call);
                    prop_assert!(!fields.is_empty());
                }
                (Some((before, standing)), again) => {
                    prop_assert_eq!(*before, call);
                    prop_assert_eq!(standing.again(), again);
                }
            }
        }
    }
}

fn charged(entry: &Entry) -> Option<(i64, i128)> {
    (entry.entry_type == EntryType::Charge).then(|| (entry.sequence, -i128::from(entry.amount.get())))
}

fn is_overflow(answered: &Answer) -> bool {
    matches!(answered, Answer::Refused { reason: "BALANCE_OVERFLOW", .. })
}

/// More than any refused charge asked for, under a key of its own.
fn funding(account: &str) -> Command {
    command(&Call {
        account: account.to_owned(),
        key: "funding".to_owned(),
        what: What::Credit { amount: 1_000_000_000_000_000, kind: "DEPOSIT", external_id: None },
        reference: String::new(),
        metadata: BTreeMap::new(),
    })
}

/// The payment that a call named, and the entry that answered it.
fn payment<'a>(call: &'a Call, outcome: &'a Outcome) -> Option<(&'static str, &'a str, &'a Entry)> {
    match (&call.what, outcome) {
        (What::Credit { kind, external_id: Some(external_id), .. }, Outcome::Applied { entry, .. }) => {
            Some((kind, external_id, entry))
        }
        _ => None,
    }
}
