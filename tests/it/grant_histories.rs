//! Random histories made for grants: most calls refer to an earlier one, so most of them have an effect, and grants expire
//! while they are held, spent, refunded and reversed.

use proptest::{collection::vec, prelude::*, sample::Index, sample::select};

use crate::{
    histories::{BEGINNING, History},
    model::{Call, Leg, Metadata, Of, What},
};

const KINDS: [&str; 4] = ["INVITE_CREDIT", "EARNING", "DEPOSIT", "REFERRAL_REWARD"];
const POLICIES: [&str; 4] = ["REJECT", "REJECT", "COLLECT_AVAILABLE", "ALLOW_DEBT"];
/// How long after its credit a grant expires.
const EXPIRIES: [i64; 8] = [1, 2, 3, 4, 6, 9, 20, 1_000];
const TTLS: [Option<i64>; 5] = [None, None, Some(2), Some(5), Some(9)];
/// How long nobody calls.
const PAUSES: [i64; 8] = [0, 0, 0, 1, 1, 2, 3, 6];

/// What is asked in a step.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Grant,
    Deposit,
    Earning,
    Charge,
    Reserve,
    Capture,
    Release,
    Extend,
    Refund,
    Reverse,
    Withdraw,
}

/// How often each is asked.
const ASKS: [Ask; 24] = [
    Ask::Grant,
    Ask::Grant,
    Ask::Grant,
    Ask::Grant,
    Ask::Deposit,
    Ask::Earning,
    Ask::Charge,
    Ask::Charge,
    Ask::Charge,
    Ask::Reserve,
    Ask::Reserve,
    Ask::Reserve,
    Ask::Capture,
    Ask::Capture,
    Ask::Capture,
    Ask::Release,
    Ask::Extend,
    Ask::Refund,
    Ask::Refund,
    Ask::Refund,
    Ask::Reverse,
    Ask::Reverse,
    Ask::Reverse,
    Ask::Withdraw,
];

/// A step before it is known what came before it.
#[derive(Debug, Clone)]
struct Step {
    ask: Ask,
    is_other: bool,
    amount: i64,
    kind: &'static str,
    policy: &'static str,
    later: i64,
    ttl: Option<i64>,
    pause: i64,
    of: Index,
    flags: (bool, bool, bool),
}

/// Histories of so many calls on two accounts, of which each may pay the other.
pub fn grant_histories(calls: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = History> {
    (vec(step(), calls), select(&[0, 10, 100][..])).prop_map(|(steps, debt_max)| {
        let mut time = BEGINNING;
        let mut known = Vec::new();
        let (mut calls, mut pauses) = (Vec::new(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            time += step.pause;
            pauses.push(step.pause);
            let account = if step.is_other { "bolt" } else { "acme" };
            let ask = if step.earlier(&known, account).is_some() { step.ask } else { Ask::Grant };
            let what = step.what(ask, &known, account, time);
            let key = format!("call-{number}");
            known.push((account, ask, key.clone()));
            let (reference, metadata) = (String::new(), Metadata::new());
            calls.push(Call { account: account.to_owned(), key, what, reference, metadata });
        }
        History { imported: Vec::new(), calls, pauses, debt_max }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let selections = (select(&KINDS[..]), select(&POLICIES[..]), select(&EXPIRIES[..]), select(&TTLS[..]));
    let others = (select(&PAUSES[..]), any::<Index>(), any::<(bool, bool, bool)>());
    (select(&ASKS[..]), 0..4_u8, 1..=30_i64, selections, others).prop_map(
        |(ask, other, amount, (kind, policy, later, ttl), (pause, of, flags))| Step {
            ask,
            is_other: other == 0,
            amount,
            kind,
            policy,
            later,
            ttl,
            pause,
            of,
            flags,
        },
    )
}

impl Step {
    /// The key of the earlier call that it refers to; its own need none.
    fn earlier(&self, known: &[(&str, Ask, String)], account: &str) -> Option<String> {
        let refers = |to: Ask| match self.ask {
            Ask::Capture | Ask::Release | Ask::Extend => matches!(to, Ask::Reserve),
            Ask::Refund => matches!(to, Ask::Charge | Ask::Capture | Ask::Reverse | Ask::Withdraw),
            Ask::Reverse => matches!(to, Ask::Grant | Ask::Deposit | Ask::Earning),
            Ask::Grant | Ask::Deposit | Ask::Earning | Ask::Charge | Ask::Reserve | Ask::Withdraw => false,
        };
        let is_own = matches!(
            self.ask,
            Ask::Grant | Ask::Deposit | Ask::Earning | Ask::Charge | Ask::Reserve | Ask::Withdraw
        );
        let able: Vec<&String> = known
            .iter()
            .filter(|(of, ask, _)| *of == account && refers(*ask))
            .map(|(_, _, key)| key)
            .collect();
        match able.len() {
            0 => is_own.then(String::new),
            count => Some(able[self.of.index(count)].clone()),
        }
    }

    fn what(&self, ask: Ask, known: &[(&str, Ask, String)], account: &str, time: i64) -> What {
        let earlier = self.earlier(known, account).unwrap_or_default();
        let (amount, policy) = (self.amount, self.policy);
        let (one, other, third) = self.flags;
        let payee = if account == "bolt" { "acme" } else { "bolt" };
        let leg = Leg {
            account: payee.to_owned(),
            amount: (amount * 2 / 3).max(1),
            kind: if third { "EARNING" } else { "FEE" },
            grants_withdrawable: other && third,
        };
        let legs = if one { vec![leg] } else { Vec::new() };
        let credit = |kind, expire| What::Credit { amount, kind, external_ids: Vec::new(), expire };
        match ask {
            Ask::Grant => credit(self.kind, Some(time + self.later)),
            Ask::Deposit => credit("DEPOSIT", None),
            Ask::Earning => credit("EARNING", None),
            Ask::Charge => What::Charge { amount, policy, legs },
            Ask::Reserve => {
                What::Reserve { amount, ttl: self.ttl, expiry: if one { "RELEASE" } else { "CAPTURE" } }
            }
            Ask::Capture => What::Capture { reservation_id: earlier, amount, policy, keep_open: other, legs },
            Ask::Release => What::Release { reservation_id: earlier },
            Ask::Extend => {
                What::Extend { reservation_id: earlier, additional: amount, ttl: self.ttl, expiry: None }
            }
            Ask::Refund => {
                let legs = Some(if one { "KEEP" } else { "TAKE_BACK" });
                What::Refund { amount, of: Of::Key(earlier), legs }
            }
            Ask::Reverse => {
                let (external_ids, reason) = (Vec::new(), None);
                What::Reverse { amount, of: Of::Key(earlier), external_ids, reason, policy }
            }
            Ask::Withdraw => What::Withdraw { amount, external_ids: Vec::new() },
        }
    }
}
