//! The pure rules against the reference model, and their promises, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use billing::accounting::{
    Balance, CreditKind, Entry, EntryType, ExpiryPolicy, IdempotencyKey, MicroUsd, Outcome, ReservationAfter,
    ReservationState, ReservationStatus, Timestamp,
};
use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    grant_histories::grant_histories,
    grant_properties::check_grants,
    histories::{ACCOUNTS, BEGINNING, DEBTS, History, POLICIES, batch_sizes, histories},
    memory_journal::MemoryJournal,
    model::{Answer, Call, LEASE_DEFAULT, Leg, Model, Of, What},
    translation::{account_id, answer, answers, command, commands, entry, timestamp},
};

const CALLS_MAX: usize = 40;
const NO_HISTORY: History =
    History { imported: Vec::new(), calls: Vec::new(), pauses: Vec::new(), debt_max: 0 };

/// Posts a history in batches, each at the time of its first call, and returns the journal and the answers.
fn post_all(history: &History, sizes: &[usize]) -> (MemoryJournal, Vec<Outcome>) {
    let mut journal = MemoryJournal::new(history);
    let batches = history.batches(sizes).into_iter();
    let outcomes = batches.flat_map(|(time, batch)| journal.post_batch(&commands(batch), timestamp(time)));
    let outcomes = outcomes.collect();
    (journal, outcomes)
}

/// Times after a history: right at its end, and when some of its leases, or all, have run out.
fn later(history: &History) -> impl Strategy<Value = Timestamp> + use<> {
    let end = history.times().into_iter().max().unwrap_or_default();
    prop_oneof![Just(0), 1..=9_i64, Just(2 * LEASE_DEFAULT)].prop_map(move |later| timestamp(end + later))
}

/// Histories, and a time after each.
fn ended_histories() -> impl Strategy<Value = (History, Timestamp)> {
    histories(1..=CALLS_MAX).prop_flat_map(|history| {
        let later = later(&history);
        (Just(history), later)
    })
}

/// Compares what the rules answer and write, one call at a time, with the model.
fn check_against_model(history: &History) -> Result<(), TestCaseError> {
    let mut journal = MemoryJournal::new(history);
    let mut model = Model::new(history.limits(), &history.imported, BEGINNING);
    for (call, time) in history.calls.iter().zip(history.times()) {
        let answered = answer(&journal.post(&command(call), timestamp(time)));
        prop_assert_eq!(answered, model.call(time, call), "{:?}", call);
    }
    for account in ACCOUNTS {
        let entries: Vec<_> = journal.entries(&account_id(account)).into_iter().map(entry).collect();
        prop_assert_eq!(entries.iter().collect::<Vec<_>>(), model.entries(account));
    }
    Ok(())
}

/// The entries that calls wrote, as opposed to those that answered them again.
fn written(outcomes: &[Outcome]) -> Vec<&Entry> {
    let mut entries = Vec::new();
    for outcome in outcomes {
        if let Outcome::Applied { entry, since: None, leg_entries } = outcome {
            entries.push(entry.as_ref());
            entries.extend(leg_entries.iter().map(AsRef::as_ref));
        }
    }
    entries
}

/// All entries but those that time alone brought.
fn moves(journal: &MemoryJournal) -> Vec<&Entry> {
    let entries = journal.account_ids().into_iter().flat_map(|id| journal.entries(id));
    entries.filter(|entry| !is_lapse(entry)).collect()
}

/// Whether an entry records the end of a lease or of grants.
pub fn is_lapse(entry: &Entry) -> bool {
    let is_of = |key: &IdempotencyKey| key.is_of_expiry() || key.is_of_lapse();
    entry.idempotency_key.as_ref().is_some_and(is_of)
}

/// What must be true of any account's journal.
fn check_accounts(journal: &MemoryJournal) {
    for id in journal.account_ids() {
        let entries = journal.entries(id);
        check_entries(&entries);
        let last = entries.last().map_or_else(Default::default, |entry| entry.balance_after);
        assert_eq!(journal.balance(id), last, "the balance is the sum of the entries");
        let open = journal.open_reservations(id);
        let held: i64 = open.iter().map(|reservation| reservation.status.held.get()).sum();
        assert_eq!(journal.balance(id).held().get(), held, "what is held is what open reservations hold");
        assert_eq!(journal.grants(id), check_grants(&entries), "grants are what the entries made of them");
        for reservation in open {
            let next = journal.next_expire_time(id).expect("a lease runs");
            assert!(next <= reservation.status.expire_time, "no lease runs out before the first");
        }
    }
}

/// What must be true of an account's entries, oldest first.
pub fn check_entries(entries: &[&Entry]) {
    let (mut posted, mut held) = (0_i128, 0_i128);
    let mut last: Option<&Entry> = None;
    for entry in entries {
        posted += i128::from(entry.amount.get());
        held += i128::from(entry.held_delta.get());
        assert_eq!(entry.sequence, last.map_or(1, |last| last.sequence + 1), "sequences have no gaps");
        assert_eq!(i128::from(entry.balance_after.posted().get()), posted, "the running sum");
        assert_eq!(i128::from(entry.balance_after.held().get()), held, "the running sum of holds");
        assert!(last.is_none_or(|last| last.create_time <= entry.create_time), "times never decrease");
        assert!(last.is_none_or(|last| last.effective_time <= entry.effective_time), "{entry:?}");
        assert!(entry.effective_time == entry.create_time || is_lapse(entry), "{entry:?}");
        assert!(entry.effective_time <= entry.create_time, "{entry:?}");
        last = Some(entry);
    }
    check_lives(entries);
}

/// What must be true of each reservation's life.
fn check_lives(entries: &[&Entry]) {
    let mut lives: BTreeMap<&IdempotencyKey, ReservationStatus> = BTreeMap::new();
    for entry in entries {
        for status in lives.values().filter(|status| status.state == ReservationState::Open) {
            let may_go_on = status.expire_time > entry.create_time || is_lapse(entry);
            assert!(may_go_on, "leases that have run out are written down first: {entry:?}");
        }
        assert!(entry.uncollected >= MicroUsd::ZERO, "{entry:?}");
        let Some(ReservationAfter { reservation_id, status }) = &entry.reservation else {
            assert_eq!(entry.held_delta, MicroUsd::ZERO, "only reservations hold: {entry:?}");
            continue;
        };
        match lives.insert(reservation_id, *status) {
            Some(before) => check_step(entry, &before, status),
            None => check_opening(entry, status),
        }
        assert_eq!(status.close_time.is_some(), status.state != ReservationState::Open, "{entry:?}");
        assert!(status.held == MicroUsd::ZERO || status.state == ReservationState::Open, "{entry:?}");
    }
}

fn check_opening(entry: &Entry, status: &ReservationStatus) {
    assert_eq!((entry.entry_type, status.state), (EntryType::Reserve, ReservationState::Open), "{entry:?}");
    assert_eq!((entry.held_delta, status.captured), (status.held, MicroUsd::ZERO), "{entry:?}");
    assert!(status.expire_time > entry.create_time, "{entry:?}");
}

/// Each end frees exactly what is still held, and comes once: but a capture may come after the lease has run out.
fn check_step(entry: &Entry, before: &ReservationStatus, after: &ReservationStatus) {
    use ReservationState::{Captured, Expired, Open, Released};
    let (held_delta, taken) = (entry.held_delta.get(), -entry.amount.get());
    assert_eq!(after.held.get() - before.held.get(), held_delta, "{entry:?}");
    assert_eq!(after.captured.get() - before.captured.get(), taken, "{entry:?}");
    assert!(taken >= 0 && (taken == 0 || entry.entry_type == EntryType::Capture), "{entry:?}");
    assert!(after.expire_time >= before.expire_time, "a lease is never made shorter: {entry:?}");
    let is_as_before = after.close_time == before.close_time && after.expire_time == before.expire_time;
    let ended_at = |time: Timestamp| after.close_time == Some(time);
    let is_allowed = match (entry.entry_type, before.state, after.state) {
        (EntryType::Capture, Open, Open) => is_as_before && -held_delta <= taken,
        (EntryType::Capture, Open, Captured) if is_lapse(entry) => {
            ended_at(before.expire_time)
                && before.expiry_policy == ExpiryPolicy::Capture
                && taken == before.held.get()
                && entry.effective_time == before.expire_time
        }
        (EntryType::Capture, Open | Expired | Released, Captured) | (EntryType::Release, Open, Released) => {
            ended_at(entry.create_time)
        }
        (EntryType::Capture, Expired, Expired) | (EntryType::Capture, Released, Released) => is_as_before,
        (EntryType::Extend, Open, Open) => held_delta >= 0,
        (EntryType::Expire, Open, Expired) => {
            ended_at(before.expire_time)
                && entry.effective_time == before.expire_time
                && (before.expiry_policy == ExpiryPolicy::Release || before.held == MicroUsd::ZERO)
        }
        _ => false,
    };
    assert!(is_allowed, "{before:?} became {after:?} by {entry:?}");
}

#[test]
fn most_histories_extend_a_reservation_of_an_account_in_debt() {
    const HISTORIES: usize = 300;
    let mut runner = TestRunner::deterministic();
    let strategy = histories(1..=CALLS_MAX);
    let histories = (0..HISTORIES).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let extending = histories.filter(History::extends_in_debt).count();
    assert!(extending >= HISTORIES / 2, "only {extending} of {HISTORIES}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_answer_is_the_models(history in histories(1..=CALLS_MAX)) {
        check_against_model(&history)?;
    }

    #[test]
    fn every_answer_to_a_history_made_for_grants_is_the_models(history in grant_histories(1..=CALLS_MAX)) {
        check_against_model(&history)?;
    }

    #[test]
    fn a_capture_beyond_the_hold_goes_exactly_as_far_as_its_policy_allows(
        (funds, held, amount) in (0..=9_i64, 1..=9_i64, 1..=50_i64),
        policy in select(&POLICIES[..]),
        debt_max in select(&DEBTS[..]),
        pause in 0..=1_i64, // the lease lasts as long
    ) {
        let credit = What::Credit { amount: funds + held, kind: "DEPOSIT", external_ids: Vec::new(), expire: None };
        let reservation_id = "reserving".to_owned();
        let capture = What::Capture { reservation_id, amount, policy, keep_open: false, legs: Vec::new() };
        let calls = vec![
            of_its_own("acme", "crediting", credit),
            of_its_own("acme", "reserving", What::Reserve { amount: held, ttl: Some(1), expiry: "RELEASE" }),
            of_its_own("acme", "capturing", capture),
        ];
        check_against_model(&History { imported: Vec::new(), calls, pauses: vec![0, 0, pause], debt_max })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_history_cut_into_batches_is_answered_as_one_call_at_a_time(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, outcomes) = post_all(&history, &sizes);
        let mut journal_of_ones = MemoryJournal::new(&history);
        let mut outcomes_of_ones = Vec::new();
        for (time, batch) in history.batches(&sizes) {
            outcomes_of_ones.extend(batch.iter().map(|call| journal_of_ones.post(&command(call), timestamp(time))));
        }
        prop_assert_eq!(outcomes, outcomes_of_ones);
        prop_assert_eq!(journal, journal_of_ones);
    }

    #[test]
    fn the_balance_is_the_sum_of_the_entries_and_each_reservation_has_one_life(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, outcomes) = post_all(&history, &sizes);
        check_accounts(&journal);
        prop_assert_eq!(moves(&journal).len(), history.imported.len() + written(&outcomes).len());
    }

    #[test]
    fn an_earlier_call_sent_again_at_any_time_gets_the_same_answer_and_moves_nothing(
        (history, later) in ended_histories(),
        sizes in batch_sizes(),
    ) {
        let (mut journal, outcomes) = post_all(&history, &sizes);
        let before: Vec<Entry> = moves(&journal).into_iter().cloned().collect();
        for (call, outcome) in history.calls.iter().zip(outcomes) {
            let again = match outcome {
                Outcome::Applied { entry, .. } => {
                    let Outcome::Applied { entry: again, since: Some(_), .. } = journal.post(&command(call), later) else {
                        return Err(TestCaseError::fail("not a replay"));
                    };
                    prop_assert_eq!(again, entry);
                    prop_assert_eq!(moves(&journal), before.iter().collect::<Vec<_>>(), "{:?}", call);
                    continue;
                }
                Outcome::Refused(refusal) => Outcome::Refused(refusal),
                Outcome::KeyReused(reused) => Outcome::KeyReused(reused),
                // The key is as it was.
                Outcome::Declined(_)
                | Outcome::Invalid(_)
                | Outcome::NotFound(_)
                | Outcome::Forbidden(_) => continue,
            };
            prop_assert_eq!(journal.post(&command(call), later), again, "{:?}", call);
            prop_assert_eq!(moves(&journal), before.iter().collect::<Vec<_>>(), "{:?}", call);
        }
        check_accounts(&journal);
    }

    #[test]
    fn from_the_end_of_its_lease_on_a_reservation_holds_nothing(
        (history, later) in ended_histories(),
        sizes in batch_sizes(),
    ) {
        let (mut journal, _) = post_all(&history.without_grants(), &sizes);
        for account in ACCOUNTS {
            let id = account_id(account);
            let update_time = journal.entries(&id).last().map(|entry| entry.create_time);
            let time = update_time.map_or(later, |update_time| later.max(update_time));
            let (mut held, mut charged) = (0, 0);
            for ReservationStatus { expire_time, expiry_policy, held: amount, .. } in
                journal.open_reservations(&id).into_iter().map(|reservation| reservation.status)
            {
                if expire_time > time {
                    held += amount.get();
                } else if expiry_policy == ExpiryPolicy::Capture {
                    charged += amount.get();
                }
            }
            let available = journal.balance(&id).posted().get() - charged - held;
            let all = charge(account, 1_000_000_000_000_000);
            if available < all.amount() {
                let answered = answer(&journal.post(&command(&all), later));
                let Answer::Refused { reason, metadata } = answered else { panic!("{answered:?}") };
                if reason == "INSUFFICIENT_FUNDS" {
                    prop_assert_eq!(&metadata["available_micro_usd"], &available.to_string());
                    prop_assert_eq!(&metadata["held_micro_usd"], &held.to_string());
                } else {
                    prop_assert!(["ACCOUNT_FROZEN", "ACCOUNT_CLOSED"].contains(&reason));
                }
            }
            journal.post(&command(&funding(account)), later);
            prop_assert_eq!(journal.balance(&id).held().get(), held);
        }
        check_accounts(&journal);
    }

    #[test]
    fn what_a_debit_asks_for_is_taken_or_reported_as_uncollected(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, outcomes) = post_all(&history, &sizes);
        let mut asked: BTreeMap<_, i64> = BTreeMap::new();
        for (call, outcome) in history.calls.iter().zip(&outcomes) {
            if let (
                What::Charge { amount, policy, .. }
                | What::Capture { amount, policy, .. }
                | What::Reverse { amount, policy, .. },
                Outcome::Applied { entry, .. },
            ) = (&call.what, outcome)
            {
                prop_assert_eq!(-entry.amount.get() + entry.uncollected.get(), *amount);
                prop_assert!(entry.uncollected == MicroUsd::ZERO || *policy == "COLLECT_AVAILABLE");
                let Some(after) = &entry.reservation else { continue };
                *asked.entry((&entry.account_id, &after.reservation_id)).or_default() += amount;
            }
        }
        for id in journal.account_ids() {
            for entry in journal.entries(id).into_iter().filter(|entry| !is_lapse(entry)) {
                let Some(after) = &entry.reservation else { continue };
                let asked = asked.get(&(id, &after.reservation_id)).copied().unwrap_or_default();
                prop_assert!(after.status.captured.get() <= asked);
            }
        }
    }

    #[test]
    fn what_is_undone_of_an_entry_is_never_less_than_nothing_or_more_than_the_entry(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, _) = post_all(&history, &sizes);
        for id in journal.account_ids() {
            let entries = journal.entries(id);
            let mut undone: BTreeMap<i64, i128> = BTreeMap::new();
            for entry in &entries {
                let amount = i128::from(entry.amount.get());
                let undoes = [(entry.refunded_sequence, amount), (entry.reversed_sequence, -amount)];
                for (sequence, amount) in undoes.into_iter().filter_map(|(of, amount)| Some((of?, amount))) {
                    let original = entries[usize::try_from(sequence).unwrap() - 1];
                    let sum = undone.entry(sequence).or_default();
                    *sum += amount;
                    let moved = i128::from(original.amount.get()).abs();
                    prop_assert!((0..=moved).contains(sum), "{:?} undoes {:?}", entry, original);
                }
            }
        }
    }

    #[test]
    fn what_may_leave_is_a_part_of_what_is_there_and_only_money_that_may_leave_adds_to_it(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (journal, _) = post_all(&history, &sizes);
        for id in journal.account_ids() {
            for entry in journal.entries(id) {
                let part = entry.balance_after.withdrawable_posted();
                prop_assert!(part >= MicroUsd::ZERO && part <= entry.balance_after.posted().max(MicroUsd::ZERO));
                let adds = matches!(
                    entry.entry_type,
                    EntryType::Credit(CreditKind::Earning | CreditKind::ReferralReward)
                        | EntryType::AdminCredit
                        | EntryType::Refund
                );
                prop_assert!(adds || entry.withdrawable_delta <= MicroUsd::ZERO, "{:?}", entry);
                prop_assert!(entry.withdrawable_delta <= entry.amount.max(MicroUsd::ZERO), "{:?}", entry);
            }
        }
    }

    #[test]
    fn nothing_takes_or_holds_more_than_there_is(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (_, outcomes) = post_all(&history, &sizes);
        for entry in written(&outcomes) {
            let takes = entry.held_delta > MicroUsd::ZERO;
            prop_assert!(!takes || entry.balance_after.available() >= MicroUsd::ZERO, "{:?}", entry);
        }
    }

    #[test]
    fn an_account_never_owes_more_than_the_limit(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let history = history.without_imported_debts();
        let (journal, _) = post_all(&history, &sizes);
        for id in journal.account_ids() {
            let mut limit = history.debt_max;
            for entry in journal.entries(id) {
                let own = entry.settings.and_then(|settings| settings.debt_limit).map(MicroUsd::get);
                limit = limit.max(own.unwrap_or_default()); // a lower one takes back no debt
                if entry.entry_type == EntryType::Reversal && entry.uncollected == MicroUsd::ZERO {
                    limit = limit.max(-entry.balance_after.available().get()); // a bank does not ask
                }
                prop_assert!(entry.balance_after.available().get() >= -limit, "{:?}", entry);
            }
        }
    }

    #[test]
    fn parts_undone_one_after_the_other_come_to_the_same_as_all_at_once_and_leave_the_account_as_it_was(
        (deposited, earned) in (1..=30_i64, 31..=60_i64),
        undone in select(&UNDONE[..]),
        amount in 1..=31_i64,
        parts in prop::collection::vec(1..=9_i64, 1..=31),
    ) {
        let mut journal = MemoryJournal::new(&NO_HISTORY);
        let mut ask = |key: &str, what| {
            let outcome = journal.post(&command(&of_its_own("acme", key, what)), timestamp(BEGINNING));
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
            journal.balance(&account_id("acme"))
        };
        let external_ids = Vec::new();
        ask("earning-1", What::Credit { amount: earned, kind: "EARNING", external_ids: external_ids.clone(), expire: None });
        let before = ask("depositing", What::Credit { amount: deposited, kind: "DEPOSIT", external_ids, expire: None });
        let calls = undone.calls(amount);
        let key = format!("moving-{}", calls.len() - 1);
        for (n, what) in calls.into_iter().enumerate() {
            ask(&format!("moving-{n}"), what);
        }
        let mut left = amount;
        for (n, part) in parts.into_iter().enumerate() {
            let part = part.min(left);
            if part == 0 {
                break;
            }
            left -= part;
            ask(&format!("part-{n}"), undone.undo(&key, part));
        }
        if left > 0 {
            ask("rest", undone.undo(&key, left));
        }
        prop_assert_eq!(journal.balance(&account_id("acme")), before);
        check_accounts(&journal);
    }

    #[test]
    fn parts_of_a_debit_with_legs_take_back_from_its_payees_the_same_as_all_of_it_at_once(
        (deposited, earned) in (0..=60_i64, 40..=90_i64),
        amount in 1..=100_i64,
        (provider, platform) in (1..=70_i64, 1..=70_i64),
        parts in prop::collection::vec(1..=30_i64, 1..=40),
        policy in select(&["KEEP", "TAKE_BACK"][..]),
        is_capture in any::<bool>(),
    ) {
        let legs = vec![
            Leg { account: "bolt".to_owned(), amount: provider, kind: "EARNING", grants_withdrawable: false },
            Leg { account: "coda".to_owned(), amount: platform, kind: "FEE", grants_withdrawable: false },
        ];
        let amount = amount.min(deposited + earned);
        let settle = |parts: &[i64]| {
            let mut journal = MemoryJournal::new(&NO_HISTORY);
            let mut ask = |key: &str, what| {
                let outcome = journal.post(&command(&of_its_own("acme", key, what)), timestamp(BEGINNING));
                assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
            };
            let credit = |amount, kind| What::Credit { amount, kind, external_ids: Vec::new(), expire: None };
            ask("order-1", credit(earned, "EARNING"));
            if deposited > 0 {
                ask("order-2", credit(deposited, "DEPOSIT"));
            }
            let policy_of_debit = "REJECT";
            if is_capture {
                ask("hold-1", What::Reserve { amount, ttl: None, expiry: "RELEASE" });
                let reservation_id = "hold-1".to_owned();
                let (policy, legs) = (policy_of_debit, legs.clone());
                ask("job-1", What::Capture { reservation_id, amount, policy, keep_open: false, legs });
            } else {
                ask("job-1", What::Charge { amount, policy: policy_of_debit, legs: legs.clone() });
            }
            let mut left = amount;
            for (n, part) in parts.iter().chain([&amount]).enumerate() {
                let part = (*part).min(left);
                if part == 0 {
                    break;
                }
                left -= part;
                let of = Of::Key("job-1".to_owned());
                ask(&format!("part-{n}"), What::Refund { amount: part, of, legs: Some(policy) });
            }
            check_accounts(&journal);
            ACCOUNTS.map(|account| journal.balance(&account_id(account)))
        };
        let [payer, payees @ ..] = settle(&parts);
        prop_assert_eq!([payer, payees[0], payees[1]], settle(&[]));
        prop_assert_eq!(payer.posted().get(), deposited + earned);
        prop_assert_eq!(payer.withdrawable_posted().get(), earned);
        if policy == "TAKE_BACK" {
            prop_assert_eq!(payees, [Balance::default(); 2]);
        }
    }

    #[test]
    fn an_overflow_is_refused_and_moves_nothing(history in histories(1..=CALLS_MAX)) {
        let history = history.without_charges_on_expiry().without_grants(); // which move money beside the calls
        let mut journal = MemoryJournal::new(&history);
        for (call, time) in history.calls.iter().zip(history.times()) {
            let posted = journal.balance(&account_id(&call.account)).posted().get();
            let before = moves(&journal).len();
            let answered = answer(&journal.post(&command(call), timestamp(time)));
            let fits = posted.checked_add(call.amount()).is_some();
            let adds =
                matches!(call.what, What::Credit { .. } | What::Refund { .. } | What::AdminCredit { .. });
            // A reversal has no limit, a debt of all of int64 cannot be written off, and a payee may have too much.
            let may_overflow =
                adds || !call.legs().is_empty() || matches!(call.what, What::Reverse { .. } | What::SetAccount(_));
            if is_overflow(&answered) {
                prop_assert!(may_overflow, "{:?}", call);
                prop_assert_eq!(moves(&journal).len(), before);
                prop_assert_eq!(journal.balance(&account_id(&call.account)).posted().get(), posted);
            } else if adds && !fits {
                prop_assert!(!matches!(answered, Answer::Applied { since: None, .. }), "{:?}", answered);
            }
        }
        check_accounts(&journal);
    }

    #[test]
    fn create_time_never_decreases_although_the_clock_jumps_back(history in histories(1..=CALLS_MAX)) {
        let mut journal = MemoryJournal::new(&history);
        for (call, now) in history.calls.iter().zip(history.times()) {
            let last = journal.entries(&account_id(&call.account)).last().map(|entry| entry.create_time);
            if let Outcome::Applied { entry, since: None, .. } = journal.post(&command(call), timestamp(now)) {
                let time = last.map_or(timestamp(now), |last| last.max(timestamp(now)));
                prop_assert_eq!(entry.create_time, time);
            }
        }
        check_accounts(&journal);
    }

    #[test]
    fn a_refusal_repeats_for_ever_even_after_the_account_was_funded(
        (history, later) in ended_histories(),
        sizes in batch_sizes(),
    ) {
        let (mut journal, outcomes) = post_all(&history, &sizes);
        let refused: Vec<_> = history
            .calls
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_)))
            .collect();
        for account in ACCOUNTS {
            journal.post(&command(&funding(account)), later);
        }
        for (call, outcome) in refused {
            prop_assert_eq!(&journal.post(&command(call), later), outcome, "{:?}", call);
        }
    }

    #[test]
    fn a_payment_moves_money_at_most_once_over_all_accounts_and_keys(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (_, outcomes) = post_all(&history, &sizes);
        let mut moved = BTreeSet::new();
        for entry in written(&outcomes) {
            for external_id in entry.external_ids.iter() {
                prop_assert!(moved.insert(external_id.clone()), "{:?}", entry);
            }
        }
        let mut named: BTreeMap<&str, &Entry> = BTreeMap::new();
        for (call, outcome) in history.calls.iter().zip(&outcomes) {
            if let Outcome::Applied { entry, .. } = outcome {
                for external_id in call.external_ids() {
                    let first = named.entry(external_id).or_insert(entry);
                    prop_assert_eq!(*first, entry.as_ref(), "a name has one entry");
                }
            }
        }
    }

    #[test]
    fn a_key_has_one_answer_and_an_account_does_not_see_the_keys_of_another(
        history in histories(1..=CALLS_MAX),
        sizes in batch_sizes(),
    ) {
        let (_, outcomes) = post_all(&history, &sizes);
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
                    prop_assert_eq!(standing.lasting(), again.lasting());
                }
            }
        }
    }
}

/// A debit or a credit of so much, and how to undo so much of it again, by its key.
#[derive(Debug, Clone, Copy)]
enum Undone {
    Charge,
    Capture,
    Withdrawal,
    Reversal,
    Earning,
    Deposit,
}

const UNDONE: [Undone; 6] =
    [Undone::Charge, Undone::Capture, Undone::Withdrawal, Undone::Reversal, Undone::Earning, Undone::Deposit];

impl Undone {
    /// The calls that move so much, the last of which is undone.
    fn calls(self, amount: i64) -> Vec<What> {
        let (external_ids, policy) = (Vec::new(), "REJECT");
        match self {
            Self::Charge => vec![What::Charge { amount, policy, legs: Vec::new() }],
            Self::Capture => vec![
                What::Reserve { amount, ttl: None, expiry: "RELEASE" },
                What::Capture {
                    reservation_id: "moving-0".to_owned(),
                    amount,
                    policy,
                    keep_open: false,
                    legs: Vec::new(),
                },
            ],
            Self::Withdrawal => vec![What::Withdraw { amount, external_ids }],
            Self::Reversal => {
                vec![What::Reverse {
                    amount,
                    of: Of::Key("earning-1".to_owned()),
                    external_ids,
                    reason: None,
                    policy,
                }]
            }
            Self::Earning => vec![What::Credit { amount, kind: "EARNING", external_ids, expire: None }],
            Self::Deposit => vec![What::Credit { amount, kind: "DEPOSIT", external_ids, expire: None }],
        }
    }

    fn undo(self, key: &str, amount: i64) -> What {
        let of = Of::Key(key.to_owned());
        match self {
            Self::Charge | Self::Capture | Self::Withdrawal | Self::Reversal => {
                What::Refund { amount, of, legs: None }
            }
            Self::Earning | Self::Deposit => {
                What::Reverse { amount, of, external_ids: Vec::new(), reason: None, policy: "REJECT" }
            }
        }
    }
}

fn is_overflow(answered: &Answer) -> bool {
    matches!(answered, Answer::Refused { reason: "BALANCE_OVERFLOW", .. })
}

/// More than any refused operation asked for, under a key of its own.
fn funding(account: &str) -> Call {
    let what = What::Credit {
        amount: 1_000_000_000_000_000,
        kind: "DEPOSIT",
        external_ids: Vec::new(),
        expire: None,
    };
    of_its_own(account, "funding", what)
}

fn charge(account: &str, amount: i64) -> Call {
    of_its_own(account, "charging", What::Charge { amount, policy: "REJECT", legs: Vec::new() })
}

pub fn of_its_own(account: &str, key: &str, what: What) -> Call {
    let (account, key) = (account.to_owned(), key.to_owned());
    Call { account, key, what, reference: String::new(), metadata: BTreeMap::new() }
}
