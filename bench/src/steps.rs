//! The timed cases of a round, in the order in which they run: each next to what it is compared with.

use crate::load::Work;

const MANY: usize = 10_000;

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum System {
    /// pgbench.
    Baseline { clients: usize, accounts: usize },
    /// The service.
    Billing { work: Work, in_flight: usize, accounts: usize },
    /// The empty server.
    Empty { in_flight: usize },
    /// Another ledger.
    Peer(&'static str),
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

pub(crate) const SINGLE: &str = "baseline-1-client";
pub(crate) const BASELINE_MANY: &[&str] = &["baseline-many-8", "baseline-many-32"];
pub(crate) const BASELINE_ONE: &[&str] = &["baseline-one-8", "baseline-one-32"];
pub(crate) const PEERS: [&str; 2] = ["cala", "sqlx"];
/// What runs once, after the rounds.
pub(crate) const ONCE: [&str; 3] = ["open-loop", "memory", "growth"];

pub(crate) const STEPS: [Step; 25] = [
    baseline(SINGLE, 1, MANY, "baseline, 1 client"),
    billing("single", Work::Credit, 1, MANY, &[SINGLE], "credit, 1 in flight"),
    empty("empty-1", 1, "empty call, 1 in flight"),
    baseline("baseline-many-8", 8, MANY, "baseline, 8 clients"),
    billing("many-32", Work::Credit, 32, MANY, BASELINE_MANY, "credit, 32 in flight"),
    empty("empty-32", 32, "empty call, 32 in flight"),
    billing("many-256", Work::Credit, 256, MANY, BASELINE_MANY, "credit, 256 in flight"),
    baseline("baseline-many-32", 32, MANY, "baseline, 32 clients"),
    empty("empty-256", 256, "empty call, 256 in flight"),
    billing("many-1024", Work::Credit, 1_024, MANY, BASELINE_MANY, "credit, 1,024 in flight"),
    empty("empty-1024", 1_024, "empty call, 1,024 in flight"),
    billing("apply-1", Work::Apply1, 256, MANY, BASELINE_MANY, "lists of 1, 256 at once"),
    billing("apply-100", Work::Apply100, 3, MANY, BASELINE_MANY, "lists of 100, 3 at once"),
    billing("apply-500", Work::Apply500, 1, MANY, BASELINE_MANY, "lists of 500, 1 at once"),
    billing("reserve-capture", Work::ReserveCapture, 256, MANY, BASELINE_MANY, "reserve + capture, 256"),
    billing("stripe", Work::Stripe, 256, MANY, BASELINE_MANY, "Stripe deposit, 256"),
    baseline("baseline-one-8", 8, 1, "baseline, one account, 8 clients"),
    billing("one", Work::Credit, 256, 1, BASELINE_ONE, "one account, 256"),
    baseline("baseline-one-32", 32, 1, "baseline, one account, 32 clients"),
    billing("zipf", Work::Zipf, 256, MANY, &[], "Zipf mix, 256"),
    billing("replay", Work::Replay, 256, MANY, &[], "replays, 256"),
    billing("read", Work::Read, 256, MANY, &[], "GetAccount, 256"),
    billing("refusals", Work::Refusals, 256, MANY, &[], "10 % refused, 256"),
    peer("peer-cala", PEERS[0], "cala-ledger, in process"),
    peer("peer-sqlx", PEERS[1], "sqlx-ledger, in process"),
];

const fn baseline(name: &'static str, clients: usize, accounts: usize, title: &'static str) -> Step {
    Step { name, system: System::Baseline { clients, accounts }, versus: &[], title }
}

const fn billing(
    name: &'static str,
    work: Work,
    in_flight: usize,
    accounts: usize,
    versus: &'static [&'static str],
    title: &'static str,
) -> Step {
    Step { name, system: System::Billing { work, in_flight, accounts }, versus, title }
}

const fn empty(name: &'static str, in_flight: usize, title: &'static str) -> Step {
    Step { name, system: System::Empty { in_flight }, versus: &[], title }
}

const fn peer(name: &'static str, program: &'static str, title: &'static str) -> Step {
    Step { name, system: System::Peer(program), versus: BASELINE_MANY, title }
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
            names(&["apply"]),
            ["baseline-many-8", "baseline-many-32", "apply-1", "apply-100", "apply-500"]
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
}
