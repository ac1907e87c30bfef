//! Which operations are asked for: small amounts, so that refusals of every kind are common, and much that is named twice.

use std::sync::Mutex;

use billing::grpc::proto;
use fastrand::Rng;

use super::{clients::clock, wording::Told};
use crate::model::{Call, Change, Leg, Metadata, Of, What};

/// How many accounts there are at any one time.
const ACCOUNTS: usize = 6;
/// How many operations are asked for in an account before another takes its place: new accounts are a case of their own,
/// and the reference model reads the whole of a journal at every step.
const OPERATIONS_PER_ACCOUNT: usize = 150;
/// How many payments an account knows, and how many all accounts of a generation share.
const PAYMENTS: usize = 12;
const KINDS: [&str; 4] = ["DEPOSIT", "EARNING", "REFERRAL_REWARD", "INVITE_CREDIT"];
const POLICIES: [&str; 3] = ["REJECT", "COLLECT_AVAILABLE", "ALLOW_DEBT"];
const EXPIRIES: [&str; 2] = ["RELEASE", "CAPTURE"];
/// What operators make of accounts; `None` changes only the debt limit.
const STATES: [Option<&str>; 4] = [None, Some("ACTIVE"), Some("FROZEN"), Some("CLOSED")];
const LEG_KINDS: [&str; 3] = ["EARNING", "REFERRAL_REWARD", "FEE"];
/// How many legs an operation has at most.
const LEGS: usize = 3;
/// How long before now moments are that are asked about, at most.
const PAST: i64 = 5_000_000;
/// In one account of so many, every other operation is a grant that expires in an hour: it comes to have as many as it may.
const GENEROUS: usize = 10;
const HOUR: i64 = 3_600_000_000;
const REFERENCES: [&str; 3] = ["", "", "reservation_refund"];

/// The accounts that operations are asked for in, and what has come of it.
#[derive(Debug)]
pub struct Accounts {
    slots: Mutex<Vec<Account>>,
}

/// An account, as clients know it.
#[derive(Debug, Clone)]
struct Account {
    slot: usize,
    generation: usize,
    asked: usize,
    /// What can be refunded.
    debits: Vec<(String, i64)>,
    /// What of that was passed on to others.
    passed_on: Vec<(String, i64)>,
    /// What of that grants paid.
    drawn: Vec<(String, i64)>,
    /// What can be reversed.
    credits: Vec<(String, i64)>,
    /// What was asked to be reserved, answered or not.
    reservations: Vec<String>,
    /// What was answered for good.
    answered: Vec<String>,
    /// When its grants expire.
    expiries: Vec<i64>,
    /// What was posted when last heard of.
    posted: i64,
    /// Whether it was in debt when last heard of.
    is_in_debt: bool,
    /// Whether an operator had frozen or closed it when last heard of.
    may_not_spend: bool,
}

impl Accounts {
    pub fn new() -> Self {
        Self { slots: Mutex::new((0..ACCOUNTS).map(|slot| Account::new(slot, 0)).collect()) }
    }

    /// An operation under a fresh key.
    pub fn choose(&self, rng: &mut Rng, key: String) -> Call {
        let mut slots = self.slots.lock().unwrap();
        let slot = rng.usize(..ACCOUNTS);
        let names: Vec<String> = slots.iter().map(Account::name).collect();
        let account = &mut slots[slot];
        if account.asked >= OPERATIONS_PER_ACCOUNT {
            *account = Account::new(account.slot, account.generation + 1);
        }
        account.asked += 1;
        let mut what = account.choose(rng);
        if let What::Charge { amount, legs, .. } | What::Capture { amount, legs, .. } = &mut what {
            let others = names.into_iter().enumerate().filter(|(other, _)| *other != slot);
            let payees = others.map(|(_, name)| name).chain([account.platform()]);
            *legs = choose_legs(rng, *amount, payees.collect());
        }
        if matches!(what, What::Reserve { .. }) {
            account.reservations.push(key.clone());
        }
        let has_note = rng.u8(..4) == 0;
        let metadata = if has_note { Metadata::from([("job".into(), key.clone())]) } else { Metadata::new() };
        let reference = pick(rng, &REFERENCES);
        Call { account: account.name(), key, what, reference: reference.into(), metadata }
    }

    /// The name of some account, to be read.
    pub fn name(&self, rng: &mut Rng) -> String {
        self.slots.lock().unwrap()[rng.usize(..ACCOUNTS)].name()
    }

    /// A key that was answered, and its account.
    pub fn answered(&self, rng: &mut Rng) -> Option<(String, String)> {
        let slots = self.slots.lock().unwrap();
        let account = &slots[rng.usize(..ACCOUNTS)];
        let key = rng.choice(&account.answered)?;
        Some((account.name(), key.clone()))
    }

    /// A time that has passed: often when a grant of the account expired, or the microsecond before.
    pub fn moment(&self, rng: &mut Rng, account: &str, now: i64) -> i64 {
        let slots = self.slots.lock().unwrap();
        let account = slots.iter().find(|slot| slot.name() == account);
        let mut expiries = account.map_or(Vec::new(), |account| account.expiries.clone());
        expiries.retain(|expiry| *expiry <= now);
        match rng.choice(&expiries) {
            Some(expiry) if rng.bool() => expiry - i64::from(rng.bool()),
            _ => now - rng.i64(0..=PAST),
        }
    }

    /// Learns what an operation came to.
    pub fn learn(&self, call: &Call, told: &Told) {
        let mut slots = self.slots.lock().unwrap();
        for leg in told.leg_entries().iter().filter(|leg| leg.reversed_sequence == 0) {
            if let Some(payee) = slots.iter_mut().find(|account| account.name() == leg.account_id) {
                payee.credits.push((leg.idempotency_key.clone(), leg.sequence));
            }
        }
        let Some(account) = slots.iter_mut().find(|account| account.name() == call.account) else { return };
        if told.stands() {
            account.answered.push(call.key.clone());
        }
        let Some(entry) = told.entry() else { return };
        if let Some(balance) = &entry.balance_after {
            account.posted = balance.posted_micro_usd;
            account.is_in_debt = balance.available_micro_usd < 0;
        }
        if let Some(settings) = &entry.account_settings {
            account.may_not_spend = settings.state != proto::AccountState::Active as i32;
        }
        let of_entry = (call.key.clone(), entry.sequence);
        match call.what {
            What::Charge { .. } | What::Capture { .. } | What::Reverse { .. } | What::Withdraw { .. } => {
                let is_passed_on = !entry.legs.is_empty();
                account.passed_on.extend(is_passed_on.then(|| of_entry.clone()));
                account.drawn.extend((!entry.draws.is_empty()).then(|| of_entry.clone()));
                account.debits.push(of_entry);
            }
            What::Credit { expire, .. } | What::AdminCredit { expire, .. } => {
                account.expiries.extend(expire);
                account.credits.push(of_entry);
            }
            What::Refund { .. }
            | What::Reserve { .. }
            | What::Release { .. }
            | What::Extend { .. }
            | What::SetAccount(_) => {}
        }
    }
}

impl Account {
    fn new(slot: usize, generation: usize) -> Self {
        Self {
            slot,
            generation,
            asked: 0,
            debits: Vec::new(),
            passed_on: Vec::new(),
            drawn: Vec::new(),
            credits: Vec::new(),
            reservations: Vec::new(),
            answered: Vec::new(),
            expiries: Vec::new(),
            posted: 0,
            is_in_debt: false,
            may_not_spend: false,
        }
    }

    fn name(&self) -> String {
        format!("account-{}-{}", self.slot, self.generation)
    }

    /// The account which takes fees of the accounts of a generation. Nobody else asks for anything in it.
    fn platform(&self) -> String {
        format!("platform-{}", self.generation)
    }

    /// Mostly anything; but an account in debt may still have reservations that are open, and what it is granted pays the debt.
    fn choose(&self, rng: &mut Rng) -> What {
        if self.may_not_spend && rng.bool() {
            return self.change(rng, Some("ACTIVE"));
        }
        if self.is_in_debt && rng.bool() {
            return if rng.u8(..4) == 0 { credit(rng, expiry) } else { self.extend(rng) };
        }
        if self.is_generous() && rng.bool() {
            return credit(rng, |_| Some(clock() + HOUR));
        }
        match rng.u8(..29) {
            0..=3 => self.stripe_deposit(rng),
            4 | 26..=27 => credit(rng, expiry),
            5..=7 => charge(rng),
            8..=9 => self.refund(rng),
            10 | 28 => admin_credit(rng),
            11..=13 => {
                What::Reserve { amount: rng.i64(1..=40), ttl: Some(lease(rng)), expiry: pick(rng, &EXPIRIES) }
            }
            14..=16 => self.capture(rng),
            17 => What::Release { reservation_id: self.reservation(rng) },
            18..=20 => self.reverse(rng),
            21..=22 => self.withdraw(rng),
            23 => {
                let state = rng.choice(STATES).unwrap();
                self.change(rng, state)
            }
            _ => self.extend(rng),
        }
    }

    fn is_generous(&self) -> bool {
        (ACCOUNTS * self.generation + self.slot) % GENEROUS == GENEROUS - 1
    }

    /// Mostly with the amount that goes with the payment, so that another key that names it is a replay. A payment of the
    /// account's own has two names, of which mostly one is given; now and then it joins the names of two payments.
    fn stripe_deposit(&self, rng: &mut Rng) -> What {
        let payment = rng.usize(..PAYMENTS);
        let is_shared = rng.u8(..4) == 0;
        let whose = if is_shared { "shared".to_owned() } else { self.slot.to_string() };
        let name = |prefix: &str, payment: usize| format!("{prefix}-{whose}-{}-{payment}", self.generation);
        let external_ids = match rng.u8(..8) {
            _ if is_shared => vec![name("cs", payment)],
            0..=2 => vec![name("cs", payment)],
            3..=4 => vec![name("pi", payment)],
            5..=6 => vec![name("cs", payment), name("pi", payment)],
            _ => vec![name("cs", payment), name("pi", (payment + 1) % PAYMENTS)],
        };
        let right = i64::try_from(10 + payment).unwrap();
        let amount = if rng.u8(..6) == 0 { right + 1 } else { right };
        What::Credit { amount, kind: "STRIPE_DEPOSIT", external_ids, expire: None }
    }

    fn refund(&self, rng: &mut Rng) -> What {
        let debits = *rng.choice(&[&self.debits, &self.passed_on, &self.drawn]).unwrap();
        let legs = match rng.u8(..8) {
            0..=3 => Some("TAKE_BACK"),
            4..=6 => Some("KEEP"),
            _ => None, // refused if there are legs
        };
        What::Refund { amount: rng.i64(1..=20), of: self.one_of(debits, rng), legs }
    }

    fn reverse(&self, rng: &mut Rng) -> What {
        let external_ids = self.dispute("dp", rng);
        let policy = pick(rng, &POLICIES);
        let reason = rng.bool().then(|| "fraudulent".to_owned());
        What::Reverse {
            amount: rng.i64(1..=30),
            of: self.one_of(&self.credits, rng),
            external_ids,
            reason,
            policy,
        }
    }

    fn withdraw(&self, rng: &mut Rng) -> What {
        What::Withdraw { amount: rng.i64(1..=15), external_ids: self.dispute("po", rng) }
    }

    /// An entry by its key, by its sequence, or by a name of a payment. It may be of another kind, or not be there.
    fn one_of(&self, entries: &[(String, i64)], rng: &mut Rng) -> Of {
        match rng.choice(entries) {
            _ if rng.u8(..8) == 0 => Of::Sequence(rng.i64(1..=30)), // whatever that is
            _ if rng.u8(..8) == 0 => {
                let payment = rng.usize(..PAYMENTS);
                Of::ExternalId(format!("cs-{}-{}-{payment}", self.slot, self.generation))
            }
            None => Of::Sequence(1),
            Some((_, sequence)) if rng.bool() => Of::Sequence(*sequence),
            Some((key, _)) => Of::Key(key.clone()),
        }
    }

    /// The name of a dispute or of a payout: mostly none, sometimes that of a deposit.
    fn dispute(&self, prefix: &str, rng: &mut Rng) -> Vec<String> {
        let prefix = if rng.u8(..8) == 0 { "cs" } else { prefix };
        let name = format!("{prefix}-{}-{}-{}", self.slot, self.generation, rng.usize(..PAYMENTS));
        if rng.u8(..3) == 0 { vec![name] } else { Vec::new() }
    }

    /// A decision of an operator, which mostly leaves the account able to spend.
    fn change(&self, rng: &mut Rng, state: Option<&'static str>) -> What {
        let debt_limit = (state.is_none() || rng.u8(..4) == 0).then(|| *rng.choice(&[-1, 0, 50]).unwrap());
        let forfeit =
            (state == Some("CLOSED")).then(|| if rng.bool() { self.posted } else { rng.i64(0..=30) });
        What::SetAccount(Change {
            state,
            debt_limit,
            forfeit,
            actor: "ann@example.com".into(),
            reason: "review".into(),
        })
    }

    fn capture(&self, rng: &mut Rng) -> What {
        let (amount, policy) = match rng.u8(..12) {
            0 => (rng.i64(700..=1_300), pick(rng, &POLICIES)), // maybe beyond the limit of debts
            1..=3 => (rng.i64(60..=150), "ALLOW_DEBT"),
            _ => (rng.i64(1..=50), pick(rng, &POLICIES)),
        };
        What::Capture {
            reservation_id: self.reservation(rng),
            amount,
            policy,
            keep_open: rng.bool(),
            legs: Vec::new(),
        }
    }

    fn extend(&self, rng: &mut Rng) -> What {
        let additional = if rng.bool() { rng.i64(1..=20) } else { 0 };
        let ttl = (additional == 0 || rng.bool()).then(|| lease(rng));
        let expiry = (rng.u8(..4) == 0).then(|| pick(rng, &EXPIRIES));
        What::Extend { reservation_id: self.reservation(rng), additional, ttl, expiry }
    }

    /// Mostly one of the newest reservations: the others have ended. It may not be there yet.
    fn reservation(&self, rng: &mut Rng) -> String {
        let newest = self.reservations.len().saturating_sub(if rng.u8(..4) == 0 { 30 } else { 6 });
        rng.choice(&self.reservations[newest..]).cloned().unwrap_or_else(|| "nothing".to_owned())
    }
}

/// Mostly none. They may ask for more than there is, all together or each.
fn choose_legs(rng: &mut Rng, amount: i64, mut payees: Vec<String>) -> Vec<Leg> {
    if rng.u8(..3) > 0 {
        return Vec::new();
    }
    rng.shuffle(&mut payees);
    payees.truncate(rng.usize(1..=LEGS));
    let leg = |account| Leg {
        account,
        amount: rng.i64(1..=amount),
        kind: pick(rng, &LEG_KINDS),
        grants_withdrawable: rng.u8(..3) == 0,
    };
    payees.into_iter().map(leg).collect()
}

/// The same operation with another amount, without a leg, or of another method: a mistake of the caller's.
pub fn changed(call: &Call) -> Call {
    let mut changed = call.clone();
    match &mut changed.what {
        What::Charge { legs, .. } | What::Capture { legs, .. } if !legs.is_empty() => {
            legs.pop();
        }
        What::Credit { amount, .. }
        | What::Charge { amount, .. }
        | What::Refund { amount, .. }
        | What::AdminCredit { amount, .. }
        | What::Reserve { amount, .. }
        | What::Capture { amount, .. }
        | What::Reverse { amount, .. }
        | What::Withdraw { amount, .. } => *amount += 1,
        What::Extend { additional, .. } => *additional += 1,
        What::Release { .. } | What::SetAccount(_) => {
            changed.what = What::Charge { amount: 1, policy: "REJECT", legs: Vec::new() };
        }
    }
    changed
}

/// Mostly refused where there is not enough, as by default.
fn charge(rng: &mut Rng) -> What {
    let policy = if rng.u8(..4) == 0 { pick(rng, &POLICIES) } else { "REJECT" };
    What::Charge { amount: rng.i64(1..=40), policy, legs: Vec::new() }
}

/// Of any kind but the one that stands for a payment.
fn credit(rng: &mut Rng, until: impl Fn(&mut Rng) -> Option<i64>) -> What {
    let expire = until(rng);
    let amount = rng.i64(1..=60);
    What::Credit { amount, kind: pick(rng, &KINDS), external_ids: Vec::new(), expire }
}

fn admin_credit(rng: &mut Rng) -> What {
    let is_great = rng.u8(..5) == 0; // above the cap
    let amount = if is_great { rng.i64(1_001..=1_100) } else { rng.i64(1..=60) };
    let withdrawable = rng.bool();
    What::AdminCredit {
        amount,
        actor: "ann@example.com".into(),
        reason: "goodwill".into(),
        withdrawable,
        expire: if withdrawable { None } else { expiry(rng) },
    }
}

/// When a credit expires: mostly so soon that leases run out before and after it, and now and then before it is asked for.
fn expiry(rng: &mut Rng) -> Option<i64> {
    let later = match rng.u8(..8) {
        0..=1 => return None,
        2 => HOUR,
        3 => rng.i64(1_000..=100_000),
        4 => rng.i64(100_000..=500_000),
        _ => rng.i64(300_000..=4_000_000),
    };
    Some(clock() + later)
}

/// Short, so that many run out.
fn lease(rng: &mut Rng) -> i64 {
    rng.i64(300_000..=2_000_000)
}

fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    from[rng.usize(..from.len())]
}
