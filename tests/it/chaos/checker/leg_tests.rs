//! The checker, where operations have legs: a history that fits, and what it says to one in which a single thing is wrong.

use billing::grpc::proto;

use super::{
    super::{
        history::{Attempt, Found, Seen},
        wording::{Outcome, Told, entry_message},
    },
    scenario::{Scenario, charge},
};
use crate::model::{Change, Entry, Leg, Of, What};

/// The keys of what `job` paid, and of what `take-back` took of it.
const PAID: [&str; 2] = ["billing/leg/9/1/acme", "billing/leg/9/2/acme"];
const TAKEN: [&str; 2] = ["billing/leg/10/1/acme", "billing/leg/10/2/acme"];

/// A charge with legs, of which one payee has spent a part when it is refunded; and one to a payee that has been closed.
fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.ask(250, "acme", "job", paying(10, &[("bolt", 6, "EARNING"), ("platform", 9, "FEE")]));
    scenario.ask(260, "bolt", "spend", charge(4));
    scenario.ask(270, "acme", "take-back", refund(5, Some("TAKE_BACK")));
    scenario.ask(280, "acme", "keep", refund(2, Some("KEEP")));
    scenario.ask(290, "acme", "silent", refund(1, None));
    scenario.ask(300, "acme", "gift", paying(1, &[("carl", 1, "EARNING")]));
    scenario.ask(300, "carl", "close", state("CLOSED"));
    scenario.ask(300, "acme", "gift-too-late", paying(1, &[("carl", 1, "EARNING")]));
    scenario.ask(310, "carl", "open", state("ACTIVE"));
    scenario.ask(320, "acme", "nothing-left", paying(1, &[("platform", 1, "FEE"), ("carl", 1, "EARNING")]));
    let accounts = ["acme", "bolt", "carl", "platform"];
    let entries = accounts.iter().flat_map(|account| scenario.model.entries(account));
    scenario.book.entries = entries.cloned().collect();
    scenario
}

fn paying(amount: i64, legs: &[(&str, i64, &'static str)]) -> What {
    let legs = legs.iter().map(|(account, amount, kind)| Leg {
        account: (*account).into(),
        amount: *amount,
        kind,
        grants_withdrawable: false,
    });
    What::Charge { amount, policy: "REJECT", legs: legs.collect() }
}

fn refund(amount: i64, legs: Option<&'static str>) -> What {
    What::Refund { amount, of: Of::Key("job".into()), legs }
}

fn state(state: &'static str) -> What {
    let forfeit = (state == "CLOSED").then_some(1);
    let (actor, reason) = ("ann".into(), "review".into());
    What::SetAccount(Change { state: Some(state), debt_limit: None, forfeit, actor, reason })
}

impl Scenario {
    /// What the book says that an entry moved, on both sides.
    fn list(&mut self, key: &str, change: fn(&mut Entry)) {
        let leg = self.entry(key);
        change(leg);
        let (place, amount) = ((leg.account.clone(), leg.sequence), leg.amount);
        let mut listed = self.book.entries.iter_mut().flat_map(|entry| &mut entry.legs);
        let listed = listed.find(|(account, sequence, _)| place == (account.clone(), *sequence));
        listed.unwrap().2 = amount;
    }
}

#[test]
fn a_history_with_legs_that_fits_is_clean() {
    let mut scenario = scenario();
    for key in ["job", "take-back"] {
        let replay = scenario.again(330, key);
        scenario.call("acme", key, Outcome::Told(replay));
    }
    assert!(scenario.check().are_clean(), "{}", scenario.check());

    let moved = |entry: &mut Entry| (entry.account.clone(), entry.amount, entry.uncollected);
    let of_legs = [PAID, TAKEN].concat().into_iter().map(|key| moved(scenario.entry(key)));
    let expected = [("bolt", 6, 0), ("platform", 4, 0), ("bolt", -2, 1), ("platform", -2, 0)];
    assert!(of_legs.eq(expected.map(|(account, amount, rest)| (account.to_owned(), amount, rest))));
    assert_eq!(scenario.refusal("gift-too-late").metadata["payee_account_id"], "carl");
    assert_eq!(scenario.entry("nothing-left").legs[1], ("carl".into(), 0, 0));
    assert_eq!(scenario.told("acme", "silent"), Told::Invalid { field: "legs".into() });
}

#[test]
fn a_leg_that_is_missing_is_lost() {
    for key in [PAID, TAKEN].concat() {
        let mut scenario = scenario();
        scenario.book.entries.retain(|entry| entry.key.as_deref() != Some(key));
        scenario.is_lost(key);
    }
}

#[test]
fn a_leg_that_was_told_and_is_neither_there_nor_listed_is_unexplained() {
    let mut scenario = scenario();
    scenario.book.entries.retain(|entry| entry.account != "platform");
    for entry in &mut scenario.book.entries {
        entry.legs.retain(|(account, ..)| account != "platform");
    }
    scenario.is_unexplained("acme: the book has");
}

#[test]
fn a_leg_that_is_there_twice_is_doubled() {
    for key in [PAID, TAKEN].concat() {
        let mut scenario = scenario();
        let leg = scenario.entry(key).clone();
        let of_account = scenario.book.entries.iter().filter(|entry| entry.account == leg.account).count();
        let sequence = i64::try_from(of_account).unwrap() + 1;
        scenario.book.entries.push(Entry { sequence, ..leg });
        scenario.is_doubled(key);
    }
}

#[test]
fn a_leg_of_another_amount_is_unexplained() {
    for key in [PAID, TAKEN].concat() {
        let mut scenario = scenario();
        scenario.entry(key).amount -= 1;
        scenario.is_unexplained("its payer lists");
        scenario.is_unexplained("legs list");
    }
    for key in PAID {
        let mut scenario = scenario();
        scenario.list(key, |leg| {
            leg.amount -= 1;
            leg.posted_after -= 1;
        });
        scenario.is_unexplained("acme: the book has");
    }
}

#[test]
fn what_is_taken_back_less_than_there_is_is_unexplained() {
    let mut scenario = scenario();
    scenario.list(TAKEN[0], |leg| {
        leg.amount += 1;
        leg.withdrawable_delta += 1;
        leg.posted_after += 1;
        leg.withdrawable_after += 1;
        leg.uncollected += 1;
    });
    scenario.is_unexplained("bolt: the book has");
    scenario.is_unexplained("acme: the book has");
}

#[test]
fn a_leg_that_nobody_lists_is_unexplained() {
    let mut of_another_place = scenario();
    of_another_place.entry("gift").legs.clear();
    of_another_place.is_unexplained("no entry lists this leg");

    let mut of_another_payer = scenario();
    of_another_payer.entry(PAID[1]).source = Some(("bolt".into(), 1));
    of_another_payer.is_unexplained("its payer lists");
}

#[test]
fn a_balance_of_a_payee_that_does_not_follow_is_unexplained() {
    for key in [PAID, TAKEN].concat() {
        let mut scenario = scenario();
        scenario.entry(key).posted_after += 1;
        let account = scenario.entry(key).account.clone();
        scenario.is_unexplained(&format!("{account}: the book has"));
        scenario.is_unexplained("acme: the book has");
    }
}

#[test]
fn a_payee_refused_though_it_was_open_is_unexplained() {
    let mut scenario = scenario();
    let refusal = scenario.refusal("gift-too-late");
    refusal.create_time = 311;
    refusal.metadata.insert("refused_time".into(), "311".into());
    scenario.is_unexplained("gift-too-late");
}

#[test]
fn a_payee_paid_though_it_was_closed_is_unexplained() {
    let mut scenario = scenario();
    let Entry { sequence, .. } = *scenario.entry("open");
    scenario.entry("open").settings = scenario.entry("close").settings;
    assert_eq!(sequence, 3);
    scenario.is_unexplained("nothing-left");
}

#[test]
fn an_answer_or_a_read_that_shows_other_legs_is_unexplained() {
    let changes: [fn(&mut Vec<proto::Entry>); 3] =
        [|legs| legs[1].amount_micro_usd += 1, |legs| legs.swap(0, 1), Vec::clear];
    for change in changes {
        let mut scenario = scenario();
        let Told::Applied(mut applied) = scenario.again(330, "job") else { panic!("refused") };
        change(&mut applied.leg_entries);
        scenario.call("acme", "job", Outcome::Told(Told::Applied(applied.clone())));
        scenario.is_unexplained("acme job:");

        let mut scenario = self::scenario();
        let found = proto::Applied {
            entry: Some(applied.entry),
            replayed: true,
            since: applied.since,
            leg_entries: applied.leg_entries,
        };
        scenario.read("acme", Seen::Operation { key: "job".into(), found: Some(Found::Applied(found)) });
        scenario.is_unexplained("a read shows");
    }
}

#[test]
fn a_refund_told_to_speak_of_legs_that_there_are_not_is_unexplained() {
    let mut scenario = scenario();
    scenario.operation("acme", "silent").call.what =
        What::Refund { amount: 1, of: Of::Key("charge".into()), legs: None };
    scenario.is_unexplained("acme silent:");
}

#[test]
fn a_leg_that_is_not_found_after_its_payer_was_told_of_it_is_unexplained() {
    let mut scenario = scenario();
    let (of, external_ids) = (Of::Key(PAID[1].into()), Vec::new());
    let reverse = What::Reverse { amount: 1, of, external_ids, reason: None, policy: "REJECT" };
    scenario.ask(330, "platform", "reverse", reverse);
    let not_found = Told::NotFound { reason: "CREDIT_NOT_FOUND".into() };
    scenario.operation("platform", "reverse").attempts[0].outcome = Outcome::Told(not_found);
    scenario.is_unexplained("platform reverse:");
}

#[test]
fn a_page_of_a_payee_without_the_leg_that_its_payer_was_told_of_is_unexplained() {
    let mut scenario = scenario();
    let page = vec![entry_message(scenario.entry(PAID[1]))];
    scenario.read("platform", Seen::Page(page));
    scenario.is_unexplained("a read that contradicts");
}

#[test]
fn a_leg_before_what_was_told_before_its_payer_asked_is_unexplained() {
    let mut scenario = scenario();
    let told = scenario.operation("bolt", "spend").attempts[0].settled;
    let outcome = Outcome::Told(scenario.told("acme", "job"));
    let attempt = Attempt { sent: told + 1, settled: told + 2, outcome };
    scenario.operation("acme", "job").attempts[0] = attempt;
    scenario.is_unexplained("before it was asked for");
}
