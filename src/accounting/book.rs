//! The part of the book that some commands touch: what the rules read, and what they wrote.

use std::{collections::HashMap, sync::Arc};

use super::{
    AccountId, Balance, CreditKind, Entry, ExternalId, Fingerprint, IdempotencyKey, MicroUsd, Refusal,
    RefusalReason, Timestamp, command::Command, decide::Posting,
};

/// The accounts, earlier answers, charges and payments that some commands name; and all that [`super::decide()`] adds.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<AccountId, AccountBook>,
    external_credits: HashMap<(CreditKind, ExternalId), ExternalCredit>,
    changes: Changes,
}

/// All that was decided and is to be written.
#[derive(Debug, Default)]
pub struct Changes {
    /// The entries, in the order in which they were decided.
    pub entries: Vec<(Arc<Entry>, Fingerprint)>,
    /// The refusals to remember.
    pub refusals: Vec<Refused>,
    /// The payments credited.
    pub external_credits: Vec<(CreditKind, ExternalId, ExternalCredit)>,
    /// The keys answered with the entry of another key.
    pub external_replays: Vec<ExternalReplay>,
}

/// An account, as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Its money.
    pub balance: Balance,
    /// The sequence of its newest entry; 0 before the first.
    pub last_sequence: i64,
    /// When the newest entry was written.
    pub update_time: Timestamp,
}

/// How a key was answered.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub answer: Answer,
}

/// An answer that stands for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, by this entry.
    Applied(Arc<Entry>),
    /// No.
    Refused(Arc<Refusal>),
}

/// An entry that a refund may name, and what has been given back of it.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The entry; whether it took money is for the rules to say.
    pub entry: Arc<Entry>,
    /// The sum of all its refunds.
    pub refunded: MicroUsd,
}

/// Who was credited for a payment of another system.
#[derive(Debug, Clone)]
pub struct ExternalCredit {
    /// The account.
    pub account_id: AccountId,
    /// The entry's sequence in it.
    pub sequence: i64,
    /// The entry, where the account is the one that asks.
    pub entry: Option<Arc<Entry>>,
}

/// A refusal, and the operation that it answers.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The operation's key.
    pub key: IdempotencyKey,
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub refusal: Arc<Refusal>,
}

/// A key answered with the entry of an earlier key, since both name the same payment.
#[derive(Debug, Clone)]
pub struct ExternalReplay {
    /// The later key.
    pub key: IdempotencyKey,
    /// What was asked under it.
    pub fingerprint: Fingerprint,
    /// The entry that answers it.
    pub entry: Arc<Entry>,
    /// When it was first answered so.
    pub create_time: Timestamp,
}

#[derive(Debug)]
struct AccountBook {
    account: Account,
    answers: HashMap<IdempotencyKey, Recorded>,
    charges: HashMap<i64, Charge>,
}

impl Book {
    /// Puts in an account. It must be there before anything else of it.
    pub fn put_account(&mut self, account_id: AccountId, account: Account) {
        let book = AccountBook { account, answers: HashMap::new(), charges: HashMap::new() };
        self.accounts.insert(account_id, book);
    }

    /// Puts in how a key was answered.
    pub fn put_answer(&mut self, account_id: &AccountId, key: IdempotencyKey, recorded: Recorded) {
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.answers.insert(key, recorded);
        }
    }

    /// Puts in an entry that a refund names, and what has been given back of it.
    pub fn put_charge(&mut self, charge: Charge) {
        if let Some(book) = self.accounts.get_mut(&charge.entry.account_id) {
            book.charges.insert(charge.entry.sequence, charge);
        }
    }

    /// Puts in who was credited for a payment.
    pub fn put_external_credit(&mut self, kind: CreditKind, external_id: ExternalId, credit: ExternalCredit) {
        self.external_credits.insert((kind, external_id), credit);
    }

    /// The account as it stands, with all that was decided so far.
    #[must_use]
    pub fn account(&self, account_id: &AccountId) -> Option<&Account> {
        self.accounts.get(account_id).map(|book| &book.account)
    }

    /// How a key was answered, if it was.
    #[must_use]
    pub fn answer(&self, account_id: &AccountId, key: &IdempotencyKey) -> Option<&Recorded> {
        self.accounts.get(account_id)?.answers.get(key)
    }

    /// The entry with a sequence, as something to refund.
    #[must_use]
    pub fn charge(&self, account_id: &AccountId, sequence: i64) -> Option<&Charge> {
        self.accounts.get(account_id)?.charges.get(&sequence)
    }

    /// Who was credited for a payment, if anybody was.
    #[must_use]
    pub fn external_credit(&self, kind: CreditKind, external_id: &ExternalId) -> Option<&ExternalCredit> {
        self.external_credits.get(&(kind, external_id.clone()))
    }

    /// All that was decided.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// Writes the entry of an operation, or returns `None` where the balance would leave int64.
    pub(super) fn post(&mut self, command: &Command, posting: Posting, now: Timestamp) -> Option<Arc<Entry>> {
        let book = self.accounts.get_mut(command.account_id())?;
        let entry = Arc::new(posting.entry(command, &book.account, now)?);
        book.account = Account {
            balance: entry.balance_after,
            last_sequence: entry.sequence,
            update_time: entry.create_time,
        };
        if let Some(charge) = entry.refunded_sequence.and_then(|sequence| book.charges.get_mut(&sequence)) {
            // Cannot overflow: judged to be at most what was charged.
            charge.refunded = MicroUsd::new(charge.refunded.get() + entry.amount.get());
        }
        book.charges.insert(entry.sequence, Charge { entry: Arc::clone(&entry), refunded: MicroUsd::ZERO });
        self.record(command, Answer::Applied(Arc::clone(&entry)));
        if let Some((kind, external_id)) = command.external_payment() {
            let credit = ExternalCredit {
                account_id: entry.account_id.clone(),
                sequence: entry.sequence,
                entry: Some(Arc::clone(&entry)),
            };
            self.put_external_credit(kind, external_id.clone(), credit.clone());
            self.changes.external_credits.push((kind, external_id.clone(), credit));
        }
        self.changes.entries.push((Arc::clone(&entry), command.fingerprint().clone()));
        Some(entry)
    }

    /// Remembers that an operation was refused.
    pub(super) fn refuse(
        &mut self,
        command: &Command,
        reason: &RefusalReason,
        now: Timestamp,
    ) -> Arc<Refusal> {
        let refusal = Arc::new(Refusal {
            account_id: command.account_id().clone(),
            reason: reason.name().to_owned(),
            message: reason.message(),
            metadata: reason.metadata(),
            create_time: now,
        });
        self.record(command, Answer::Refused(Arc::clone(&refusal)));
        self.changes.refusals.push(Refused {
            key: command.key().clone(),
            fingerprint: command.fingerprint().clone(),
            refusal: Arc::clone(&refusal),
        });
        refusal
    }

    /// Remembers that an operation was answered with the entry of another key.
    pub(super) fn answer_with(&mut self, command: &Command, entry: Arc<Entry>, now: Timestamp) {
        self.record(command, Answer::Applied(Arc::clone(&entry)));
        self.changes.external_replays.push(ExternalReplay {
            key: command.key().clone(),
            fingerprint: command.fingerprint().clone(),
            entry,
            create_time: now,
        });
    }

    fn record(&mut self, command: &Command, answer: Answer) {
        let recorded = Recorded { fingerprint: command.fingerprint().clone(), answer };
        self.put_answer(command.account_id(), command.key().clone(), recorded);
    }
}

impl Changes {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.refusals.is_empty() && self.external_replays.is_empty()
    }
}
