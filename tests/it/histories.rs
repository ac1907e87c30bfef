//! Random histories of calls: from small pools, so that keys, payments and charges collide often.

use std::ops::RangeInclusive;

use proptest::{collection::vec, option, prelude::*, sample::Index, sample::select};

use crate::model::{Call, Imported, Metadata, Of, What};

/// The most that one `AdminCredit` may grant in every history: some of the small amounts are above it.
pub const ADMIN_CREDIT_MAX: i64 = 7;
pub const ACCOUNTS: [&str; 3] = ["acme", "bolt", "coda"];
pub const KEYS: [&str; 12] = ["k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11", "k12"];
pub const REFERENCES: [&str; 3] = ["", "reservation_refund", "счёт № 7"];

const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
const SMALL_AMOUNTS: [i64; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const CREDITS: [i64; 3] = [20, 30, 50];
const GREAT_AMOUNTS: [i64; 2] = [AMOUNT_MAX, AMOUNT_MAX - 1];
const KINDS: [&str; 5] = ["DEPOSIT", "STRIPE_DEPOSIT", "EARNING", "REFERRAL_REWARD", "INVITE_CREDIT"];
const EXTERNAL_IDS: [&str; 4] = ["pay_1", "pay_2", "pay_3", "pay_4"];
const ACTORS: [&str; 2] = ["ann", "bob"];
const REASONS: [&str; 2] = ["goodwill", "correction"];
/// Notes by name; the last two read the same when they are run together.
const NOTES: [&[(&str, &str)]; 4] = [&[], &[("job", "1"), ("node", "")], &[("a", "bc")], &[("ab", "c")]];
/// What accounts may bring along: much, nothing, and debts.
const IMPORTED: [(&str, i64); 9] = [
    ("DEPOSIT", 50),
    ("CHARGE", -50),
    ("EARNING", 0),
    ("DEPOSIT", i64::MAX),
    ("DEPOSIT", i64::MAX - 5),
    ("DEPOSIT", i64::MAX - AMOUNT_MAX),
    ("CHARGE", -AMOUNT_MAX),
    ("ADMIN_CREDIT", i64::MIN),
    ("ADMIN_CREDIT", i64::MIN + 5),
];

/// What was there before, and what is asked, in order.
#[derive(Debug, Clone)]
pub struct History {
    pub imported: Vec<Imported>,
    pub calls: Vec<Call>,
}

impl History {
    /// The same history, in which no account begins in debt.
    pub fn without_debts(mut self) -> Self {
        self.imported.retain(|row| row.amount >= 0);
        self
    }

    /// The same history of other accounts and other payments.
    pub fn renamed(mut self, suffix: &str) -> Self {
        for row in &mut self.imported {
            row.account.push_str(suffix);
        }
        for call in &mut self.calls {
            call.account.push_str(suffix);
            if let What::Credit { external_id: Some(external_id), .. } = &mut call.what {
                external_id.push_str(suffix);
            }
        }
        self
    }
}

/// So many calls, on accounts of which some bring a balance along.
pub fn histories(calls: RangeInclusive<usize>) -> impl Strategy<Value = History> {
    (imported(), vec(step(), calls))
        .prop_map(|(imported, steps)| History { imported, calls: calls_of(&steps) })
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

/// A call, and how it is bent towards an earlier one.
#[derive(Debug, Clone)]
struct Step {
    call: Call,
    bend: Bend,
    earlier: Index,
}

/// What a call has in common with an earlier one: chance alone would hardly ever make two equal but for one field.
#[derive(Debug, Clone, Copy)]
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
    /// A refund of an earlier charge.
    Refund,
}

fn calls_of(steps: &[Step]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for Step { call, bend, earlier } in steps {
        let refundable = |call: &&Call| matches!((bend, &call.what), (Bend::Refund, What::Charge { .. }));
        let charges: Vec<&Call> = calls.iter().filter(refundable).collect();
        let earlier = match (charges.len(), calls.len()) {
            (0, 0) => None,
            (0, count) => Some(&calls[earlier.index(count)]),
            (count, _) => Some(charges[earlier.index(count)]),
        };
        calls.push(earlier.map_or_else(|| call.clone(), |earlier| bent(call, *bend, earlier)));
    }
    calls
}

fn bent(call: &Call, bend: Bend, earlier: &Call) -> Call {
    let (call, earlier) = (call.clone(), earlier.clone());
    match bend {
        Bend::Nothing => call,
        Bend::All => earlier,
        Bend::AllButKey => Call { key: call.key, ..earlier },
        Bend::AllButAccount => Call { account: call.account, ..earlier },
        Bend::AllButAmount => with_amount(call.amount(), earlier),
        Bend::AllButReference => Call { reference: call.reference, ..earlier },
        Bend::AllButMetadata => Call { metadata: call.metadata, ..earlier },
        Bend::AllButDetail => Call { what: with_detail(call.what, earlier.what), ..earlier },
        Bend::Refund => {
            let what = What::Refund { amount: call.amount(), of: Of::Key(earlier.key) };
            Call { account: earlier.account, what, ..call }
        }
    }
}

fn with_amount(other: i64, mut call: Call) -> Call {
    match &mut call.what {
        What::Credit { amount, .. }
        | What::Charge { amount }
        | What::Refund { amount, .. }
        | What::AdminCredit { amount, .. } => *amount = other,
    }
    call
}

/// Puts one detail of another call into a call of the same method.
fn with_detail(other: What, mut what: What) -> What {
    match (&mut what, other) {
        (What::Credit { external_id, .. }, What::Credit { external_id: Some(other), .. })
            if external_id.as_ref() != Some(&other) =>
        {
            *external_id = Some(other);
        }
        (What::Credit { kind, external_id: Some(_), .. }, What::Credit { kind: other, .. }) => *kind = other,
        (What::Refund { of, .. }, What::Refund { of: other, .. }) => *of = other,
        (What::AdminCredit { actor, .. }, What::AdminCredit { actor: other, .. }) if *actor != other => {
            *actor = other;
        }
        (What::AdminCredit { reason, .. }, What::AdminCredit { reason: other, .. }) => *reason = other,
        _ => {}
    }
    what
}

fn step() -> impl Strategy<Value = Step> {
    (call(), bend(), any::<Index>()).prop_map(|(call, bend, earlier)| Step { call, bend, earlier })
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
        4 => Just(Bend::Refund),
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
        4 => (credit_amount(), select(&KINDS[..]), text(&EXTERNAL_IDS), any::<bool>()).prop_map(credit),
        4 => amount().prop_map(|amount| What::Charge { amount }),
        1 => (amount(), charge_name()).prop_map(|(amount, of)| What::Refund { amount, of }),
        1 => (amount(), text(&ACTORS), text(&REASONS))
            .prop_map(|(amount, actor, reason)| What::AdminCredit { amount, actor, reason }),
    ]
}

fn credit((amount, kind, external_id, named): (i64, &'static str, String, bool)) -> What {
    let required = kind == "STRIPE_DEPOSIT";
    What::Credit { amount, kind, external_id: Some(external_id).filter(|_| named || required) }
}

fn charge_name() -> impl Strategy<Value = Of> {
    prop_oneof![(1..=9_i64).prop_map(Of::Sequence), text(&KEYS).prop_map(Of::Key)]
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![15 => select(&SMALL_AMOUNTS[..]), 1 => select(&GREAT_AMOUNTS[..])]
}

/// Mostly more than what is charged at once.
fn credit_amount() -> impl Strategy<Value = i64> {
    prop_oneof![2 => amount(), 3 => select(&CREDITS[..])]
}

fn imported() -> impl Strategy<Value = Vec<Imported>> {
    let of_account = |account: &'static str| {
        let row = select(&IMPORTED[..]).prop_map(move |(entry_type, amount)| Imported {
            account: account.to_owned(),
            entry_type,
            amount,
        });
        option::weighted(0.4, row)
    };
    ACCOUNTS.map(of_account).prop_map(|rows| rows.into_iter().flatten().collect())
}

fn metadata(notes: &[(&str, &str)]) -> Metadata {
    notes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn text(pool: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(pool).prop_map(str::to_owned)
}
