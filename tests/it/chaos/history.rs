//! What was asked, what was told, and in which order: written down as it happens, for the checker to judge.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use billing::grpc::proto;

use super::wording::{Outcome, Told};
use crate::model::Call;

/// An account and a key in it.
pub type Name = (String, String);

/// A moment on the clients' own clock, which only counts: what was settled at an earlier one than another was sent at had
/// been answered before that was asked.
pub type Moment = u64;

/// The history, while it happens.
#[derive(Debug, Default)]
pub struct History {
    clock: AtomicU64,
    records: Mutex<Records>,
}

/// The history, as far as it has happened.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub operations: BTreeMap<Name, Operation>,
    /// How many lists there were of operations.
    pub lists: usize,
    pub misuses: Vec<Misuse>,
    pub reads: Vec<Read>,
    /// What went wrong beside the calls: a replica that logged an error, or ended as none should.
    pub incidents: Vec<String>,
}

/// An operation, and every call that was made for it.
#[derive(Debug, Clone)]
pub struct Operation {
    pub call: Call,
    pub attempts: Vec<Attempt>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub sent: Moment,
    pub settled: Moment,
    pub outcome: Outcome,
}

/// A call under a key that had been answered, and with another request.
#[derive(Debug, Clone)]
pub struct Misuse {
    pub call: Call,
    pub outcome: Outcome,
}

/// A read that was answered.
#[derive(Debug, Clone)]
pub struct Read {
    pub account: String,
    pub sent: Moment,
    pub seen: Seen,
}

/// What a read showed.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
pub enum Seen {
    /// What became of a key.
    Operation { key: String, found: Option<Found> },
    /// The newest entries, newest first.
    Page(Vec<proto::Entry>),
    /// The account as of a time that had passed, or at some time between these two of the machine's clock, which is the
    /// database's, too.
    Account { account: Option<proto::Account>, as_of: Option<i64>, clock: Clock },
    /// The grants, or those of which something remains, newest first.
    Grants { grants: Option<Vec<proto::Grant>>, only_open: bool, clock: Clock },
    /// The statement of a period that had passed.
    Statement { statement: Option<proto::GetStatementResponse>, period: (i64, i64), clock: Clock },
}

/// What the machine's clock said before a read and after it, in microseconds.
pub type Clock = (i64, i64);

/// What `GetOperation` found.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
pub enum Found {
    Applied(proto::Applied),
    Refused(proto::Refusal),
}

impl History {
    /// The next moment.
    pub fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Writes down that an operation is about to be asked for.
    pub fn ask(&self, call: &Call) {
        let operation = Operation { call: call.clone(), attempts: Vec::new() };
        let name = (call.account.clone(), call.key.clone());
        let before = self.records().operations.insert(name, operation);
        assert!(before.is_none(), "a fresh key was used before: {call:?}");
    }

    /// Writes down that some of the operations are a list.
    pub fn list(&self) {
        self.records().lists += 1;
    }

    /// Writes down what a call for an operation came to.
    pub fn settle(&self, call: &Call, sent: Moment, outcome: Outcome) {
        let attempt = Attempt { sent, settled: self.now(), outcome };
        let name = (call.account.clone(), call.key.clone());
        let mut records = self.records();
        records.operations.get_mut(&name).expect("it was asked").attempts.push(attempt);
    }

    pub fn misuse(&self, call: Call, outcome: Outcome) {
        self.records().misuses.push(Misuse { call, outcome });
    }

    pub fn read(&self, account: &str, sent: Moment, seen: Seen) {
        self.records().reads.push(Read { account: account.to_owned(), sent, seen });
    }

    pub fn incident(&self, what: String) {
        self.records().incidents.push(what);
    }

    /// The request under a key that was used before.
    pub fn call(&self, account: &str, key: &str) -> Option<Call> {
        let name = (account.to_owned(), key.to_owned());
        self.records().operations.get(&name).map(|operation| operation.call.clone())
    }

    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap()
    }
}

impl Operation {
    /// The answers, in the order in which they came.
    pub fn told(&self) -> impl Iterator<Item = (&Attempt, &Told)> {
        self.attempts.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Told(told) => Some((attempt, told)),
            Outcome::Unanswered(_) | Outcome::Unexplained(_) => None,
        })
    }

    /// The answers that stand for ever.
    pub fn standing(&self) -> impl Iterator<Item = (&Attempt, &Told)> {
        self.told().filter(|(_, told)| told.stands())
    }

    /// Whether some call for it may have been carried out without an answer.
    pub fn has_open_end(&self) -> bool {
        self.attempts.iter().any(|attempt| !matches!(attempt.outcome, Outcome::Told(_)))
    }
}
