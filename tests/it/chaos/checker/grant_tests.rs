//! The checker, where credits expire: a history that fits, and what it says to one in which a single thing is wrong.

use billing::grpc::proto;

use super::{
    super::{
        history::{Clock, Seen},
        wording::{
            account_message, balance_message, entry_message, grant_message, statement_message, timestamp,
        },
    },
    scenario::{Scenario, charge},
};
use crate::model::{Entry, Leg, Of, What};

const ACCOUNTS: [&str; 4] = ["acme", "bolt", "dora", "emil"];
/// What lapses by itself, and what lapses because a hold gives it back too late.
const LAPSES: [&str; 2] = ["billing/lapse/8", "billing/lapse/14"];

/// Up to a grant that has expired at 360, which nobody has written down.
fn before_the_expiry() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.ask(300, "dora", "grant-1", credit(30, Some(400)));
    scenario.ask(301, "dora", "grant-2", credit(40, Some(500)));
    scenario.ask(302, "dora", "deposit", credit(10, None));
    let leg = |account: &str, amount, grants_withdrawable| Leg {
        account: account.into(),
        amount,
        kind: "EARNING",
        grants_withdrawable,
    };
    let legs = vec![leg("bolt", 30, false), leg("emil", 20, true)];
    scenario.ask(310, "dora", "job", What::Charge { amount: 75, policy: "REJECT", legs });
    let of = Of::Key("job".into());
    scenario.ask(320, "dora", "back", What::Refund { amount: 25, of, legs: Some("KEEP") });
    scenario.ask(330, "dora", "lease", What::Reserve { amount: 15, ttl: Some(1_000), expiry: "RELEASE" });
    scenario.ask(340, "dora", "grant-3", credit(5, Some(360)));
    scenario.write_book(&ACCOUNTS);
    scenario
}

/// On to a debt beside a hold, which a grant pays in part; and to the end of the hold, after that of what it held.
fn scenario() -> Scenario {
    let mut scenario = before_the_expiry();
    scenario.ask(370, "dora", "spend", charge(1));
    let debt = What::Charge { amount: 30, policy: "ALLOW_DEBT", legs: Vec::new() };
    scenario.ask(380, "dora", "debt", debt);
    scenario.ask(390, "dora", "grant-4", credit(10, Some(600)));
    scenario.ask(391, "dora", "payment", credit(30, None));
    scenario.ask(510, "dora", "release", What::Release { reservation_id: "lease".into() });
    scenario.ask(520, "dora", "too-late", credit(1, Some(520)));
    scenario.write_book(&ACCOUNTS);
    scenario
}

fn credit(amount: i64, expire: Option<i64>) -> What {
    What::Credit { amount, kind: "DEPOSIT", external_ids: Vec::new(), expire }
}

#[test]
fn a_history_with_grants_that_fits_is_clean() {
    let mut scenario = scenario();
    assert!(scenario.check().are_clean(), "{}", scenario.check());

    assert_eq!(scenario.entry("job").moves.draws, [(1, 30), (2, 40)]);
    assert_eq!(scenario.entry("back").moves.unwinds, [(2, 20)]);
    assert_eq!(scenario.entry("lease").moves.pins, [(2, 15)]);
    assert_eq!((scenario.entry("billing/lapse/8").amount, scenario.entry("spend").sequence), (-5, 9));
    assert_eq!(scenario.entry("grant-4").moves.converted, [(11, 10)]);
    assert_eq!(scenario.entry("release").lapsed, 15);
    assert_eq!(scenario.entry("billing/lapse/14").moves.lapses, [(2, 15)]);
    assert_eq!(scenario.refusal("too-late").reason, "GRANT_EXPIRED");
    let earned = ["billing/leg/4/1/dora", "billing/leg/4/2/dora"];
    assert_eq!(earned.map(|key| scenario.entry(key).withdrawable_delta), [5, 20]);
}

#[test]
fn a_lapse_of_another_amount_or_time_is_unexplained() {
    let changes: [fn(&mut Entry); 4] = [
        |lapse| {
            lapse.amount -= 1;
            lapse.posted_after -= 1;
            lapse.moves.lapses[0].1 += 1;
        },
        |lapse| lapse.moves.lapses[0].0 = 1,
        |lapse| lapse.effective_time += 1,
        |lapse| lapse.create_time = lapse.effective_time - 1,
    ];
    for (key, change) in LAPSES.into_iter().flat_map(|key| changes.map(|change| (key, change))) {
        let mut scenario = scenario();
        change(scenario.entry(key));
        scenario.is_unexplained("dora: the book has");
    }
}

#[test]
fn a_lapse_that_is_missing_before_another_entry_is_unexplained() {
    let mut scenario = scenario();
    let entries = &mut scenario.book.entries;
    entries.retain(|entry| entry.key.as_deref() != Some(LAPSES[0]));
    let later = entries.iter_mut().filter(|entry| entry.account == "dora" && entry.sequence > 8);
    later.for_each(|entry| entry.sequence -= 1);
    let verdicts = scenario.check().unexplained;
    assert!(verdicts.iter().any(|finding| finding.contains("dora: the book has")), "{verdicts:?}");
}

#[test]
fn a_lapse_that_is_missing_behind_the_entry_which_makes_it_necessary_is_unexplained() {
    let mut scenario = scenario();
    scenario.book.entries.retain(|entry| entry.key.as_deref() != Some(LAPSES[1]));
    scenario.is_unexplained("dora: the book ends before");

    let mut scenario = self::scenario();
    scenario.ask(530, "dora", "next", charge(1));
    scenario.write_book(&ACCOUNTS);
    scenario.book.entries.retain(|entry| entry.key.as_deref() != Some(LAPSES[1]));
    scenario.entry("next").sequence -= 1;
    let verdicts = scenario.check().unexplained;
    assert!(verdicts.iter().any(|finding| finding.contains("dora: the book has")), "{verdicts:?}");
}

#[test]
fn draws_and_unwinds_in_another_order_or_of_another_grant_are_unexplained() {
    type Change = fn(&mut Entry);
    let changes: [(&str, Change); 4] = [
        ("job", |job| job.moves.draws.swap(0, 1)),
        ("job", |job| job.moves.draws = vec![(1, 30), (2, 39)]),
        ("back", |back| back.moves.unwinds = vec![(1, 20)]),
        ("lease", |hold| hold.moves.pins = vec![(2, 14)]),
    ];
    for (key, change) in changes {
        let mut scenario = scenario();
        change(scenario.entry(key));
        scenario.is_unexplained("dora: the book has");
    }
}

#[test]
fn a_conversion_that_is_left_out_is_unexplained() {
    let mut scenario = scenario();
    scenario.entry("grant-4").moves.converted.clear();
    scenario.entry("grant-4").granted_after = 10;
    scenario.is_unexplained("dora: the book has");
}

#[test]
fn a_leg_that_may_leave_beyond_what_it_earned_is_unexplained() {
    for (key, earned) in [("billing/leg/4/1/dora", 6), ("billing/leg/4/2/dora", 19)] {
        let mut scenario = scenario();
        let leg = scenario.entry(key);
        leg.withdrawable_after += earned - leg.withdrawable_delta;
        leg.withdrawable_delta = earned;
        let payee = leg.account.clone();
        scenario.is_unexplained(&format!("{payee}: the book has"));
    }
}

#[test]
fn a_grant_that_is_kept_otherwise_than_its_entries_say_is_unexplained() {
    let changes: [fn(&mut Scenario); 4] = [
        |scenario| scenario.book.grants[1].1.remaining += 1,
        |scenario| scenario.book.grants[1].1.pinned += 1,
        |scenario| scenario.book.grants[1].1.expire += 1,
        |scenario| {
            scenario.book.grants.pop();
        },
    ];
    for change in changes {
        let mut scenario = scenario();
        change(&mut scenario);
        scenario.is_unexplained("its entries come to");
    }
}

#[test]
fn a_reservation_that_holds_another_part_of_a_grant_is_unexplained() {
    let mut scenario = before_the_expiry();
    assert!(scenario.check().are_clean(), "{}", scenario.check());
    let name = ("dora".to_owned(), "lease".to_owned());
    scenario.book.pins.insert(name.clone(), vec![(2, 14)]);
    scenario.is_unexplained("its entries come to");
    scenario.book.pins.remove(&name);
    scenario.is_unexplained("its entries come to");
}

/// The account between the expiry of a grant and its entry.
fn account(scenario: &Scenario, posted: i64, granted: i64) -> proto::Account {
    let account = scenario.model.account_at("dora", 345).unwrap();
    let balance = Some(balance_message(posted, 15, 0, granted));
    proto::Account { balance, ..account_message("dora", &account) }
}

#[test]
fn a_balance_with_a_grant_after_its_expiry_or_without_it_before_is_unexplained() {
    let (with, without) = ((35, 10), (30, 5));
    let seen = |scenario: &Scenario, sums: (i64, i64), as_of, clock: Clock| {
        let account = Some(account(scenario, sums.0, sums.1));
        Seen::Account { account, as_of, clock }
    };
    let cases = [
        (with, None, (350, 359), true),
        (with, None, (350, 370), true),
        (without, None, (350, 370), true),
        (without, None, (360, 370), true),
        (with, Some(359), (365, 370), true),
        (without, Some(360), (365, 370), true),
        (with, None, (360, 370), false),
        (without, None, (350, 359), false),
        (with, Some(360), (365, 370), false),
        (without, Some(359), (365, 370), false),
        ((35, 5), None, (350, 370), false),
    ];
    for (sums, as_of, clock, is_right) in cases {
        let mut scenario = before_the_expiry();
        let seen = seen(&scenario, sums, as_of, clock);
        scenario.read("dora", seen);
        let verdicts = scenario.check();
        assert_eq!(verdicts.are_clean(), is_right, "{sums:?} as of {as_of:?} at {clock:?}: {verdicts}");
    }
}

#[test]
fn a_list_of_grants_with_what_has_lapsed_or_without_what_has_not_is_unexplained() {
    let listed = |sequence: i64, amount, remaining, pinned, lapsed, expire| proto::Grant {
        sequence,
        amount_micro_usd: amount,
        remaining_micro_usd: remaining,
        pinned_micro_usd: pinned,
        lapsed_micro_usd: lapsed,
        expire_time: Some(timestamp(expire)),
    };
    let [third, lapsed] = [listed(7, 5, 5, 0, 0, 360), listed(7, 5, 0, 0, 5, 360)];
    let [second, first] = [listed(2, 40, 20, 15, 0, 500), listed(1, 30, 0, 0, 0, 400)];
    let cases = [
        (vec![third, second, first], false, (350, 370), true),
        (vec![lapsed, second, first], false, (350, 370), true),
        (vec![third, second], true, (350, 359), true),
        (vec![second], true, (360, 370), true),
        (vec![third, second, first], false, (360, 370), false),
        (vec![lapsed, second, first], false, (350, 359), false),
        (vec![third, second], true, (360, 370), false),
        (vec![second, lapsed], false, (360, 370), false),
    ];
    for (grants, only_open, clock, is_right) in cases {
        let mut scenario = before_the_expiry();
        scenario.read("dora", Seen::Grants { grants: Some(grants.clone()), only_open, clock });
        let verdicts = scenario.check();
        assert_eq!(verdicts.are_clean(), is_right, "{grants:?} at {clock:?}: {verdicts}");
    }
    let mut scenario = before_the_expiry();
    scenario.read("dora", Seen::Grants { grants: None, only_open: true, clock: (350, 370) });
    scenario.is_unexplained("a read that contradicts the book");
    let last = scenario.model.grants("dora").pop().unwrap();
    assert_eq!(grant_message(&last), second);
}

#[test]
fn a_statement_without_a_lapse_of_its_period_is_unexplained() {
    let (period, clock) = ((340, 365), (365, 370));
    let statement = statement_message(&before_the_expiry().model.statement("dora", period, 365));
    let lapse = statement.totals.last().unwrap();
    assert_eq!((lapse.entry_type(), lapse.amount_micro_usd), (proto::EntryType::GrantExpire, -5));
    let changes: [fn(&mut proto::GetStatementResponse); 4] = [
        |_| (),
        |statement| {
            statement.totals.pop();
        },
        |statement| statement.closing.as_mut().unwrap().granted_micro_usd += 5,
        |statement| statement.opening.as_mut().unwrap().granted_micro_usd += 5,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut statement = statement.clone();
        change(&mut statement);
        let mut scenario = before_the_expiry();
        scenario.read("dora", Seen::Statement { statement: Some(statement), period, clock });
        assert_eq!(scenario.check().are_clean(), index == 0, "{}", scenario.check());
    }
}

#[test]
fn a_page_that_ends_between_an_entry_and_what_lapses_because_of_it_is_unexplained() {
    let mut scenario = scenario();
    let page = vec![entry_message(scenario.entry("release"))];
    scenario.read("dora", Seen::Page(page));
    scenario.is_unexplained("a read that contradicts the book");
}
