//! The timed cases of a round, in the order in which they run: each next to what it is compared with.

use crate::{
    baseline::{Baseline, Script},
    load::Work,
};

const MANY: usize = 10_000;

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum System {
    /// pgbench.
    Baseline { run: Baseline, way: Way },
    /// The service.
    Billing { work: Work, in_flight: usize, accounts: usize, setting: Setting },
    /// The empty server.
    Empty { in_flight: usize },
    /// Another ledger.
    Peer { program: &'static str, in_flight: usize, accounts: usize },
}

/// How far PostgreSQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Beside the client.
    Near,
    /// As far away as another machine.
    Far,
}

/// Which service is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// The one that runs throughout the round.
    Running,
    /// One that was just started.
    New,
    /// One that was just started, and records a hundredth of its traces.
    Traced,
    /// One that was just started, far from PostgreSQL.
    Far,
}

/// A timed case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) system: System,
    /// The steps it is compared with: the best of them.
    pub(crate) versus: &'static [&'static str],
    /// What it is, for the table.
    pub(crate) title: &'static str,
}

pub(crate) const PEERS: [&str; 2] = ["cala", "sqlx"];
/// What runs once, after the rounds.
pub(crate) const ONCE: [&str; 3] = ["open-loop", "memory", "growth"];
pub(crate) const BASELINE_MANY: &[&str] = &["baseline-many-8", "baseline-many-32"];
pub(crate) const BASELINE_ONE: &[&str] = &["baseline-one-8", "baseline-one-32"];
const BASELINE_SINGLE: &[&str] = &["baseline-1-client"];
const BASELINE_WITHDRAW: &[&str] = &["baseline-withdraw-8", "baseline-withdraw-32"];
const BASELINE_REVERSE: &[&str] = &["baseline-reverse-8", "baseline-reverse-32"];
pub(crate) const BASELINE_SETTLE: &[&str] = &["baseline-settle-8", "baseline-settle-32"];
pub(crate) const BASELINE_READ: &[&str] = &["baseline-read-8", "baseline-read-32"];
const BASELINE_READ_SINGLE: &[&str] = &["baseline-read-1-client"];
pub(crate) const CHARGE: &[&str] = &["charge-256"];
pub(crate) const CHARGE_SINGLE: &[&str] = &["charge-single"];
const FAR_BASELINE: &[&str] = &["far-baseline-32", "far-baseline-128"];
const FAR_BASELINE_SINGLE: &[&str] = &["far-baseline-1-client"];

pub(crate) const STEPS: [Step; 56] = [
    baseline("baseline-1-client", Script::Credit, 1, MANY, "by hand: credit, 1 client"),
    billing("single", Work::Credit, 1, MANY, BASELINE_SINGLE, "credit, 1 in flight"),
    empty("empty-1", 1),
    baseline("baseline-many-8", Script::Credit, 8, MANY, "by hand: credit, 8 clients"),
    billing("many-32", Work::Credit, 32, MANY, BASELINE_MANY, "credit, 32 in flight"),
    empty("empty-32", 32),
    billing("many-256", Work::Credit, 256, MANY, BASELINE_MANY, "credit, 256 in flight"),
    baseline("baseline-many-32", Script::Credit, 32, MANY, "by hand: credit, 32 clients"),
    empty("empty-256", 256),
    billing("many-1024", Work::Credit, 1_024, MANY, BASELINE_MANY, "credit, 1,024 in flight"),
    empty("empty-1024", 1_024),
    billing_in(Setting::New, "traces-off", 256, &[], "credit, 256, traces off"),
    billing_in(Setting::Traced, "traces-on", 256, &["traces-off"], "credit, 256, traces at 1 %"),
    billing("apply-1", Work::Apply1, 256, MANY, BASELINE_MANY, "lists of 1, 256 at once"),
    billing("apply-50", Work::Apply50, 5, MANY, BASELINE_MANY, "lists of 50, 5 at once"),
    billing("apply-100", Work::Apply100, 3, MANY, BASELINE_MANY, "lists of 100, 3 at once"),
    billing("apply-500", Work::Apply500, 1, MANY, BASELINE_MANY, "lists of 500, 1 at once"),
    billing("reserve-capture", Work::ReserveCapture, 256, MANY, BASELINE_MANY, "reserve + capture, 256"),
    billing("stripe", Work::Stripe, 256, MANY, BASELINE_MANY, "Stripe deposit, 256"),
    baseline("baseline-one-8", Script::Credit, 8, 1, "by hand: one account, 8 clients"),
    billing("one", Work::Credit, 256, 1, BASELINE_ONE, "one account, 256"),
    billing("apply-100-one", Work::Apply100, 3, 1, BASELINE_ONE, "one account, lists of 100"),
    baseline("baseline-one-32", Script::Credit, 32, 1, "by hand: one account, 32 clients"),
    baseline("baseline-withdraw-8", Script::Withdraw, 8, MANY, "by hand: withdrawal, 8 clients"),
    billing("withdraw", Work::Withdraw, 256, MANY, BASELINE_WITHDRAW, "withdrawal, 256"),
    baseline("baseline-withdraw-32", Script::Withdraw, 32, MANY, "by hand: withdrawal, 32 clients"),
    baseline("baseline-reverse-8", Script::Reverse, 8, MANY, "by hand: reversal, 8 clients"),
    billing("reverse", Work::Reverse, 256, MANY, BASELINE_REVERSE, "reversal, 256"),
    baseline("baseline-reverse-32", Script::Reverse, 32, MANY, "by hand: reversal, 32 clients"),
    baseline("baseline-settle-8", Script::Settle, 8, MANY, "by hand: settlement, 8 clients"),
    billing("settle", Work::Settle, 256, MANY, BASELINE_SETTLE, "settlement, 3 legs, 256"),
    baseline("baseline-settle-32", Script::Settle, 32, MANY, "by hand: settlement, 32 clients"),
    billing("charge-single", Work::Charge, 1, MANY, &[], "charge, 1 in flight"),
    billing("charge-1-grant-single", Work::Charge1Grant, 1, MANY, CHARGE_SINGLE, "charge, 1 grant, 1 call"),
    billing(
        "charge-10-grants-single",
        Work::Charge10Grants,
        1,
        MANY,
        CHARGE_SINGLE,
        "charge, 10 grants, 1 call",
    ),
    billing("charge-256", Work::Charge, 256, MANY, &[], "charge, 256"),
    billing("charge-1-grant-256", Work::Charge1Grant, 256, MANY, CHARGE, "charge, 1 grant, 256"),
    billing("charge-10-grants-256", Work::Charge10Grants, 256, MANY, CHARGE, "charge, 10 grants, 256"),
    billing("zipf", Work::Zipf, 256, MANY, &[], "Zipf mix, 256"),
    billing("replay", Work::Replay, 256, MANY, &[], "replays, 256"),
    billing("refusals", Work::Refusals, 256, MANY, &[], "10 % refused, 256"),
    baseline("baseline-read-1-client", Script::Read, 1, MANY, "by hand: read, 1 client"),
    billing("read-single", Work::Read, 1, MANY, BASELINE_READ_SINGLE, "GetAccount, 1 in flight"),
    baseline("baseline-read-8", Script::Read, 8, MANY, "by hand: read, 8 clients"),
    billing("read", Work::Read, 256, MANY, BASELINE_READ, "GetAccount, 256"),
    baseline("baseline-read-32", Script::Read, 32, MANY, "by hand: read, 32 clients"),
    far_baseline("far-baseline-1-client", 1, "1 ms away, by hand, 1 client"),
    billing_in(Setting::Far, "far-single", 1, FAR_BASELINE_SINGLE, "1 ms away, 1 in flight"),
    far_baseline("far-baseline-32", 32, "1 ms away, by hand, 32 clients"),
    billing_in(Setting::Far, "far-256", 256, FAR_BASELINE, "1 ms away, 256 in flight"),
    far_baseline("far-baseline-128", 128, "1 ms away, by hand, 128 clients"),
    peer("peer-cala", PEERS[0], 256, MANY, BASELINE_MANY, "cala-ledger, 256"),
    peer("peer-sqlx", PEERS[1], 256, MANY, BASELINE_MANY, "sqlx-ledger, 256"),
    peer("peer-cala-one-256", PEERS[0], 256, 1, BASELINE_ONE, "cala, one account, 256"),
    peer("peer-cala-one-1", PEERS[0], 1, 1, BASELINE_ONE, "cala, one account, 1"),
    // With 256 its transactions deadlock, and one to three succeed in a second.
    peer("peer-sqlx-one-1", PEERS[1], 1, 1, BASELINE_ONE, "sqlx, one account, 1"),
];

const fn baseline(
    name: &'static str,
    script: Script,
    clients: usize,
    accounts: usize,
    title: &'static str,
) -> Step {
    let run = Baseline { script, clients, accounts };
    Step { name, system: System::Baseline { run, way: Way::Near }, versus: &[], title }
}

const fn far_baseline(name: &'static str, clients: usize, title: &'static str) -> Step {
    let run = Baseline { script: Script::Credit, clients, accounts: MANY };
    Step { name, system: System::Baseline { run, way: Way::Far }, versus: &[], title }
}

const fn billing(
    name: &'static str,
    work: Work,
    in_flight: usize,
    accounts: usize,
    versus: &'static [&'static str],
    title: &'static str,
) -> Step {
    let setting = Setting::Running;
    Step { name, system: System::Billing { work, in_flight, accounts, setting }, versus, title }
}

/// Credits to another service than the one that runs throughout.
const fn billing_in(
    setting: Setting,
    name: &'static str,
    in_flight: usize,
    versus: &'static [&'static str],
    title: &'static str,
) -> Step {
    let system = System::Billing { work: Work::Credit, in_flight, accounts: MANY, setting };
    Step { name, system, versus, title }
}

const fn empty(name: &'static str, in_flight: usize) -> Step {
    Step { name, system: System::Empty { in_flight }, versus: &[], title: name }
}

const fn peer(
    name: &'static str,
    program: &'static str,
    in_flight: usize,
    accounts: usize,
    versus: &'static [&'static str],
    title: &'static str,
) -> Step {
    Step { name, system: System::Peer { program, in_flight, accounts }, versus, title }
}

impl Step {
    /// Whether it has a row in the table of speed. Others are only there to be compared with.
    pub(crate) fn is_compared(&self) -> bool {
        match self.system {
            System::Billing { .. } | System::Peer { .. } => true,
            System::Baseline { .. } | System::Empty { .. } => false,
        }
    }

    /// Whether it is about how long a single caller waits, and not about how many calls are answered.
    pub(crate) fn is_about_latency(&self) -> bool {
        let of_one_client = |step: &Step| {
            matches!(
                step.system,
                System::Baseline { run: Baseline { clients: 1, .. }, .. }
                    | System::Billing { in_flight: 1, .. }
            )
        };
        !self.versus.is_empty()
            && self.versus.iter().filter_map(|name| find(name)).all(|step| of_one_client(&step))
    }
}

/// The step of this name.
pub(crate) fn find(name: &str) -> Option<Step> {
    STEPS.into_iter().find(|step| step.name == name)
}

/// Whether `only` asks for what has this name: all of it, or the part before a hyphen. None asks for everything.
pub(crate) fn wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|asked| asks_for(asked, name))
}

fn asks_for(asked: &str, name: &str) -> bool {
    name.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The steps that `only` asks for, and those they are compared with.
pub(crate) fn chosen(only: &[String]) -> Vec<Step> {
    let asked: Vec<_> = STEPS.iter().filter(|step| wanted(only, step.name)).collect();
    // The open loop needs to know how much the service can take.
    let needed = |name| name == "many-256" && wanted(only, "open-loop");
    let compared = |name| asked.iter().any(|step| step.versus.contains(&name));
    let chosen = |step: &&Step| wanted(only, step.name) || needed(step.name) || compared(step.name);
    STEPS.iter().filter(chosen).copied().collect()
}

/// What nothing is called by.
pub(crate) fn unknown(only: &[String]) -> Option<&String> {
    let names: Vec<_> = STEPS.iter().map(|step| step.name).chain(ONCE).collect();
    only.iter().find(|asked| !names.iter().any(|name| asks_for(asked, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<_> = only.iter().map(ToString::to_string).collect();
        assert_eq!(unknown(&only), None);
        chosen(&only).iter().map(|step| step.name).collect()
    }

    #[test]
    fn what_is_asked_for_brings_what_it_is_compared_with() {
        assert_eq!(names(&[]).len(), STEPS.len());
        assert_eq!(names(&["one"]), ["baseline-one-8", "one", "baseline-one-32"]);
        assert_eq!(names(&["open-loop"]), ["many-256"]);
        assert_eq!(names(&["empty"]).len(), 4);
        assert_eq!(
            names(&["apply-100"]),
            [
                "baseline-many-8",
                "baseline-many-32",
                "apply-100",
                "baseline-one-8",
                "apply-100-one",
                "baseline-one-32"
            ]
        );
        assert_eq!(names(&["traces-on"]), ["traces-off", "traces-on"]);
        assert_eq!(
            names(&["far"]),
            ["far-baseline-1-client", "far-single", "far-baseline-32", "far-256", "far-baseline-128"]
        );
        assert_eq!(names(&["memory"]), [""; 0]);
    }

    #[test]
    fn every_comparison_is_with_a_step() {
        for name in STEPS.iter().flat_map(|step| step.versus) {
            assert!(STEPS.iter().any(|step| step.name == *name), "{name}");
        }
        assert_eq!(unknown(&["man".into()]), Some(&"man".to_owned()));
    }

    #[test]
    fn single_calls_are_compared_by_their_latency_and_all_others_by_their_rate() {
        let by_latency: Vec<_> =
            STEPS.iter().filter(|step| step.is_about_latency()).map(|step| step.name).collect();
        assert_eq!(
            by_latency,
            ["single", "charge-1-grant-single", "charge-10-grants-single", "read-single", "far-single"]
        );
    }

    #[test]
    fn no_name_is_given_twice() {
        for (place, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..place].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }
}
