//! Random histories of calls: from small pools, so that keys, payments and entries collide often.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};

use crate::model::{
    self, Answer, Call, Change, Imported, LEASE_DEFAULT, Leg, Metadata, Model, Of, Settings, What,
};

/// The most that one `AdminCredit` may grant in every history: some of the small amounts are above it.
pub const ADMIN_CREDIT_MAX: i64 = 7;
pub const ACCOUNTS: [&str; 3] = ["acme", "bolt", "coda"];
pub const KEYS: [&str; 16] =
    ["k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11", "k12", "k13", "k14", "k15", "k16"];
pub const REFERENCES: [&str; 3] = ["", "reservation_refund", "счёт № 7"];

/// What accounts may owe through captures, in one history or another.
pub const DEBTS: [i64; 3] = [0, 5, 30];
/// When the first call of every history may come, and what was there before it was written.
pub const BEGINNING: i64 = 1_577_836_800_000_000; // 2020-01-01T00:00:00Z

const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
const GREAT: i64 = AMOUNT_MAX - 1;
/// Small amounts, twice, and great ones.
const AMOUNTS: [i64; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, AMOUNT_MAX, GREAT];
/// Mostly more than what is charged or held at once.
const CREDITS: [i64; 12] = [20, 30, 50, 1, 4, 9, 20, 30, 50, 20, 30, AMOUNT_MAX];
/// Now and then more than what is held, or than there is.
const CAPTURES: [i64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 30, 50, 20, 30, 50, GREAT];
const KINDS: [&str; 5] = ["DEPOSIT", "STRIPE_DEPOSIT", "EARNING", "REFERRAL_REWARD", "INVITE_CREDIT"];
const EXTERNAL_IDS: [&str; 4] = ["pay_1", "pay_2", "pay_3", "pay_4"];
pub const POLICIES: [&str; 3] = ["REJECT", "COLLECT_AVAILABLE", "ALLOW_DEBT"];
/// The leases that callers ask for, in microseconds.
const TTLS: [Option<i64>; 11] =
    [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(8), Some(10), Some(12), None];
/// Leases up to this run out at once, where the clock cannot be set.
const SHORT_TTL_MAX: i64 = 5;
/// Grants that run out before this, after the beginning, run out soon where the clock cannot be set: a millisecond for each
/// microsecond.
const SHORT_GRANT_MAX: i64 = 60;
const MILLIS: i64 = 1_000;
/// How long that may take.
pub const SOON: Duration = Duration::from_millis(SHORT_GRANT_MAX.unsigned_abs());
/// How long nobody calls: mostly not at all, sometimes past some leases or past all; or the clock is set back.
const PAUSES: [i64; 24] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5, 9, 24, LEASE_DEFAULT, -1, -5];
/// Mostly the default.
const CHARGE_POLICIES: [&str; 5] = ["REJECT", "REJECT", "REJECT", "COLLECT_AVAILABLE", "ALLOW_DEBT"];
/// Mostly said.
const LEGS_POLICIES: [Option<&str>; 5] =
    [None, Some("KEEP"), Some("TAKE_BACK"), Some("TAKE_BACK"), Some("TAKE_BACK")];
const LEG_KINDS: [&str; 3] = ["EARNING", "REFERRAL_REWARD", "FEE"];
/// How long after a call what it credits expires: some before it came, some soon, some never.
const GRANTS: [Option<i64>; 16] = [
    None,
    None,
    None,
    None,
    None,
    Some(1),
    Some(2),
    Some(3),
    Some(5),
    Some(9),
    Some(20),
    Some(20),
    Some(30),
    Some(2 * LEASE_DEFAULT),
    Some(2 * LEASE_DEFAULT),
    Some(0),
];
const EXPIRIES: [&str; 3] = ["RELEASE", "RELEASE", "CAPTURE"];
/// A forfeit that is not to be made exact.
const OTHER_FORFEIT: i64 = 13;
const ACTORS: [&str; 2] = ["ann", "bob"];
const REASONS: [&str; 2] = ["goodwill", "correction"];
/// Notes by name; the last two read the same when they are run together.
const NOTES: [&[(&str, &str)]; 4] = [&[], &[("job", "1"), ("node", "")], &[("a", "bc")], &[("ab", "c")]];
/// What accounts may bring along: much, nothing, and debts.
const IMPORTED: [(&str, i64); 12] = [
    ("DEPOSIT", 50),
    ("DEPOSIT", 60),
    ("EARNING", 100),
    ("EARNING", 200),
    ("CHARGE", -50),
    ("EARNING", 0),
    ("DEPOSIT", i64::MAX),
    ("DEPOSIT", i64::MAX - 5),
    ("DEPOSIT", i64::MAX - AMOUNT_MAX),
    ("CHARGE", -AMOUNT_MAX),
    ("ADMIN_CREDIT", i64::MIN),
    ("ADMIN_CREDIT", i64::MIN + 5),
];

/// What was there before, and what is asked, in order; how long after the call before it, by a clock that may be set
/// back; and what accounts may owe.
#[derive(Debug, Clone)]
pub struct History {
    pub imported: Vec<Imported>,
    pub calls: Vec<Call>,
    pub pauses: Vec<i64>,
    pub debt_max: i64,
}

impl History {
    pub fn limits(&self) -> model::Limits {
        model::Limits { admin_credit_max: ADMIN_CREDIT_MAX, debt_max: self.debt_max }
    }

    /// What the clock says at each call.
    pub fn times(&self) -> Vec<i64> {
        let mut time = BEGINNING;
        let pass = |pause: &i64| {
            time += pause;
            time
        };
        self.pauses.iter().map(pass).collect()
    }

    /// The calls in batches of these sizes, each at the time of its first call.
    pub fn batches(&self, sizes: &[usize]) -> Vec<(i64, &[Call])> {
        let times = self.times();
        let firsts = cut(&times, sizes).into_iter().map(|times| times[0]);
        firsts.zip(cut(&self.calls, sizes)).collect()
    }

    /// Whether a reservation is extended while its account is in debt.
    pub fn extends_in_debt(&self) -> bool {
        let mut model = Model::new(self.limits(), &self.imported, BEGINNING);
        self.calls.iter().zip(self.times()).any(|(call, time)| {
            matches!(model.call(time, call), Answer::Applied { entry, since: None, .. }
                if entry.entry_type == "EXTEND" && entry.posted_after < entry.held_after)
        })
    }

    /// The same history, in which no account begins in debt.
    pub fn without_imported_debts(mut self) -> Self {
        self.imported.retain(|row| row.amount >= 0);
        self
    }

    /// The same history, in which the end of no lease charges anything.
    pub fn without_charges_on_expiry(mut self) -> Self {
        for call in &mut self.calls {
            if let What::Reserve { expiry, .. } | What::Extend { expiry: Some(expiry), .. } = &mut call.what {
                *expiry = "RELEASE";
            }
        }
        self
    }

    /// The same history, in which no credit expires.
    pub fn without_grants(mut self) -> Self {
        for call in &mut self.calls {
            if let What::Credit { expire, .. } | What::AdminCredit { expire, .. } = &mut call.what {
                *expire = None;
            }
        }
        self
    }

    /// The same history for a clock that cannot be set and says `now`: every lease runs out at once, or not before the end; every
    /// grant has run out, or runs out within `SOON`, or not before the end.
    pub fn with_leases_for_a_real_clock(mut self, now: i64) -> Self {
        for call in &mut self.calls {
            if let Some(expire) = expire_of(&mut call.what) {
                let later = *expire - BEGINNING;
                *expire = now + if later <= SHORT_GRANT_MAX { later * MILLIS } else { 3_600_000_000 + later };
            }
            if let What::Reserve { ttl: Some(ttl), .. } | What::Extend { ttl: Some(ttl), .. } = &mut call.what
            {
                *ttl = if *ttl <= SHORT_TTL_MAX { 1 } else { *ttl * 3_600_000_000 };
            }
        }
        self
    }

    /// The same history of other accounts and other payments.
    pub fn renamed(mut self, suffix: &str) -> Self {
        for row in &mut self.imported {
            row.account.push_str(suffix);
        }
        for call in &mut self.calls {
            call.account.push_str(suffix);
            for external_id in external_ids_of(&mut call.what) {
                external_id.push_str(suffix);
            }
            if let What::Charge { legs, .. } | What::Capture { legs, .. } = &mut call.what {
                for leg in legs {
                    leg.account.push_str(suffix);
                }
            }
        }
        self
    }
}

/// What the clock of this machine says.
pub fn unix_micros() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(time.as_micros()).expect("it is before the year 9999")
}

/// When what a call credits expires.
pub fn expire_of(what: &mut What) -> Option<&mut i64> {
    match what {
        What::Credit { expire, .. } | What::AdminCredit { expire, .. } => expire.as_mut(),
        What::Charge { .. }
        | What::Refund { .. }
        | What::Reserve { .. }
        | What::Capture { .. }
        | What::Release { .. }
        | What::Extend { .. }
        | What::SetAccount(_)
        | What::Reverse { .. }
        | What::Withdraw { .. } => None,
    }
}

/// So many calls, mostly more than half of the most, on accounts of which some bring a balance along.
pub fn histories(calls: RangeInclusive<usize>) -> impl Strategy<Value = History> {
    let debt_max = prop_oneof![1 => Just(DEBTS[0]), 2 => Just(DEBTS[1]), 3 => Just(DEBTS[2])];
    let half = calls.start().midpoint(*calls.end());
    let steps = prop_oneof![1 => vec(step(), calls.clone()), 3 => vec(step(), half..=*calls.end())];
    (imported(), steps, debt_max).prop_map(|(imported, steps, debt_max)| {
        let pauses = steps.iter().map(|step| step.pause).collect();
        with_calls(History { imported, calls: Vec::new(), pauses, debt_max }, &steps)
    })
}

/// Sizes of batches, to be gone through again and again.
pub fn batch_sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1..=9_usize, 1..=5)
}

/// Cuts a list into batches of these sizes.
pub fn cut<'a, T>(list: &'a [T], sizes: &[usize]) -> Vec<&'a [T]> {
    let mut rest = list;
    let mut batches = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, others) = rest.split_at(rest.len().min(*size));
        batches.push(batch);
        rest = others;
    }
    batches
}

/// A call, how long after the last one it comes, and how it is bent towards an earlier one.
#[derive(Debug, Clone)]
struct Step {
    pause: i64,
    call: Call,
    bend: Bend,
    earlier: Index,
}

/// What a call has in common with an earlier one: chance alone would hardly ever make two equal but for one field.
#[derive(Debug, Clone)]
enum Bend {
    Nothing,
    /// A repetition.
    All,
    AllButKey,
    AllButAccount,
    AllButAmount,
    AllButReference,
    AllButMetadata,
    /// All but one of the fields that only its method has.
    AllButDetail,
    /// A refund of an earlier debit.
    Refund {
        legs: Option<&'static str>,
    },
    /// A reversal of an earlier credit.
    Reverse {
        policy: &'static str,
    },
    /// A capture, release or extension of an earlier reservation.
    Use(What),
    /// The next step on the way of an account into debt while a reservation is open; once it is there, this extension.
    Debt(What),
}

/// Puts the calls into a history. Which calls are refunded and which reservations used is for the model to say: most
/// that are asked for are refused.
fn with_calls(mut history: History, steps: &[Step]) -> History {
    let mut model = Model::new(history.limits(), &history.imported, BEGINNING);
    let mut asked: Vec<(Call, Answer)> = Vec::new();
    for (Step { call, bend, earlier, .. }, time) in steps.iter().zip(history.times()) {
        let call = &granting_from(time, call);
        let fitting = asked.iter().filter(|(call, answer)| bend.fits(&call.what, answer));
        let fitting: Vec<&Call> = fitting.map(|(call, _)| call).collect();
        let call = match (bend, fitting.len()) {
            (Bend::Debt(extension), _) => towards_debt(&model, time, history.debt_max, call, extension),
            (_, 0) => call.clone(),
            (_, count) => bent(call, bend, fitting[earlier.index(count)]),
        };
        let call = with_exact_forfeit(&model, time, with_payees(call));
        let answer = model.call(time, &call);
        asked.push((call, answer));
    }
    history.calls = asked.into_iter().map(|(call, _)| call).collect();
    history
}

/// A call says how long after it what it credits expires: from that on, when.
fn granting_from(time: i64, call: &Call) -> Call {
    let mut call = call.clone();
    if let Some(expire) = expire_of(&mut call.what) {
        *expire += time;
    }
    call
}

/// A call pays each of its payees by one leg, and not its own account.
fn with_payees(mut call: Call) -> Call {
    let mut named = BTreeSet::from([call.account.clone()]);
    if let What::Charge { legs, .. } | What::Capture { legs, .. } = &mut call.what {
        legs.retain(|leg| named.insert(leg.account.clone()));
    }
    call
}

/// An account that is closed with some forfeit mostly loses exactly what is posted in it.
fn with_exact_forfeit(model: &Model, time: i64, mut call: Call) -> Call {
    if let What::SetAccount(Change { state: Some("CLOSED"), forfeit: Some(forfeit), .. }) = &mut call.what
        && *forfeit != OTHER_FORFEIT
    {
        let posted = model.account_at(&call.account, time).map_or(0, |account| account.posted);
        *forfeit = i64::try_from(posted).unwrap_or_default();
    }
    call
}

/// Lifts what an operator has decided, credits, reserves, captures more than there is, and then extends: whichever of these is next, in the account that is
/// furthest on the way, under a key that is free.
fn towards_debt(model: &Model, time: i64, debt_max: i64, call: &Call, extension: &What) -> Call {
    let progress = |account: &&str| {
        let is_open = !open_reservations(model, account, time).is_empty();
        (is_open && available(model, account, time) < 0, is_open, *account == call.account)
    };
    let is_near = |account: &&str| (-1_000..=1_000).contains(&available(model, account, time));
    let Some(account) = ACCOUNTS.into_iter().filter(is_near).max_by_key(progress) else {
        return call.clone();
    };
    let available = available(model, account, time);
    let settings = model.account_at(account, time).map(|account| account.settings);
    let is_in_the_way = |settings: Settings| settings.state != "ACTIVE" || settings.debt_limit == Some(0);
    let what = match open_reservations(model, account, time).as_slice() {
        _ if settings.is_some_and(is_in_the_way) => What::SetAccount(Change {
            state: Some("ACTIVE"),
            debt_limit: Some(-1),
            forfeit: None,
            actor: ACTORS[0].to_owned(),
            reason: REASONS[0].to_owned(),
        }),
        [] if available <= 0 => {
            What::Credit { amount: 30, kind: "DEPOSIT", external_ids: Vec::new(), expire: None }
        }
        [] => What::Reserve { amount: available.min(9), ttl: None, expiry: "RELEASE" },
        [.., open] if available < 0 => with_reservation(&open.reservation_id, extension.clone()),
        [others @ .., open] => What::Capture {
            reservation_id: open.reservation_id.clone(),
            amount: (open.status.held + available + 1).min(AMOUNT_MAX),
            policy: if debt_max > 0 { "ALLOW_DEBT" } else { "COLLECT_AVAILABLE" },
            keep_open: others.is_empty(),
            legs: Vec::new(),
        },
    };
    let free = KEYS.into_iter().find(|key| model.operation(account, key).is_none());
    let key = free.map_or_else(|| call.key.clone(), str::to_owned);
    Call { account: account.to_owned(), key, what, ..call.clone() }
}

fn available(model: &Model, account: &str, time: i64) -> i64 {
    let available = model.account_at(account, time).map_or(0, |account| account.posted - account.held);
    i64::try_from(available).unwrap_or(if available < 0 { i64::MIN } else { i64::MAX })
}

/// Newest first.
fn open_reservations(model: &Model, account: &str, time: i64) -> Vec<model::Reservation> {
    let mut reservations = model.reservations_at(account, time);
    reservations.retain(|reservation| reservation.status.state == "OPEN");
    reservations
}

impl Bend {
    /// Whether it is meant for calls like this one.
    fn fits(&self, earlier: &What, answer: &Answer) -> bool {
        let is_applied = matches!(answer, Answer::Applied { .. });
        match self {
            Self::Refund { .. } => {
                let is_debit = matches!(
                    earlier,
                    What::Charge { .. } | What::Capture { .. } | What::Reverse { .. } | What::Withdraw { .. }
                );
                is_applied && is_debit
            }
            Self::Reverse { .. } => {
                is_applied && matches!(earlier, What::Credit { .. } | What::AdminCredit { .. })
            }
            Self::Use(_) => is_applied && matches!(earlier, What::Reserve { .. }),
            Self::Nothing
            | Self::All
            | Self::AllButKey
            | Self::AllButAccount
            | Self::AllButAmount
            | Self::AllButReference
            | Self::AllButMetadata
            | Self::AllButDetail
            | Self::Debt(_) => true,
        }
    }
}

fn bent(call: &Call, bend: &Bend, earlier: &Call) -> Call {
    let (call, earlier) = (call.clone(), earlier.clone());
    let amount = call.amount().max(1); // some calls have none
    match bend {
        Bend::Nothing | Bend::Debt(_) => call,
        Bend::All => earlier,
        Bend::AllButKey => Call { key: call.key, ..earlier },
        Bend::AllButAccount => Call { account: call.account, ..earlier },
        Bend::AllButAmount => with_amount(amount, earlier),
        Bend::AllButReference => Call { reference: call.reference, ..earlier },
        Bend::AllButMetadata => Call { metadata: call.metadata, ..earlier },
        Bend::AllButDetail => Call { what: with_detail(call.what, earlier.what), ..earlier },
        Bend::Refund { legs } => {
            let what = What::Refund { amount, of: Of::Key(earlier.key), legs: *legs };
            Call { account: earlier.account, what, ..call }
        }
        Bend::Reverse { policy } => {
            let (of, external_ids) = (Of::Key(earlier.key), call.external_ids().to_vec());
            let what = What::Reverse { amount, of, external_ids, reason: None, policy };
            Call { account: earlier.account, what, ..call }
        }
        Bend::Use(what) => {
            let what = with_reservation(&earlier.key, what.clone());
            Call { account: earlier.account, what, ..call }
        }
    }
}

fn with_reservation(id: &str, mut what: What) -> What {
    if let What::Capture { reservation_id, .. }
    | What::Release { reservation_id }
    | What::Extend { reservation_id, .. } = &mut what
    {
        id.clone_into(reservation_id);
    }
    what
}

/// The names of payments in a call, its own and that of another.
fn external_ids_of(what: &mut What) -> Vec<&mut String> {
    match what {
        What::Credit { external_ids, .. } | What::Withdraw { external_ids, .. } => {
            external_ids.iter_mut().collect()
        }
        What::Refund { of: Of::ExternalId(id), .. } => vec![id],
        What::Reverse { of: Of::ExternalId(id), external_ids, .. } => {
            external_ids.iter_mut().chain([id]).collect()
        }
        What::Reverse { external_ids, .. } => external_ids.iter_mut().collect(),
        What::Charge { .. }
        | What::Refund { .. }
        | What::AdminCredit { .. }
        | What::Reserve { .. }
        | What::Capture { .. }
        | What::Release { .. }
        | What::Extend { .. }
        | What::SetAccount(_) => Vec::new(),
    }
}

fn with_amount(other: i64, mut call: Call) -> Call {
    match &mut call.what {
        What::Credit { amount, .. }
        | What::Charge { amount, .. }
        | What::Refund { amount, .. }
        | What::AdminCredit { amount, .. }
        | What::Reserve { amount, .. }
        | What::Capture { amount, .. }
        | What::Reverse { amount, .. }
        | What::Withdraw { amount, .. } => *amount = other,
        What::Extend { additional, .. } => *additional = other,
        What::Release { .. } | What::SetAccount(_) => {}
    }
    call
}

/// Puts one detail of another call into a call of the same method.
fn with_detail(other: What, mut what: What) -> What {
    match (&mut what, other) {
        (What::Credit { external_ids, .. }, What::Credit { external_ids: other, .. })
            if *external_ids != other && !other.is_empty() =>
        {
            *external_ids = other;
        }
        (What::Credit { kind, external_ids, expire, .. }, What::Credit { kind: other, .. })
            if !external_ids.is_empty() && (expire.is_none() || other != "STRIPE_DEPOSIT") =>
        {
            *kind = other;
        }
        (What::Credit { expire, kind, .. }, What::Credit { expire: other, .. })
            if *expire != other && *kind != "STRIPE_DEPOSIT" =>
        {
            *expire = other;
        }
        (What::Refund { legs, .. }, What::Refund { legs: other, .. }) if *legs != other => *legs = other,
        (What::SetAccount(change), What::SetAccount(other)) => *change = other,
        (What::Withdraw { external_ids, .. }, What::Withdraw { external_ids: other, .. }) => {
            *external_ids = other;
        }
        (What::Reverse { external_ids, .. }, What::Reverse { external_ids: other, .. })
            if *external_ids != other =>
        {
            *external_ids = other;
        }
        (What::Reverse { reason, .. }, What::Reverse { reason: other, .. }) if *reason != other => {
            *reason = other;
        }
        (What::Reverse { policy, .. }, What::Reverse { policy: other, .. })
        | (What::Charge { policy, .. }, What::Charge { policy: other, .. })
        | (What::Capture { policy, .. }, What::Capture { policy: other, .. })
            if *policy != other =>
        {
            *policy = other;
        }
        (What::Refund { of, .. }, What::Refund { of: other, .. })
        | (What::Reverse { of, .. }, What::Reverse { of: other, .. }) => *of = other,
        (What::AdminCredit { expire, withdrawable: false, .. }, What::AdminCredit { expire: other, .. })
            if *expire != other =>
        {
            *expire = other;
        }
        (
            What::AdminCredit { withdrawable, expire: None, .. },
            What::AdminCredit { withdrawable: other, .. },
        ) if *withdrawable != other => {
            *withdrawable = other;
        }
        (What::AdminCredit { actor, .. }, What::AdminCredit { actor: other, .. }) if *actor != other => {
            *actor = other;
        }
        (What::AdminCredit { reason, .. }, What::AdminCredit { reason: other, .. }) => *reason = other,
        (What::Reserve { expiry, .. }, What::Reserve { expiry: other, .. }) if *expiry != other => {
            *expiry = other;
        }
        (What::Reserve { ttl, .. }, What::Reserve { ttl: other, .. }) => *ttl = other,
        (What::Charge { legs, .. }, What::Charge { legs: other, .. })
        | (What::Capture { legs, .. }, What::Capture { legs: other, .. })
            if *legs != other =>
        {
            *legs = other;
        }
        (What::Capture { keep_open, .. }, What::Capture { keep_open: other, .. }) if *keep_open != other => {
            *keep_open = other;
        }
        (What::Extend { ttl, .. }, What::Extend { ttl: Some(other), .. }) if *ttl != Some(other) => {
            *ttl = Some(other);
        }
        (What::Extend { expiry, .. }, What::Extend { expiry: Some(other), .. }) if *expiry != Some(other) => {
            *expiry = Some(other);
        }
        (
            What::Capture { reservation_id, .. }
            | What::Release { reservation_id }
            | What::Extend { reservation_id, .. },
            What::Capture { reservation_id: other, .. }
            | What::Release { reservation_id: other }
            | What::Extend { reservation_id: other, .. },
        ) => *reservation_id = other,
        _ => {}
    }
    what
}

fn step() -> impl Strategy<Value = Step> {
    (select(&PAUSES[..]), call(), bend(), any::<Index>()).prop_map(|(pause, call, bend, earlier)| Step {
        pause,
        call,
        bend,
        earlier,
    })
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        10 => Just(Bend::Nothing),
        2 => Just(Bend::All),
        3 => Just(Bend::AllButKey),
        1 => Just(Bend::AllButAccount),
        1 => Just(Bend::AllButAmount),
        1 => Just(Bend::AllButReference),
        1 => Just(Bend::AllButMetadata),
        2 => Just(Bend::AllButDetail),
        8 => select(&LEGS_POLICIES[..]).prop_map(|legs| Bend::Refund { legs }),
        6 => select(&POLICIES[..]).prop_map(|policy| Bend::Reverse { policy }),
        16 => reservation_use().prop_map(Bend::Use),
        36 => extension().prop_map(Bend::Debt),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let notes = select(&NOTES[..]).prop_map(metadata);
    (text(&ACCOUNTS), text(&KEYS), what(), text(&REFERENCES), notes).prop_map(
        |(account, key, what, reference, metadata)| Call { account, key, what, reference, metadata },
    )
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => (select(&CREDITS[..]), select(&KINDS[..]), external_ids(), select(&GRANTS[..])).prop_map(credit),
        3 => (amount(), select(&CHARGE_POLICIES[..]), legs())
            .prop_map(|(amount, policy, legs)| What::Charge { amount, policy, legs }),
        1 => (amount(), entry_name(), select(&LEGS_POLICIES[..]))
            .prop_map(|(amount, of, legs)| What::Refund { amount, of, legs }),
        1 => (amount(), text(&ACTORS), text(&REASONS), any::<bool>(), select(&GRANTS[..])).prop_map(
            |(amount, actor, reason, withdrawable, expire)| {
                let expire = expire.filter(|_| !withdrawable);
                What::AdminCredit { amount, actor, reason, withdrawable, expire }
            }
        ),
        1 => reversal(),
        3 => (amount(), external_ids())
            .prop_map(|(amount, external_ids)| What::Withdraw { amount, external_ids }),
        6 => (amount(), select(&TTLS[..]), select(&EXPIRIES[..]))
            .prop_map(|(amount, ttl, expiry)| What::Reserve { amount, ttl, expiry }),
        1 => change().prop_map(What::SetAccount),
        1 => reservation_use(),
    ]
}

fn reservation_use() -> impl Strategy<Value = What> {
    let capture = (text(&KEYS), select(&CAPTURES[..]), select(&POLICIES[..]), any::<bool>(), legs());
    prop_oneof![
        4 => capture.prop_map(|(reservation_id, amount, policy, keep_open, legs)| {
            What::Capture { reservation_id, amount, policy, keep_open, legs }
        }),
        1 => text(&KEYS).prop_map(|reservation_id| What::Release { reservation_id }),
        2 => extension(),
    ]
}

fn extension() -> impl Strategy<Value = What> {
    let expiry = option::weighted(0.3, select(&EXPIRIES[..]));
    let extension = (text(&KEYS), prop_oneof![Just(0), amount()], select(&TTLS[..]), expiry);
    extension.prop_map(|(reservation_id, additional, ttl, expiry)| {
        let ttl = ttl.or((additional == 0 && expiry.is_none()).then_some(1)); // it has to change something
        What::Extend { reservation_id, additional, ttl, expiry }
    })
}

/// Mostly none; else one or two, whose last may get the rest.
fn legs() -> impl Strategy<Value = Vec<Leg>> {
    let leg = (text(&ACCOUNTS), amount(), select(&LEG_KINDS[..]), any::<bool>());
    let leg = leg.prop_map(|(account, amount, kind, grants_withdrawable)| Leg {
        account,
        amount,
        kind,
        grants_withdrawable,
    });
    prop_oneof![2 => Just(Vec::new()), 3 => vec(leg, 1..=2)]
}

fn reversal() -> impl Strategy<Value = What> {
    let reason = option::of(text(&REASONS));
    (amount(), entry_name(), external_ids(), reason, select(&POLICIES[..])).prop_map(
        |(amount, of, external_ids, reason, policy)| What::Reverse {
            amount,
            of,
            external_ids,
            reason,
            policy,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let states = prop_oneof![3 => Just(Some("ACTIVE")), 1 => Just(Some("FROZEN")), 1 => Just(Some("CLOSED")), 1 => Just(None)];
    let forfeit = select(&[None, Some(0), Some(0), Some(OTHER_FORFEIT)][..]);
    let debt_limit = option::weighted(0.3, select(&[-1, 0, 3, 50][..]));
    (states, debt_limit, forfeit, text(&ACTORS), text(&REASONS)).prop_map(
        |(state, debt_limit, forfeit, actor, reason)| {
            let debt_limit = debt_limit.or(state.is_none().then_some(7)); // it has to change something
            let forfeit = forfeit.filter(|_| state == Some("CLOSED"));
            Change { state, debt_limit, forfeit, actor, reason }
        },
    )
}

fn credit((amount, kind, mut external_ids, expire): (i64, &'static str, Vec<String>, Option<i64>)) -> What {
    if kind == "STRIPE_DEPOSIT" && external_ids.is_empty() {
        external_ids.push(EXTERNAL_IDS[0].to_owned());
    }
    let expire = expire.filter(|_| kind != "STRIPE_DEPOSIT");
    What::Credit { amount, kind, external_ids, expire }
}

/// None, one, or several of them, sorted.
fn external_ids() -> impl Strategy<Value = Vec<String>> {
    let some = |counts| subsequence(&EXTERNAL_IDS[..], counts);
    let ids = prop_oneof![3 => some(0..=0), 3 => some(1..=1), 2 => some(2..=4)];
    ids.prop_map(|ids| ids.into_iter().map(str::to_owned).collect())
}

fn entry_name() -> impl Strategy<Value = Of> {
    prop_oneof![
        (1..=9_i64).prop_map(Of::Sequence),
        text(&KEYS).prop_map(Of::Key),
        text(&EXTERNAL_IDS).prop_map(Of::ExternalId),
    ]
}

fn amount() -> impl Strategy<Value = i64> {
    select(&AMOUNTS[..])
}

fn imported() -> impl Strategy<Value = Vec<Imported>> {
    let of_account = |account: &'static str| {
        let row = select(&IMPORTED[..]).prop_map(move |(entry_type, amount)| Imported {
            account: account.to_owned(),
            entry_type,
            amount,
        });
        option::weighted(0.6, row)
    };
    ACCOUNTS.map(of_account).prop_map(|rows| rows.into_iter().flatten().collect())
}

fn metadata(notes: &[(&str, &str)]) -> Metadata {
    notes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn text(pool: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(pool).prop_map(str::to_owned)
}
