//! What the decisions of a batch add to the book: entries, answers, names of payments, and the rows that these change.

use std::{iter, sync::Arc};

use super::{
    Account, AccountId, Entry, ExternalId, Fingerprint, Grant, IdempotencyKey, Refusal, Reservation,
    Timestamp,
};

/// The changes to write.
#[derive(Debug, Default)]
pub struct Changes {
    /// The entries, in the order of the decisions.
    pub entries: Vec<(Arc<Entry>, Fingerprint)>,
    /// The changed accounts, after the last entry.
    pub accounts: Vec<(AccountId, Account)>,
    /// The changed reservations, after the last entry.
    pub reservations: Vec<Reservation>,
    /// The new grants, after the last entry.
    pub opened_grants: Vec<(AccountId, Grant)>,
    /// The changed ones of the others, after the last entry.
    pub changed_grants: Vec<(AccountId, Grant)>,
    /// The refusals.
    pub refusals: Vec<Refused>,
    /// The new names of payments.
    pub payments: Vec<(ExternalId, Payment)>,
    /// The keys answered with the entry of another key.
    pub external_replays: Vec<ExternalReplay>,
}

/// A key's request and answer.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub answer: Answer,
}

/// An answer, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Applied, by this entry.
    Applied(Arc<Entry>),
    /// Refused.
    Refused(Arc<Refusal>),
}

/// The entry that a payment of another system has written.
#[derive(Debug, Clone)]
pub struct Payment {
    /// The account.
    pub account_id: AccountId,
    /// The entry's sequence in it.
    pub sequence: i64,
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

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.refusals.is_empty() && self.external_replays.is_empty()
    }

    /// The same changes in so many parts, each in that which its account falls to.
    #[must_use]
    pub fn divided(self, parts: usize, part_of: impl Fn(&AccountId) -> usize) -> Vec<Self> {
        let mut divided: Vec<Self> = iter::repeat_with(Self::default).take(parts).collect();
        let Self {
            entries,
            accounts,
            reservations,
            opened_grants,
            changed_grants,
            refusals,
            payments,
            external_replays,
        } = self;
        /// Hands each change to its part.
        macro_rules! divide {
            ($($changes:ident by |$change:ident| $account_id:expr),+ $(,)?) => {
                $(for $change in $changes {
                    divided[part_of($account_id)].$changes.push($change);
                })+
            };
        }
        divide!(
            entries by |change| &change.0.account_id,
            accounts by |change| &change.0,
            reservations by |change| &change.account_id,
            opened_grants by |change| &change.0,
            changed_grants by |change| &change.0,
            refusals by |change| &change.refusal.account_id,
            payments by |change| &change.1.account_id,
            external_replays by |change| &change.entry.account_id,
        );
        divided
    }

    /// Whether there are only entries, and the accounts and the grants after them.
    #[must_use]
    pub fn are_entries_and_grants_only(&self) -> bool {
        self.reservations.is_empty()
            && self.refusals.is_empty()
            && self.payments.is_empty()
            && self.external_replays.is_empty()
    }
}
