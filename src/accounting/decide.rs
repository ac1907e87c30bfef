//! The entry point of the rules: one pure function that answers commands.

use std::sync::Arc;

use super::{
    Answer, Book, Command, Entry, EntryType, Invalid, KeyReused, Limits, Recorded, Refusal, RefusalReason,
    Reservation, Timestamp,
    posting::Posting,
    verdict::{NotFound, Situation, Verdict},
};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied.
    Applied {
        /// The entry that was written.
        entry: Arc<Entry>,
        /// Whether an earlier call wrote it.
        replayed: bool,
        /// The reservation right after the entry, if the entry concerns one.
        reservation: Option<Reservation>,
    },
    /// Refused, permanently.
    Refused(Arc<Refusal>),
    /// Forbidden by the configuration of this service. Not recorded: another replica may allow it.
    Declined(Arc<Refusal>),
    /// A field is invalid for this service. Not recorded.
    Invalid(Invalid),
    /// The key belongs to another request. Not recorded.
    KeyReused(KeyReused),
    /// Something that it refers to does not exist. Not recorded.
    NotFound(NotFound),
}

/// Answers commands in order; each sees the effects of those before it. The book must hold what they refer to, and collects
/// their changes. `now` is the database's clock, read under the locks of all accounts.
///
/// Leases that have expired by then are ended first, so that no rule has to consider them. If more leases have expired in an
/// account than the book holds, its commands are not decided yet: `None`.
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
    let envelope = command.envelope();
    let verdict = command.operation().describe().judge(&Situation { envelope, book, now, limits });
    let reason = match verdict {
        Verdict::Post(posting) => match book.post(envelope, posting, now) {
            Some(entry) => return applied(book, entry, false),
            None => RefusalReason::BalanceOverflow,
        },
        Verdict::CreditedBefore(entry) => {
            book.answer_with(envelope, Arc::clone(&entry), now);
            return applied(book, entry, true);
        }
        Verdict::NotFound(not_found) => return Outcome::NotFound(not_found),
        Verdict::Refuse(reason) => reason,
    };
    Outcome::Refused(book.refuse(envelope, &reason, now))
}

/// The answer to a key that was answered before: the same answer, if the request is the same. Comes before any look at the
/// state of the account, which has changed since.
fn repeat(book: &Book, recorded: &Recorded, command: &Command) -> Outcome {
    if recorded.fingerprint != *command.fingerprint() {
        return Outcome::KeyReused(recorded.fingerprint.reused_by(command.fingerprint()));
    }
    match &recorded.answer {
        Answer::Applied(entry) => applied(book, Arc::clone(entry), true),
        Answer::Refused(refusal) => Outcome::Refused(Arc::clone(refusal)),
    }
}

/// The answer by an entry: with the reservation as it stood right after the entry, not as it stands now.
fn applied(book: &Book, entry: Arc<Entry>, replayed: bool) -> Outcome {
    let reservation = entry.reservation.as_ref().and_then(|after| {
        let reservation = book.reservation(&entry.account_id, &after.reservation_id)?;
        Some(Reservation { status: after.status, ..reservation.clone() })
    });
    Outcome::Applied { entry, replayed, reservation }
}

/// Ends reservations whose leases have expired, under the service's own keys.
fn expire_lapsed(book: &mut Book, now: Timestamp) {
    for reservation in book.take_lapsed() {
        let id = reservation.reservation_id.clone();
        let command = Command::expire(reservation.account_id, id.clone());
        let posting = Posting::moving(EntryType::Expire, id, reservation.status.expire());
        book.post(command.envelope(), posting, now);
    }
}

/// Why the configuration or the version of this service forbids a command. Checked after the key, and not recorded: a replay
/// is a replay under every configuration.
fn forbid(limits: &Limits, command: &Command, now: Timestamp) -> Option<Outcome> {
    if let Err(invalid) = command.key().must_be_specific(command.account_id()) {
        return Some(Outcome::Invalid(invalid));
    }
    if command.references().ttl.is_some_and(|ttl| ttl > limits.lease_max) {
        let problem = format!("must be at most {} seconds", limits.lease_max);
        return Some(Outcome::Invalid(Invalid::field("ttl", problem)));
    }
    let reason = command.operation().describe().forbidden_by(limits)?;
    Some(Outcome::Declined(Arc::new(reason.refusal(command.account_id(), now))))
}
