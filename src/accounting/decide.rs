//! The whole business in one pure function.

use std::sync::Arc;

use super::{
    Amount, Answer, Balance, Book, Charge, ChargeName, Command, Credit, Entry, EntryType, ExternalCredit,
    ExternalId, Invalid, KeyReused, Limits, MicroUsd, Operation, Recorded, Refund, Refusal, RefusalReason,
    Reservation, ReservationStatus, Reserve, Timestamp, movement::Movement, posting::Posting,
};

/// How an operation is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Applied {
        /// The entry that was written.
        entry: Arc<Entry>,
        /// Whether an earlier call wrote it.
        replayed: bool,
        /// The reservation right after the entry, if it is about one.
        reservation: Option<Reservation>,
    },
    /// No, now and whenever it is asked again.
    Refused(Arc<Refusal>),
    /// No, by the configuration of this service. Nothing is remembered of it: another replica may allow it.
    Declined(Arc<Refusal>),
    /// A field is not one that this service takes. Nothing is remembered of it.
    Invalid(Invalid),
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
    /// The reservation.
    Reservation,
}

/// Answers commands in order, each knowing the ones before it. The book must hold what they name; it is left holding
/// what they changed. `now` is the database's clock, read under the locks of all accounts.
///
/// Leases that have run out by then end first, so that no rule needs to know of them: for every other entry, what is held
/// is what is held. Where more have run out in an account than the book holds, nothing else is decided there yet: `None`.
#[must_use]
pub fn decide(
    book: &mut Book,
    commands: &[Command],
    now: Timestamp,
    limits: &Limits,
) -> Vec<Option<Outcome>> {
    expire_lapsed(book, now);
    let decide = |command: &Command| {
        let is_behind =
            book.account(command.account_id()).is_some_and(|account| account.may_have_lapsed(now));
        (!is_behind).then(|| decide_one(book, command, now, limits))
    };
    commands.iter().map(decide).collect()
}

fn decide_one(book: &mut Book, command: &Command, now: Timestamp, limits: &Limits) -> Outcome {
    if let Some(recorded) = book.answer(command.account_id(), command.key()) {
        return repeat(book, recorded, command);
    }
    if let Some(outcome) = forbid(limits, command, now) {
        return outcome;
    }
    let reason = match judge(book, command, now, limits) {
        Verdict::Post(posting) => match book.post(command, posting, now) {
            Some(entry) => return applied(book, entry, false),
            None => RefusalReason::BalanceOverflow,
        },
        Verdict::CreditedBefore(entry) => {
            book.answer_with(command, Arc::clone(&entry), now);
            return applied(book, entry, true);
        }
        Verdict::NotFound(not_found) => return Outcome::NotFound(not_found),
        Verdict::Refuse(reason) => reason,
    };
    Outcome::Refused(book.refuse(command, &reason, now))
}

/// The answer to a key that was answered before: the same one, if it is the same request. Comes before any look at the
/// state of the account, which has moved on since.
fn repeat(book: &Book, recorded: &Recorded, command: &Command) -> Outcome {
    if recorded.fingerprint != *command.fingerprint() {
        return Outcome::KeyReused(recorded.fingerprint.reused_by(command.fingerprint()));
    }
    match &recorded.answer {
        Answer::Applied(entry) => applied(book, Arc::clone(entry), true),
        Answer::Refused(refusal) => Outcome::Refused(Arc::clone(refusal)),
    }
}

/// The answer by an entry: with the reservation as it stood right after it, which is not how it stands now.
fn applied(book: &Book, entry: Arc<Entry>, replayed: bool) -> Outcome {
    let reservation = entry.reservation.as_ref().and_then(|after| {
        let reservation = book.reservation(&entry.account_id, &after.reservation_id)?;
        Some(Reservation { status: after.status, ..reservation.clone() })
    });
    Outcome::Applied { entry, replayed, reservation }
}

/// Writes down which leases have run out, under the service's own keys.
fn expire_lapsed(book: &mut Book, now: Timestamp) {
    for reservation in book.take_lapsed() {
        let id = reservation.reservation_id.clone();
        let command = Command::expire(reservation.account_id, id.clone());
        let posting = Posting::moving(EntryType::Expire, id, reservation.status.expire());
        book.post(&command, posting, now);
    }
}

/// What the rules say to an operation under a new key.
enum Verdict {
    Post(Posting),
    CreditedBefore(Arc<Entry>),
    Refuse(RefusalReason),
    NotFound(NotFound),
}

fn judge(book: &Book, command: &Command, now: Timestamp, limits: &Limits) -> Verdict {
    match command.operation() {
        Operation::Credit(credit) => judge_credit(book, command, credit),
        Operation::Charge(amount) => judge_charge(book, command, *amount),
        Operation::Refund(refund) => judge_refund(book, command, refund),
        Operation::AdminCredit(grant) => Verdict::Post(Posting {
            actor: Some(grant.actor.clone()),
            reason: Some(grant.reason.clone()),
            ..Posting::new(EntryType::AdminCredit, grant.amount.credited())
        }),
        Operation::Reserve(reserve) => judge_reserve(book, command, reserve, now, limits),
        Operation::Capture(capture) => {
            judge_reservation(book, command, EntryType::Capture, now, |status, balance, now| {
                status.capture(capture, balance, now, limits)
            })
        }
        Operation::Release(_) => {
            judge_reservation(book, command, EntryType::Release, now, |status, _, now| status.release(now))
        }
        Operation::Extend(extend) => {
            judge_reservation(book, command, EntryType::Extend, now, |status, balance, now| {
                status.extend(extend, balance, now)
            })
        }
        // Had its lease run out, it would have been written down by now, and this would be a replay.
        Operation::Expire(_) => Verdict::NotFound(NotFound::Reservation),
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
    let left = charge.left();
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

fn judge_reserve(
    book: &Book,
    command: &Command,
    reserve: &Reserve,
    now: Timestamp,
    limits: &Limits,
) -> Verdict {
    let account = book.account(command.account_id());
    let available = account.map_or(MicroUsd::ZERO, |account| account.balance.available());
    let required = reserve.amount.credited();
    if required > available {
        return Verdict::Refuse(RefusalReason::InsufficientFunds { available, required });
    }
    let time = account.map_or(now, |account| account.time(now));
    let expire_time = time.after(reserve.ttl.unwrap_or(limits.lease_default));
    let movement = ReservationStatus::opened(reserve.amount, expire_time);
    Verdict::Post(Posting::moving(EntryType::Reserve, command.key().clone(), movement))
}

/// What an operation does to the reservation that it names.
fn judge_reservation(
    book: &Book,
    command: &Command,
    entry_type: EntryType,
    now: Timestamp,
    operate: impl FnOnce(&ReservationStatus, Balance, Timestamp) -> Result<Movement, RefusalReason>,
) -> Verdict {
    let account_id = command.account_id();
    let named = command.reservation_id().and_then(|id| book.reservation(account_id, id));
    let (Some(reservation), Some(account)) = (named, book.account(account_id)) else {
        return Verdict::NotFound(NotFound::Reservation);
    };
    match operate(&reservation.status, account.balance, account.time(now)) {
        Ok(movement) => {
            Verdict::Post(Posting::moving(entry_type, reservation.reservation_id.clone(), movement))
        }
        Err(reason) => Verdict::Refuse(reason),
    }
}

/// What the configuration or the version of the service says against a command. It is not remembered, and comes after the
/// look at the key: a replay stays one under any other.
fn forbid(limits: &Limits, command: &Command, now: Timestamp) -> Option<Outcome> {
    if let Err(invalid) = command.key().must_be_specific(command.account_id()) {
        return Some(Outcome::Invalid(invalid));
    }
    if command.ttl().is_some_and(|ttl| ttl > limits.lease_max) {
        let problem = format!("must be at most {} seconds", limits.lease_max);
        return Some(Outcome::Invalid(Invalid::field("ttl", problem)));
    }
    match command.operation() {
        Operation::AdminCredit(grant) if grant.amount.credited() > limits.admin_credit_max => {
            let reason = RefusalReason::AdminCreditLimit { limit: limits.admin_credit_max };
            Some(Outcome::Declined(Arc::new(reason.refusal(command.account_id(), now))))
        }
        Operation::AdminCredit(_)
        | Operation::Credit(_)
        | Operation::Charge(_)
        | Operation::Refund(_)
        | Operation::Reserve(_)
        | Operation::Capture(_)
        | Operation::Release(_)
        | Operation::Extend(_)
        | Operation::Expire(_) => None,
    }
}
