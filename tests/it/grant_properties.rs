//! The promises of grants: after every entry of random histories, and of histories made for them.

use std::collections::BTreeMap;

use billing::accounting::{Entry, EntryType, Grant, GrantShare, MicroUsd, Outcome, Timestamp};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    accounting_properties::of_its_own,
    histories::{BEGINNING, History},
    memory_journal::MemoryJournal,
    model::{Of, What},
    translation::{account_id, command, timestamp},
};

const NO_HISTORY: History =
    History { imported: Vec::new(), calls: Vec::new(), pauses: Vec::new(), debt_max: 1_000_000 };

/// What must be true of the grants of an account after each of its entries, oldest first. Returns them as they are after the
/// last, in the order of spending: made of the entries alone.
pub fn check_grants(entries: &[&Entry]) -> Vec<Grant> {
    let mut grants: BTreeMap<i64, Grant> = BTreeMap::new();
    let mut lapsing = None;
    for entry in entries {
        if let Some((amount, time)) = lapsing.take() {
            assert_eq!(
                entry.entry_type,
                EntryType::GrantExpire,
                "what has come back too late goes: {entry:?}"
            );
            assert_eq!((-entry.amount.get(), entry.effective_time), (amount, time), "{entry:?}");
        }
        apply(entry, &mut grants);
        for grant in grants.values() {
            check_grant(grant, entry);
        }
        let free = |has_expired: bool| -> i64 {
            let of = |grant: &&Grant| grant.has_expired(entry.effective_time) == has_expired;
            grants.values().filter(of).map(|grant| grant.unpinned().get()).sum()
        };
        let balance = entry.balance_after;
        assert_eq!(balance.granted().get(), free(false), "{entry:?}");
        assert_eq!(balance.lapsing().get(), free(true), "{entry:?}");
        assert!(
            balance.granted() <= balance.available().max(MicroUsd::ZERO),
            "grants beside a debt: {entry:?}"
        );
        let remaining: i64 = grants.values().map(|grant| grant.remaining.get()).sum();
        let other = (balance.posted().get().saturating_sub(remaining)).max(0);
        assert!(balance.withdrawable_posted().get() <= other, "{entry:?}");
        lapsing = (free(true) > 0).then(|| (free(true), entry.effective_time));
    }
    assert_eq!(lapsing, None, "what has come back too late goes");
    let mut grants: Vec<Grant> = grants.into_values().collect();
    grants.sort_by_key(|grant| (grant.expire_time, grant.sequence));
    grants
}

fn apply(entry: &Entry, grants: &mut BTreeMap<i64, Grant>) {
    let Entry { sequence, amount, .. } = *entry;
    if let Some(expire_time) = entry.grant_expire_time {
        assert!(expire_time > entry.effective_time, "{entry:?}");
        let zero = MicroUsd::ZERO;
        let (pinned, lapsed, reversed) = (zero, zero, zero);
        grants.insert(
            sequence,
            Grant { sequence, amount, remaining: amount, pinned, lapsed, reversed, expire_time },
        );
    }
    if let Some(grant) = entry.reversed_sequence.and_then(|credit| grants.get_mut(&credit)) {
        add(&mut grant.reversed, -amount.get());
    }
    let moves = &entry.grant_moves;
    let mut each = |shares: &[GrantShare], change: &dyn Fn(&mut Grant, i64)| {
        for share in shares {
            let grant = grants.get_mut(&share.sequence).expect("a grant of the account");
            change(grant, share.amount.get());
        }
    };
    each(&moves.draws, &|grant, amount| add(&mut grant.remaining, -amount));
    each(&moves.unwinds, &|grant, amount| add(&mut grant.remaining, amount));
    each(&moves.converted, &|grant, amount| add(&mut grant.remaining, -amount));
    each(&moves.pins, &|grant, amount| add(&mut grant.pinned, amount));
    each(&moves.lapses, &|grant, amount| {
        add(&mut grant.remaining, -amount);
        add(&mut grant.lapsed, amount);
    });
    let drawn: i64 = moves.draws.iter().map(|share| share.amount.get()).sum();
    assert!(drawn <= amount.get().saturating_neg().max(0), "a debit draws no more than it takes: {entry:?}");
    let lapsed: i64 = moves.lapses.iter().map(|share| share.amount.get()).sum();
    let is_end = entry.entry_type == EntryType::GrantExpire;
    assert_eq!(lapsed, if is_end { -amount.get() } else { 0 }, "{entry:?}");
}

fn check_grant(grant: &Grant, entry: &Entry) {
    let Grant { amount, remaining, pinned, lapsed, reversed, .. } = *grant;
    let zero = MicroUsd::ZERO;
    assert!(zero <= pinned && pinned <= remaining && remaining <= amount, "{grant:?} after {entry:?}");
    assert!(zero <= lapsed && zero <= reversed, "{grant:?} after {entry:?}");
    let left = amount.get() - lapsed.get() - reversed.get();
    assert!(left >= 0 && grant.unpinned().get() <= left, "{grant:?} after {entry:?}");
}

fn add(sum: &mut MicroUsd, amount: i64) {
    *sum = MicroUsd::new(sum.get() + amount);
}

/// One account, and what is asked of it.
struct Asking {
    journal: MemoryJournal,
    asked: usize,
}

impl Asking {
    fn new() -> Self {
        Self { journal: MemoryJournal::new(&NO_HISTORY), asked: 0 }
    }

    /// Asks so much later than the beginning, under a key that is told, and must be answered with an entry.
    fn ask_as(&mut self, key: &str, later: i64, what: What) -> std::sync::Arc<Entry> {
        let outcome = self.journal.post(&command(&of_its_own("acme", key, what)), at(later));
        let Outcome::Applied { entry, .. } = outcome else { panic!("{outcome:?}") };
        check_grants(&self.journal.entries(&account_id("acme")));
        entry
    }

    fn ask(&mut self, later: i64, what: What) -> std::sync::Arc<Entry> {
        self.asked += 1;
        self.ask_as(&format!("asking-{}", self.asked), later, what)
    }

    fn balance(&self) -> (i64, i64, i64, i64) {
        let balance = self.journal.balance(&account_id("acme"));
        let sums = [balance.posted(), balance.held(), balance.withdrawable_posted(), balance.granted()];
        sums.map(MicroUsd::get).into()
    }

    fn grants(&self) -> Vec<Grant> {
        self.journal.grants(&account_id("acme"))
    }
}

fn at(later: i64) -> Timestamp {
    timestamp(BEGINNING + later)
}

fn credit(amount: i64, kind: &'static str, expire: Option<i64>) -> What {
    What::Credit { amount, kind, external_ids: Vec::new(), expire: expire.map(|later| BEGINNING + later) }
}

fn charge(amount: i64, policy: &'static str) -> What {
    What::Charge { amount, policy, legs: Vec::new() }
}

fn refund(amount: i64, key: &str) -> What {
    What::Refund { amount, of: Of::Key(key.to_owned()), legs: None }
}

fn reverse(amount: i64, key: &str, policy: &'static str) -> What {
    What::Reverse { amount, of: Of::Key(key.to_owned()), external_ids: Vec::new(), reason: None, policy }
}

fn reserve(amount: i64) -> What {
    What::Reserve { amount, ttl: None, expiry: "RELEASE" }
}

fn capture(id: &str, amount: i64, keep_open: bool) -> What {
    let reservation_id = id.to_owned();
    What::Capture { reservation_id, amount, policy: "REJECT", keep_open, legs: Vec::new() }
}

fn release(id: &str) -> What {
    What::Release { reservation_id: id.to_owned() }
}

/// Grants of these amounts, the first of which expires first, beside other money of which some may leave.
fn funded(grants: [i64; 3], (deposited, earned): (i64, i64)) -> Asking {
    let mut asking = Asking::new();
    for (n, amount) in (0..).zip(grants) {
        asking.ask_as(&format!("grant-{n}"), 0, credit(amount, "INVITE_CREDIT", Some(100 * (n + 1))));
    }
    asking.ask(0, credit(deposited, "DEPOSIT", None));
    asking.ask(0, credit(earned, "EARNING", None));
    asking
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn parts_refunded_into_running_and_expired_grants_come_to_the_same_as_all_at_once(
        grants in [1..=30_i64, 1..=30_i64, 1..=30_i64],
        money in (1..=30_i64, 1..=30_i64),
        debt in 0..=40_i64,
        (amount, later) in (1..=150_i64, select(&[0, 99, 100, 200, 300][..])),
        parts in vec(1..=30_i64, 1..=40),
    ) {
        let settle = |parts: &[i64]| {
            let mut asking = funded(grants, money);
            asking.ask_as("job-1", 0, charge(amount, "COLLECT_AVAILABLE"));
            asking.ask(0, credit(1, "DEPOSIT", None));
            if debt > 0 {
                asking.ask(0, charge(debt, "ALLOW_DEBT"));
            }
            let taken = amount.min(grants.iter().sum::<i64>() + money.0 + money.1);
            let mut left = taken;
            for part in parts.iter().chain([&taken]) {
                let part = (*part).min(left);
                if part > 0 {
                    left -= part;
                    asking.ask(later, refund(part, "job-1"));
                }
            }
            (asking.balance(), asking.grants())
        };
        prop_assert_eq!(settle(&parts), settle(&[]));
    }

    #[test]
    fn a_hold_and_its_capture_come_to_the_same_as_a_charge(
        grants in [1..=30_i64, 1..=30_i64, 1..=30_i64],
        money in (1..=30_i64, 1..=30_i64),
        (share, parts) in (1..=100_i64, vec(1..=30_i64, 0..=9)),
    ) {
        let all = grants.iter().sum::<i64>() + money.0 + money.1;
        let amount = (all * share / 100).max(1);
        let mut charged = funded(grants, money);
        charged.ask(0, charge(amount, "REJECT"));
        let mut captured = funded(grants, money);
        captured.ask_as("hold-1", 0, reserve(amount));
        let mut left = amount;
        for part in parts {
            let part = part.min(left - 1);
            if part > 0 {
                left -= part;
                captured.ask(0, capture("hold-1", part, true));
            }
        }
        captured.ask(0, capture("hold-1", left, false));
        prop_assert_eq!(captured.balance(), charged.balance());
        prop_assert_eq!(captured.grants(), charged.grants());
    }

    #[test]
    fn doing_and_undoing_leaves_every_grant_as_it_was(
        grants in [1..=30_i64, 1..=30_i64, 1..=30_i64],
        money in (1..=30_i64, 1..=30_i64),
        amount in 1..=150_i64,
        which in 0..=4_usize,
    ) {
        let mut asking = funded(grants, money);
        let (balance, before) = (asking.balance(), asking.grants());
        let all = grants.iter().sum::<i64>() + money.0 + money.1;
        match which {
            0 => {
                asking.ask_as("job-1", 0, charge(amount.min(all), "REJECT"));
                asking.ask(0, refund(amount.min(all), "job-1"));
            }
            1 => {
                asking.ask_as("hold-1", 0, reserve(amount.min(all)));
                asking.ask(0, release("hold-1"));
            }
            2 => {
                asking.ask_as("void-1", 0, reverse(amount.min(grants[1]), "grant-1", "REJECT"));
                asking.ask(0, refund(amount.min(grants[1]), "void-1"));
            }
            3 => {
                asking.ask_as("order-1", 0, credit(amount, "DEPOSIT", None));
                asking.ask(0, reverse(amount, "order-1", "REJECT"));
            }
            _ => {
                asking.ask_as("hold-1", 0, reserve(amount.min(all)));
                asking.ask_as("job-1", 0, capture("hold-1", amount.min(all), false));
                asking.ask(0, refund(amount.min(all), "job-1"));
            }
        }
        prop_assert_eq!(asking.balance(), balance);
        prop_assert_eq!(asking.grants(), before);
    }

    #[test]
    fn a_hold_on_one_grant_keeps_no_other_alive_and_the_order_of_what_comes_after_the_expiry_has_no_say(
        grants in [1..=30_i64, 1..=30_i64, 1..=30_i64],
        (held, captured) in (1..=90_i64, 0..=90_i64),
        looks in vec(100..=400_i64, 0..=6),
    ) {
        let held = held.min(grants.iter().sum());
        let captured = captured.min(held);
        let run = |looks: &[i64]| {
            let mut asking = funded(grants, (5, 5));
            asking.ask_as("hold-1", 0, reserve(held));
            let mut looks = looks.to_vec();
            looks.sort_unstable();
            for later in looks {
                // Whatever comes by writes down what has expired: here, who wants nothing of it.
                let nobody = What::Release { reservation_id: "nobody".to_owned() };
                asking.journal.post(&command(&of_its_own("acme", &format!("look-{later}"), nobody)), at(later));
            }
            match captured {
                0 => asking.ask(400, release("hold-1")),
                amount => asking.ask(400, capture("hold-1", amount, false)),
            };
            (asking.balance(), asking.grants())
        };
        let (balance, after) = run(&looks);
        prop_assert_eq!((balance, after.clone()), run(&[]));
        prop_assert_eq!(balance.3, 0, "all have expired");
        prop_assert!(after.iter().all(|grant| grant.remaining == MicroUsd::ZERO), "{:?}", after);
        let lapsed: i64 = after.iter().map(|grant| grant.lapsed.get()).sum();
        prop_assert_eq!(lapsed + captured, grants.iter().sum::<i64>(), "a hold spends grants alone");
    }
}
