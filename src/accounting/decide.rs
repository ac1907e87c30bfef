//! The entry point of the rules: one pure function that answers commands.

use std::{collections::HashSet, sync::Arc};

use super::{
    AccountId, Answer, Authority, Book, Command, Entry, Invalid, KeyReused, Limits, Recorded, Refusal,
    RefusalReason, Since, Timestamp,
    book::append::Posted,
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
        /// What has happened since, if an earlier call wrote it: then this is a replay.
        since: Option<Since>,
        /// The entries of its legs, in the accounts of others.
        leg_entries: Vec<Arc<Entry>>,
    },
    /// Refused, permanently.
    Refused(Arc<Refusal>),
    /// Forbidden by the configuration of this service. Not recorded: another replica may allow it.
    Declined(Arc<Refusal>),
    /// The caller lacks an authority that depends on the entry to undo. Not recorded.
    Forbidden(Authority),
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
/// account than the book holds, the commands that move money in it are not decided yet: `None`. Nor are later ones on the
/// accounts of these, whose order stays.
#[must_use]
pub fn decide(
    book: &mut Book,
    commands: &[Command],
    now: Timestamp,
    limits: &Limits,
) -> Vec<Option<Outcome>> {
    expire_lapsed(book, now);
    let mut waiting: HashSet<&AccountId> = HashSet::new();
    let mut outcomes = Vec::with_capacity(commands.len());
    for command in commands {
        if waiting.contains(command.account_id()) || is_behind(book, command, now) {
            waiting.insert(command.account_id());
            outcomes.push(None);
        } else {
            outcomes.push(Some(decide_one(book, command, now, limits)));
        }
    }
    outcomes
}

/// Whether leases that have expired are still to be ended in an account that a command moves money in.
fn is_behind(book: &Book, command: &Command, now: Timestamp) -> bool {
    let undone = command.references().entry.filter(|_| command.references().takes_back);
    let debit = undone.and_then(|name| book.named(command.account_id(), name));
    let payees = debit.into_iter().flat_map(|debit| &debit.entry.legs).map(|leg| &leg.account_id);
    let is_behind = |id: &AccountId| book.account(id).is_some_and(|account| account.may_have_lapsed(now));
    command.account_ids().chain(payees).any(is_behind)
}

fn decide_one(book: &mut Book, command: &Command, now: Timestamp, limits: &Limits) -> Outcome {
    if let Some(authority) = command.lacks(book) {
        return Outcome::Forbidden(authority);
    }
    if let Some(recorded) = book.answer(command.account_id(), command.key()) {
        return repeat(book, recorded, command, now);
    }
    if let Some(outcome) = forbid(limits, command, now) {
        return outcome;
    }
    let envelope = command.envelope();
    let verdict = command.operation().describe().judge(&Situation { envelope, book, now, limits });
    let reason = match verdict {
        Verdict::Post(posting) => match book.post(envelope, posting, now) {
            Some(Posted { entry, leg_entries }) => {
                return Outcome::Applied { entry, since: None, leg_entries };
            }
            None => RefusalReason::BalanceOverflow,
        },
        Verdict::PaidBefore(entry) => {
            let external_ids = command.references().external_ids.unwrap_or(&entry.external_ids);
            book.answer_with(envelope, Arc::clone(&entry), external_ids, now);
            return replayed(book, entry, now);
        }
        Verdict::NotFound(not_found) => return Outcome::NotFound(not_found),
        Verdict::Invalid(invalid) => return Outcome::Invalid(invalid),
        Verdict::Refuse(reason) => reason,
    };
    Outcome::Refused(book.refuse(envelope, &reason, now))
}

/// The answer to a key that was answered before: the same answer, if the request is the same. Comes before any look at the
/// state of the account, which has changed since.
fn repeat(book: &Book, recorded: &Recorded, command: &Command, now: Timestamp) -> Outcome {
    if recorded.fingerprint != *command.fingerprint() {
        return Outcome::KeyReused(recorded.fingerprint.reused_by(command.fingerprint()));
    }
    match &recorded.answer {
        Answer::Applied(entry) => replayed(book, Arc::clone(entry), now),
        Answer::Refused(refusal) => Outcome::Refused(Arc::clone(refusal)),
    }
}

/// The answer by an earlier entry, with what has happened since.
fn replayed(book: &Book, entry: Arc<Entry>, now: Timestamp) -> Outcome {
    let (since, leg_entries) = (Some(book.since(&entry, now)), book.leg_entries(&entry));
    Outcome::Applied { entry, since, leg_entries }
}

/// Ends reservations whose leases have expired, and grants that have, under the service's own keys: in the order in which they
/// did, and grants first.
pub fn expire_lapsed(book: &mut Book, now: Timestamp) {
    // Now: entries note in the rows of their accounts what expires next, and that may lapse right below.
    let next_expire_times = book.next_expire_times();
    for reservation in book.take_lapsed() {
        let (account_id, expire_time) = (reservation.account_id.clone(), reservation.status.expire_time);
        book.lapse(&account_id, expire_time, now);
        let id = reservation.reservation_id.clone();
        let command = Command::expire(account_id, id.clone());
        let (entry_type, movement) = reservation.lapse();
        let posting = Posting::moving(entry_type, id, movement);
        book.post(command.envelope(), Posting { effective_time: Some(expire_time), ..posting }, now);
    }
    for (account_id, next) in next_expire_times {
        let time = book.account(&account_id).map_or(now, |account| account.time(now));
        book.lapse(&account_id, next.map_or(time, |next| next.min(time)), now);
        book.note_next_expiry(&account_id, next);
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
