//! The checker itself: a history that fits, and what it says to one in which a single thing is wrong.

use billing::grpc::proto;

use super::{
    super::{
        book::Refusal,
        history::{Attempt, Found, Misuse, Seen},
        wording::{Outcome, Told, balance_message, entry_message},
    },
    scenario::{Scenario, charge},
};
use crate::model::{Change, Entry, Of, What};

#[test]
fn a_refusal_may_be_because_of_a_name_that_a_replay_has_added() {
    let mut scenario = Scenario::new();
    let deposit = |names: &[&str]| {
        let external_ids = names.iter().map(|name| (*name).to_owned()).collect();
        What::Credit { amount: 50, kind: "STRIPE_DEPOSIT", external_ids, expire: None }
    };
    scenario.ask(250, "acme", "other-deposit", deposit(&["cs-2"]));
    scenario.ask(260, "acme", "renamed", deposit(&["cs-1", "pi-1"]));
    scenario.ask(270, "acme", "mixed-up", deposit(&["cs-2", "pi-1"]));
    scenario.book.entries = scenario.model.entries("acme").into_iter().cloned().collect();
    let last = scenario.entry("other-deposit").sequence;
    for (name, sequence) in [("cs-2", last), ("pi-1", 1)] {
        scenario.book.payments.push((name.into(), ("acme".into(), sequence)));
    }
    assert!(scenario.check().are_clean(), "{}", scenario.check());
    assert_eq!(scenario.refusal("mixed-up").reason, "EXTERNAL_ID_CONFLICT");
}

#[test]
fn a_credit_may_be_refused_by_a_closed_account_before_another_is_credited_for_its_payment() {
    let mut scenario = Scenario::new();
    let deposit = || What::Credit {
        amount: 9,
        kind: "STRIPE_DEPOSIT",
        external_ids: vec!["cs-shared".into()],
        expire: None,
    };
    let close = Change {
        state: Some("CLOSED"),
        debt_limit: None,
        forfeit: Some(28),
        actor: "ann".into(),
        reason: "left".into(),
    };
    scenario.ask(250, "acme", "close", What::SetAccount(close));
    scenario.ask(260, "acme", "too-late", deposit());
    scenario.ask(270, "carl", "deposit", deposit());
    let entries = ["acme", "carl"].iter().flat_map(|account| scenario.model.entries(account));
    scenario.book.entries = entries.cloned().collect();
    scenario.book.payments.push(("cs-shared".into(), ("carl".into(), 1)));
    assert!(scenario.check().are_clean(), "{}", scenario.check());
    assert_eq!(scenario.refusal("too-late").reason, "ACCOUNT_CLOSED");
}

#[test]
fn a_history_that_fits_is_clean() {
    let mut scenario = Scenario::new();
    let replay = scenario.again(250, "charge");
    let refusal = scenario.told("acme", "great-charge");
    scenario.call("acme", "charge", Outcome::Told(replay));
    scenario.call("acme", "great-charge", Outcome::Told(refusal));
    let verdicts = scenario.check();
    assert!(verdicts.are_clean(), "{verdicts}");
    let reasons = scenario.book.refusals.iter().map(|(_, refusal)| refusal.reason.as_str());
    let expected =
        ["INSUFFICIENT_FUNDS", "REFUND_EXCEEDS_CHARGE", "RESERVATION_EXPIRED", "EXTERNAL_ID_CONFLICT"];
    assert!(reasons.eq(expected), "the scenario has what it is meant to have");
}

#[test]
fn an_answered_operation_without_an_entry_is_lost() {
    for key in ["deposit", "charge", "capture", "last-charge"] {
        let mut scenario = Scenario::new();
        scenario.book.entries.retain(|entry| entry.key.as_deref() != Some(key));
        scenario.is_lost(&format!("acme {key}:"));
    }
}

#[test]
fn an_answered_refusal_or_replay_that_is_not_remembered_is_lost() {
    let mut scenario = Scenario::new();
    scenario.book.refusals.remove(0);
    scenario.book.replays.clear();
    scenario.is_lost("acme great-charge:");
    scenario.is_lost("acme deposit-again:");
}

#[test]
fn a_key_with_two_entries_is_doubled() {
    for key in ["charge", "last-charge"] {
        let mut scenario = Scenario::new();
        scenario.double(key);
        scenario.is_doubled(&format!("acme {key}:"));
    }
}

#[test]
fn a_key_without_an_answer_and_with_two_entries_is_doubled() {
    let mut scenario = Scenario::new();
    scenario.unanswer("acme", "last-charge");
    scenario.double("last-charge");
    scenario.is_doubled("acme last-charge:");
}

#[test]
fn a_key_that_is_both_applied_and_refused_is_doubled() {
    let mut scenario = Scenario::new();
    let refusal = scenario.refusal("great-charge").clone();
    scenario.book.refusals.push((("acme".into(), "charge".into()), refusal));
    scenario.is_doubled("acme charge:");
}

#[test]
fn a_payment_credited_under_two_keys_is_doubled() {
    let mut scenario = Scenario::new();
    scenario.double("deposit").key = Some("deposit-again".into());
    scenario.is_doubled("cs-1: moved money by");
}

#[test]
fn an_operation_that_says_twice_that_it_is_new_is_doubled() {
    let mut scenario = Scenario::new();
    let told = scenario.told("acme", "charge");
    scenario.call("acme", "charge", Outcome::Told(told));
    scenario.is_doubled("acme charge:");
}

#[test]
fn an_entry_that_nobody_asked_for_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.double("last-charge").key = Some("surprise".into());
    scenario.is_unexplained("acme surprise: nobody asked");
}

#[test]
fn an_entry_with_another_amount_balance_note_or_time_is_unexplained() {
    let changes: [fn(&mut Entry); 4] = [
        |entry| entry.amount -= 1,
        |entry| entry.posted_after += 1,
        |entry| entry.reference.push('x'),
        |entry| entry.create_time -= 20,
    ];
    for change in changes {
        let mut scenario = Scenario::new();
        change(scenario.entry("charge-after-expiry"));
        scenario.is_unexplained("charge-after-expiry");
    }
}

#[test]
fn an_expiry_before_its_time_or_after_the_next_entry_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.entry("billing/expire/hold").create_time = 199;
    scenario.is_unexplained("billing/expire/hold");

    let mut scenario = Scenario::new();
    scenario.book.entries.retain(|entry| entry.entry_type != "EXPIRE");
    scenario.is_unexplained("charge-after-expiry");
}

#[test]
fn a_refusal_with_a_wrong_figure_or_at_a_wrong_time_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.refusal("great-charge").metadata.insert("available_micro_usd".into(), "31".into());
    scenario.is_unexplained("\"31\"");

    for (key, time) in [("great-charge", 145), ("great-refund", 130), ("late-capture", 190)] {
        let mut scenario = Scenario::new();
        scenario.refusal(key).create_time = time;
        scenario.is_unexplained(key);
    }
}

#[test]
fn a_refusal_may_stand_anywhere_among_the_entries_of_its_time() {
    let mut scenario = Scenario::new();
    let refusal = scenario.refusal("great-charge");
    refusal.create_time = 140; // before the refund, which is of that time, too
    refusal.metadata.insert("refused_time".into(), "140".into());
    let Refusal { reason, message, metadata, .. } = refusal.clone();
    let told = Outcome::Told(Told::Refused { reason, message, metadata });
    scenario.operation("acme", "great-charge").attempts[0].outcome = told;
    assert!(scenario.check().are_clean(), "{}", scenario.check());
}

#[test]
fn a_payment_refused_though_nobody_was_credited_for_it_is_unexplained() {
    let mut scenario = Scenario::new();
    let call = &mut scenario.operation("bolt", "deposit").call;
    call.what =
        What::Credit { amount: 50, kind: "STRIPE_DEPOSIT", external_ids: vec!["cs-2".into()], expire: None };
    scenario.is_unexplained("EXTERNAL_ID_CONFLICT");
}

#[test]
fn an_answer_that_differs_from_the_book_or_from_another_is_unexplained() {
    let mut scenario = Scenario::new();
    let Told::Applied(mut applied) = scenario.again(250, "capture") else { panic!("refused") };
    applied.entry.reservation.as_mut().unwrap().amount_micro_usd += 1;
    scenario.call("acme", "capture", Outcome::Told(Told::Applied(applied)));
    scenario.is_unexplained("acme capture:");

    let mut scenario = Scenario::new();
    let refused = scenario.told("acme", "great-charge");
    scenario.call("acme", "charge", Outcome::Told(refused));
    scenario.is_unexplained("acme charge:");
}

#[test]
fn an_answer_that_says_wrongly_whether_it_is_a_replay_is_unexplained() {
    let mut scenario = Scenario::new();
    let replay = scenario.again(250, "charge");
    scenario.operation("acme", "charge").attempts[0].outcome = Outcome::Told(replay);
    scenario.is_unexplained("acme charge:");

    // The call before it had no answer, and may have been the first.
    let mut scenario = Scenario::new();
    let replay = scenario.again(250, "charge");
    scenario.unanswer("acme", "charge");
    scenario.call("acme", "charge", Outcome::Told(replay));
    assert!(scenario.check().are_clean(), "{}", scenario.check());
}

#[test]
fn a_replay_that_says_wrongly_what_has_happened_since_is_unexplained() {
    type Change = fn(&mut proto::Since);
    let refunds: Change = |since| since.undone_micro_usd -= 1;
    let time: Change = |since| since.read_time.as_mut().unwrap().nanos = 130_000; // before the refund
    let hold: Change = |since| since.reservation.as_mut().unwrap().captured_micro_usd -= 1;
    let missing: Change = |since| since.reservation = None;
    for (key, change) in [("charge", refunds), ("charge", time), ("hold", hold), ("hold", missing)] {
        let mut scenario = Scenario::new();
        let replay = scenario.again(250, key);
        scenario.call("acme", key, Outcome::Told(replay.clone()));
        assert!(scenario.check().are_clean(), "{}", scenario.check());

        let Told::Applied(mut applied) = replay else { panic!("refused") };
        change(applied.since.as_mut().unwrap());
        scenario.call("acme", key, Outcome::Told(Told::Applied(applied.clone())));
        scenario.is_unexplained("what has happened since");

        let mut scenario = Scenario::new();
        let found = proto::Applied {
            entry: Some(applied.entry),
            replayed: true,
            since: applied.since,
            leg_entries: Vec::new(),
        };
        scenario.read("acme", Seen::Operation { key: key.into(), found: Some(Found::Applied(found)) });
        scenario.is_unexplained("a read shows");
    }
}

#[test]
fn an_entry_before_one_that_was_told_before_it_was_asked_for_is_unexplained() {
    let mut scenario = Scenario::new();
    let told = scenario.operation("acme", "last-charge").attempts[0].settled;
    scenario.operation("acme", "capture").attempts[0] = Attempt {
        sent: told + 1,
        settled: told + 2,
        outcome: Outcome::Told(scenario.told("acme", "capture")),
    };
    scenario.is_unexplained("before it was asked for");
}

#[test]
fn an_operation_without_an_answer_may_have_happened_once_or_not_at_all() {
    let mut scenario = Scenario::new();
    scenario.unanswer("acme", "last-charge");
    assert!(scenario.check().are_clean(), "{}", scenario.check());
    scenario.book.entries.pop();
    assert!(scenario.check().are_clean(), "{}", scenario.check());
}

#[test]
fn an_operation_applied_though_all_were_told_that_it_names_nothing_is_unexplained() {
    let mut scenario = Scenario::new();
    let not_found = Told::NotFound { reason: "CHARGE_NOT_FOUND".into() };
    scenario.operation("acme", "refund").attempts[0].outcome = Outcome::Told(not_found);
    scenario.is_unexplained("acme refund:");
}

#[test]
fn what_is_not_found_after_it_was_told_is_unexplained() {
    let mut scenario = Scenario::new();
    let of = Of::Key("charge".into());
    scenario.ask(250, "acme", "late-refund", What::Refund { amount: 1, of, legs: None });
    let not_found = Told::NotFound { reason: "CHARGE_NOT_FOUND".into() };
    scenario.operation("acme", "late-refund").attempts[0].outcome = Outcome::Told(not_found);
    scenario.is_unexplained("acme late-refund:");
}

#[test]
fn an_answer_that_the_contract_does_not_have_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.call("acme", "charge", Outcome::Unexplained("INTERNAL".into()));
    scenario.is_unexplained("acme charge:");
}

#[test]
fn a_misused_key_that_is_not_called_so_is_unexplained() {
    let mut scenario = Scenario::new();
    let mut call = scenario.operation("acme", "charge").call.clone();
    call.what = charge(21);
    let fields = ["amount_micro_usd".to_owned()].into();
    let outcome = Outcome::Told(Told::KeyReused { method: "Charge".into(), fields });
    scenario.records.misuses.push(Misuse { call: call.clone(), outcome });
    assert!(scenario.check().are_clean(), "{}", scenario.check());

    let outcome = Outcome::Told(scenario.again(250, "charge"));
    scenario.records.misuses.push(Misuse { call, outcome });
    scenario.is_unexplained("misuse");
}

#[test]
fn an_operation_that_was_shown_and_is_not_in_the_book_is_lost() {
    let mut scenario = Scenario::new();
    let Told::Applied(applied) = scenario.again(250, "last-charge") else { panic!("refused") };
    scenario.unanswer("acme", "last-charge");
    scenario.book.entries.pop();
    let found = Some(Found::Applied(proto::Applied {
        entry: Some(applied.entry),
        replayed: true,
        since: applied.since,
        leg_entries: Vec::new(),
    }));
    scenario.read("acme", Seen::Operation { key: "last-charge".into(), found });
    scenario.is_lost("last-charge");
}

#[test]
fn an_operation_that_is_not_found_after_it_was_told_is_lost() {
    let mut scenario = Scenario::new();
    scenario.read("acme", Seen::Operation { key: "charge".into(), found: None });
    scenario.is_lost("\"charge\"");
}

#[test]
fn an_operation_that_is_done_anew_after_it_was_lost_is_lost() {
    let mut scenario = Scenario::new();
    let Told::Applied(mut applied) = scenario.told("acme", "last-charge") else { panic!("refused") };
    applied.entry.sequence -= 1; // its first entry, in whose place there is another now
    scenario.operation("acme", "last-charge").attempts[0].outcome = Outcome::Told(Told::Applied(applied));
    scenario.is_lost("acme last-charge:");
}

#[test]
fn a_page_that_is_older_than_what_was_told_or_not_the_books_is_unexplained() {
    let mut scenario = Scenario::new();
    let page: Vec<proto::Entry> = scenario.book.entries.iter().rev().take(3).map(entry_message).collect();
    scenario.read("acme", Seen::Page(page.clone()));
    assert!(scenario.check().are_clean(), "{}", scenario.check());

    let mut changed = page.clone();
    changed[1].amount_micro_usd += 1;
    for wrong in [page[1..].to_vec(), vec![page[0].clone(), page[2].clone()], changed, Vec::new()] {
        let mut scenario = Scenario::new();
        scenario.read("acme", Seen::Page(wrong));
        scenario.is_unexplained("read");
    }
}

#[test]
fn an_account_with_a_balance_that_it_never_had_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.book.entries.truncate(4); // with the reservation, whose lease ends at 200
    scenario.book.refusals.retain(|(name, _)| name.0 == "acme" && name.1.starts_with("great"));
    let told = ["deposit", "deposit-again", "charge", "refund", "hold", "great-charge", "great-refund"];
    scenario.records.operations.retain(|(_, key), _| told.contains(&key.as_str()));
    scenario.records.operations.remove(&("bolt".to_owned(), "deposit".to_owned()));
    let account = |held| {
        let entry = |index: usize| entry_message(&Scenario::new().book.entries[index]);
        proto::Account {
            account_id: "acme".into(),
            balance: Some(balance_message(35, held, 0, 0)),
            last_sequence: 4,
            create_time: entry(0).create_time,
            update_time: entry(3).create_time,
            state: 1,
            debt_limit_micro_usd: None,
        }
    };
    for (held, clock) in [(10, (170, 180)), (10, (190, 210)), (0, (190, 210)), (0, (200, 210))] {
        scenario.read("acme", Seen::Account { account: Some(account(held)), as_of: None, clock });
    }
    assert!(scenario.check().are_clean(), "{}", scenario.check());
    for (held, clock) in [(0, (170, 199)), (10, (200, 210)), (9, (190, 210))] {
        scenario.records.reads.clear();
        scenario.read("acme", Seen::Account { account: Some(account(held)), as_of: None, clock });
        scenario.is_unexplained("read");
    }
}

#[test]
fn a_replica_that_logged_an_error_is_unexplained() {
    let mut scenario = Scenario::new();
    scenario.records.incidents.push("ERROR a call failed as none ever should".into());
    scenario.is_unexplained("a call failed");
}
