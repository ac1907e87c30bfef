//! A history and its book, made by the model, to be changed and judged.

use super::{
    super::{
        book::{Book, Refusal, Replay},
        history::{Attempt, Operation, Read, Records, Seen},
        wording::{Outcome, Told},
    },
    Verdicts, check,
};
use crate::model::{Answer, Call, Entry, Limits, Metadata, Model, Of, What, reservations_of};

const LIMITS: Limits = Limits { admin_credit_max: 100, debt_max: 100 };

/// A history and its book, made by the model.
pub(super) struct Scenario {
    pub(super) model: Model,
    pub(super) records: Records,
    pub(super) book: Book,
    moment: u64,
}

impl Scenario {
    /// A bit of everything, all of it answered.
    pub(super) fn new() -> Self {
        let model = Model::new(LIMITS, &[], 0);
        let mut scenario = Self { model, records: Records::default(), book: Book::default(), moment: 0 };
        let deposit = |amount| What::Credit {
            amount,
            kind: "STRIPE_DEPOSIT",
            external_ids: vec!["cs-1".into()],
            expire: None,
        };
        let capture = |amount| What::Capture {
            reservation_id: "hold".into(),
            amount,
            policy: "REJECT",
            keep_open: true,
            legs: Vec::new(),
        };
        scenario.ask(100, "acme", "deposit", deposit(50));
        scenario.ask(110, "acme", "deposit-again", deposit(50));
        scenario.ask(120, "acme", "charge", charge(20));
        scenario.ask(130, "acme", "great-charge", charge(100));
        scenario.ask(
            140,
            "acme",
            "refund",
            What::Refund { amount: 5, of: Of::Key("charge".into()), legs: None },
        );
        scenario.ask(
            150,
            "acme",
            "great-refund",
            What::Refund { amount: 50, of: Of::Sequence(2), legs: None },
        );
        scenario.ask(160, "acme", "hold", What::Reserve { amount: 10, ttl: Some(40), expiry: "RELEASE" });
        scenario.ask(170, "acme", "capture", capture(4));
        scenario.ask(210, "acme", "charge-after-expiry", charge(1));
        scenario.ask(220, "acme", "late-capture", capture(1));
        scenario.ask(230, "bolt", "deposit", deposit(50));
        scenario.ask(240, "acme", "last-charge", charge(2));
        scenario.book.entries = scenario.model.entries("acme").into_iter().cloned().collect();
        scenario.book.payments = vec![("cs-1".into(), ("acme".into(), 1))];
        scenario
    }

    pub(super) fn ask(&mut self, time: i64, account: &str, key: &str, what: What) {
        let (reference, metadata) = (String::new(), Metadata::new());
        let call = Call { account: account.into(), key: key.into(), what, reference, metadata };
        let answer = self.model.call(time, &call);
        let name = (call.account.clone(), call.key.clone());
        if let Answer::Refused { reason, metadata } = &answer {
            let (reason, message, metadata) = ((*reason).to_owned(), String::new(), metadata.clone());
            self.book.refusals.push((name.clone(), Refusal { reason, message, metadata, create_time: time }));
        } else if let Answer::Applied { entry, since: Some(_), .. } = &answer {
            self.book.replays.push((name.clone(), Replay { sequence: entry.sequence, create_time: time }));
        }
        let operation = Operation { call, attempts: Vec::new() };
        self.records.operations.insert(name, operation);
        self.call(account, key, Outcome::Told(told(&answer)));
    }

    /// Fills the book with what the model has of these accounts.
    pub(super) fn write_book(&mut self, accounts: &[&str]) {
        let entries = accounts.iter().flat_map(|account| self.model.entries(account));
        self.book.entries = entries.cloned().collect();
        let of = |account: &&str| {
            let account = (*account).to_owned();
            self.model.grants(&account).into_iter().map(move |grant| (account.clone(), grant))
        };
        self.book.grants = accounts.iter().flat_map(of).collect();
        let held = accounts.iter().flat_map(|account| reservations_of(&self.model.entries(account)));
        self.book.pins = held.map(|held| ((held.account, held.reservation_id), held.pins)).collect();
    }

    /// Another call for an operation.
    pub(super) fn call(&mut self, account: &str, key: &str, outcome: Outcome) {
        let attempt = Attempt { sent: self.moment + 1, settled: self.moment + 2, outcome };
        self.moment += 2;
        self.operation(account, key).attempts.push(attempt);
    }

    pub(super) fn read(&mut self, account: &str, seen: Seen) {
        self.moment += 1;
        self.records.reads.push(Read { account: account.into(), sent: self.moment, seen });
    }

    pub(super) fn operation(&mut self, account: &str, key: &str) -> &mut Operation {
        self.records.operations.get_mut(&(account.to_owned(), key.to_owned())).unwrap()
    }

    /// Has an operation that was answered go without an answer.
    pub(super) fn unanswer(&mut self, account: &str, key: &str) {
        self.operation(account, key).attempts[0].outcome = Outcome::Unanswered("UNAVAILABLE".into());
    }

    /// What an operation was answered first.
    pub(super) fn told(&mut self, account: &str, key: &str) -> Told {
        let Outcome::Told(told) = &self.operation(account, key).attempts[0].outcome else {
            panic!("unanswered")
        };
        told.clone()
    }

    /// What an operation is answered when it comes again at a time.
    pub(super) fn again(&mut self, time: i64, key: &str) -> Told {
        let call = self.operation("acme", key).call.clone();
        told(&self.model.verdict(time, &call))
    }

    pub(super) fn entry(&mut self, key: &str) -> &mut Entry {
        self.book.entries.iter_mut().find(|entry| entry.key.as_deref() == Some(key)).unwrap()
    }

    pub(super) fn refusal(&mut self, key: &str) -> &mut Refusal {
        &mut self.book.refusals.iter_mut().find(|((_, other), _)| other == key).unwrap().1
    }

    /// Writes an entry once more, at the end of its journal.
    pub(super) fn double(&mut self, key: &str) -> &mut Entry {
        let sequence = i64::try_from(self.book.entries.len()).unwrap() + 1;
        let entry = self.entry(key).clone();
        self.book.entries.push(Entry { sequence, ..entry });
        self.book.entries.last_mut().unwrap()
    }

    pub(super) fn check(&self) -> Verdicts {
        check(&self.records, &self.book, LIMITS)
    }

    pub(super) fn is_lost(&self, what: &str) {
        assert!(self.check().lost.iter().any(|finding| finding.contains(what)), "{}", self.check());
    }

    pub(super) fn is_doubled(&self, what: &str) {
        assert!(self.check().doubled.iter().any(|finding| finding.contains(what)), "{}", self.check());
    }

    /// That is unexplained, and nothing is lost or doubled.
    pub(super) fn is_unexplained(&self, what: &str) {
        let Verdicts { lost, doubled, unexplained } = self.check();
        assert_eq!((lost, doubled), (vec![], vec![]));
        assert!(unexplained.iter().any(|finding| finding.contains(what)), "{unexplained:?}");
    }
}

pub(super) fn charge(amount: i64) -> What {
    What::Charge { amount, policy: "REJECT", legs: Vec::new() }
}

fn told(answer: &Answer) -> Told {
    match answer {
        Answer::Applied { .. } => Told::applied(answer).unwrap(),
        Answer::Refused { reason, metadata } => {
            let (reason, message, metadata) = ((*reason).to_owned(), String::new(), metadata.clone());
            Told::Refused { reason, message, metadata }
        }
        Answer::Declined { reason, metadata } => {
            Told::Declined { reason: (*reason).to_owned(), metadata: metadata.clone() }
        }
        Answer::Invalid { field } => Told::Invalid { field: (*field).to_owned() },
        Answer::KeyReused { .. } => unreachable!("every key is fresh"),
        Answer::NotFound { reason } => Told::NotFound { reason: (*reason).to_owned() },
    }
}
