//! The whole business in one pure function.

use std::sync::Arc;

use super::{
    Account, Actor, AdminCredit, Amount, Answer, Book, Charge, ChargeName, Command, Credit, Entry, EntryType,
    ExternalCredit, ExternalId, KeyReused, MicroUsd, Operation, Reason, Recorded, Refund, Refusal,
    RefusalReason, Timestamp,
};

/// What the operator of the service set.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most that one `AdminCredit` may grant.
    pub admin_credit_max: MicroUsd,
}

/// How an operation is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Applied {
        /// The entry that was written.
        entry: Arc<Entry>,
        /// Whether an earlier call wrote it.
        replayed: bool,
    },
    /// No, now and whenever it is asked again.
    Refused(Arc<Refusal>),
    /// The key names another request. Nothing is remembered of this one.
    KeyReused(KeyReused),
    /// What it names is not there. Nothing is remembered of it.
    NotFound(NotFound),
}

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// The account.
    Account,
    /// The entry.
    Entry,
    /// The charge or capture to refund.
    Charge,
    /// An operation under the key.
    Operation,
}

/// Answers commands in order, each knowing the ones before it. The book must hold what they name; it is left holding
/// what they changed. `now` is the database's clock, read under the locks of all accounts.
#[must_use]
pub fn decide(book: &mut Book, commands: &[Command], now: Timestamp, limits: &Limits) -> Vec<Outcome> {
    commands.iter().map(|command| decide_one(book, command, now, limits)).collect()
}

fn decide_one(book: &mut Book, command: &Command, now: Timestamp, limits: &Limits) -> Outcome {
    if let Some(recorded) = book.answer(command.account_id(), command.key()) {
        return repeat(recorded, command);
    }
    let reason = match judge(book, command, limits) {
        Verdict::Post(posting) => match book.post(command, posting, now) {
            Some(entry) => return Outcome::Applied { entry, replayed: false },
            None => RefusalReason::BalanceOverflow,
        },
        Verdict::CreditedBefore(entry) => {
            book.answer_with(command, Arc::clone(&entry), now);
            return Outcome::Applied { entry, replayed: true };
        }
        Verdict::NotFound(not_found) => return Outcome::NotFound(not_found),
        Verdict::Refuse(reason) => reason,
    };
    Outcome::Refused(book.refuse(command, &reason, now))
}

/// The answer to a key that was answered before: the same one, if it is the same request. Comes before any look at the
/// state of the account, which has moved on since.
fn repeat(recorded: &Recorded, command: &Command) -> Outcome {
    if recorded.fingerprint != *command.fingerprint() {
        return Outcome::KeyReused(recorded.fingerprint.reused_by(command.fingerprint()));
    }
    match &recorded.answer {
        Answer::Applied(entry) => Outcome::Applied { entry: Arc::clone(entry), replayed: true },
        Answer::Refused(refusal) => Outcome::Refused(Arc::clone(refusal)),
    }
}

/// What the rules say to an operation under a new key.
enum Verdict {
    Post(Posting),
    CreditedBefore(Arc<Entry>),
    Refuse(RefusalReason),
    NotFound(NotFound),
}

/// What an operation writes into the journal, before it has a place there.
pub(super) struct Posting {
    entry_type: EntryType,
    amount: MicroUsd,
    external_id: Option<ExternalId>,
    actor: Option<Actor>,
    reason: Option<Reason>,
    refunded_sequence: Option<i64>,
}

fn judge(book: &Book, command: &Command, limits: &Limits) -> Verdict {
    match command.operation() {
        Operation::Credit(credit) => judge_credit(book, command, credit),
        Operation::Charge(amount) => judge_charge(book, command, *amount),
        Operation::Refund(refund) => judge_refund(book, command, refund),
        Operation::AdminCredit(grant) => judge_admin_credit(grant, limits),
    }
}

fn judge_credit(book: &Book, command: &Command, credit: &Credit) -> Verdict {
    if let Some(external_id) = credit.external_id()
        && let Some(before) = book.external_credit(credit.kind(), external_id)
    {
        return judge_credited_before(before, command, credit, external_id);
    }
    Verdict::Post(Posting {
        external_id: credit.external_id().cloned(),
        ..Posting::new(EntryType::Credit(credit.kind()), credit.amount().credited())
    })
}

/// The payment was credited under another key: the same answer for the same account and amount, else a conflict.
fn judge_credited_before(
    before: &ExternalCredit,
    command: &Command,
    credit: &Credit,
    external_id: &ExternalId,
) -> Verdict {
    let conflict = match &before.entry {
        Some(entry) if before.account_id == *command.account_id() => {
            if entry.amount == credit.amount().credited() {
                return Verdict::CreditedBefore(Arc::clone(entry));
            }
            "amount_micro_usd"
        }
        Some(_) | None => "account_id",
    };
    Verdict::Refuse(RefusalReason::ExternalIdConflict { external_id: external_id.to_string(), conflict })
}

fn judge_charge(book: &Book, command: &Command, amount: Amount) -> Verdict {
    let account = book.account(command.account_id());
    let available = account.map_or(MicroUsd::ZERO, |account| account.balance.available());
    let required = amount.credited();
    if required > available {
        return Verdict::Refuse(RefusalReason::InsufficientFunds { available, required });
    }
    Verdict::Post(Posting::new(EntryType::Charge, amount.debited()))
}

fn judge_refund(book: &Book, command: &Command, refund: &Refund) -> Verdict {
    let Some(charge) = find_charge(book, command, &refund.charge) else {
        return Verdict::NotFound(NotFound::Charge);
    };
    let entry_type = charge.entry.entry_type;
    if !entry_type.is_refundable() {
        return Verdict::Refuse(RefusalReason::NotRefundable { entry_type });
    }
    // What was taken is a negative amount, so nothing of it is left where the two sums meet.
    let left = MicroUsd::ZERO
        .checked_sub(charge.entry.amount)
        .and_then(|charged| charged.checked_sub(charge.refunded))
        .unwrap_or(MicroUsd::ZERO);
    if refund.amount.credited() > left {
        return Verdict::Refuse(RefusalReason::RefundExceedsCharge { refundable: left });
    }
    Verdict::Post(Posting {
        refunded_sequence: Some(charge.entry.sequence),
        ..Posting::new(EntryType::Refund, refund.amount.credited())
    })
}

fn find_charge<'book>(book: &'book Book, command: &Command, name: &ChargeName) -> Option<&'book Charge> {
    let sequence = match name {
        ChargeName::Sequence(sequence) => *sequence,
        ChargeName::Key(key) => match &book.answer(command.account_id(), key)?.answer {
            Answer::Applied(entry) => entry.sequence,
            Answer::Refused(_) => return None,
        },
    };
    book.charge(command.account_id(), sequence)
}

fn judge_admin_credit(grant: &AdminCredit, limits: &Limits) -> Verdict {
    if grant.amount.credited() > limits.admin_credit_max {
        return Verdict::Refuse(RefusalReason::AdminCreditLimit { limit: limits.admin_credit_max });
    }
    Verdict::Post(Posting {
        actor: Some(grant.actor.clone()),
        reason: Some(grant.reason.clone()),
        ..Posting::new(EntryType::AdminCredit, grant.amount.credited())
    })
}

impl Posting {
    fn new(entry_type: EntryType, amount: MicroUsd) -> Self {
        Self { entry_type, amount, external_id: None, actor: None, reason: None, refunded_sequence: None }
    }

    /// The entry in its place, or `None` where the balance would leave int64.
    pub(super) fn entry(self, command: &Command, account: &Account, now: Timestamp) -> Option<Entry> {
        let held_delta = MicroUsd::ZERO;
        Some(Entry {
            account_id: command.account_id().clone(),
            sequence: account.last_sequence.checked_add(1)?,
            entry_type: self.entry_type,
            amount: self.amount,
            held_delta,
            balance_after: account.balance.after(self.amount, held_delta)?,
            idempotency_key: Some(command.key().clone()),
            external_id: self.external_id,
            note: command.note().clone(),
            actor: self.actor,
            reason: self.reason,
            reservation_id: None,
            refunded_sequence: self.refunded_sequence,
            create_time: now.max(account.update_time), // a clock set back does not turn the journal round
        })
    }
}
