//! Adds entries to the book: that of an operation, those of its legs, and those of grants that lapse.

use std::{mem, sync::Arc};

use super::Book;
use crate::accounting::{
    Account, AccountId, Answer, Entry, Grants, MicroUsd, PaidLeg, Source, Timestamp,
    envelope::Envelope,
    original::{Original, Undone},
    posting::{LegPosting, Posting},
};

/// The entries that an operation wrote.
pub(in crate::accounting) struct Posted {
    /// Its own.
    pub(in crate::accounting) entry: Arc<Entry>,
    /// Those of its legs, as far as they moved something.
    pub(in crate::accounting) leg_entries: Vec<Arc<Entry>>,
}

/// An entry to be added, and the grants of its account after it.
struct Next {
    envelope: Envelope,
    entry: Arc<Entry>,
    grants: Grants,
}

impl Book {
    /// Adds the entry of an operation, those of its legs, and right behind it that of what lapses of grants by it. `None`, and
    /// nothing is added, if a balance would overflow int64.
    pub(in crate::accounting) fn post(
        &mut self,
        envelope: &Envelope,
        mut posting: Posting,
        now: Timestamp,
    ) -> Option<Posted> {
        let account = self.account(&envelope.account_id)?;
        let source = Source {
            account_id: envelope.account_id.clone(),
            sequence: account.last_sequence.checked_add(1)?,
        };
        let (paid, legs) = self.legs(envelope, mem::take(&mut posting.legs), &source, now)?;
        let next = self.next(envelope.clone(), posting, now, (paid, None))?;
        let is_lapsing = next.entry.balance_after.lapsing() > MicroUsd::ZERO;
        let lapse = if is_lapsing { Some(self.lapse_behind(&next)?) } else { None };
        let entry = self.add(next);
        if let Some(lapse) = lapse {
            self.add(lapse);
        }
        Some(Posted { entry, leg_entries: legs.into_iter().map(|leg| self.add(leg)).collect() })
    }

    /// Adds the ends of the grants of an account that have expired until a time, each moment by itself.
    pub(in crate::accounting) fn lapse(&mut self, account_id: &AccountId, until: Timestamp, now: Timestamp) {
        while let Some(time) = self.grants(account_id).next_lapse(until) {
            let Some(account) = self.account(account_id) else { return };
            let envelope = Envelope::of_lapse(account_id.clone(), account.last_sequence.saturating_add(1));
            let posting = Posting::lapsing(self.grants(account_id).totals(time).lapsing, time);
            let Some(lapse) = self.next(envelope, posting, now, (Vec::new(), None)) else { return };
            self.add(lapse);
        }
    }

    /// The entry right behind another one, which records what lapses of grants by that.
    fn lapse_behind(&self, cause: &Next) -> Option<Next> {
        let entry = &cause.entry;
        let (account_id, sequence) = (entry.account_id.clone(), entry.sequence.checked_add(1)?);
        let account = Account {
            balance: entry.balance_after,
            last_sequence: entry.sequence,
            ..*self.account(&account_id)?
        };
        let envelope = Envelope::of_lapse(account_id, sequence);
        let posting = Posting::lapsing(entry.balance_after.lapsing(), entry.effective_time);
        let mut grants = cause.grants.clone();
        let lapse = posting.entry(&envelope, &account, &mut grants, entry.create_time, (Vec::new(), None))?;
        Some(Next { envelope, entry: Arc::new(lapse), grants })
    }

    /// The next entry of an account. `None` if its balance would overflow int64.
    fn next(
        &self,
        envelope: Envelope,
        posting: Posting,
        now: Timestamp,
        (legs, source): (Vec<PaidLeg>, Option<Source>),
    ) -> Option<Next> {
        let account = self.account(&envelope.account_id)?;
        let mut grants = self.grants(&envelope.account_id).clone();
        let entry = Arc::new(posting.entry(&envelope, account, &mut grants, now, (legs, source))?);
        Some(Next { envelope, entry, grants })
    }

    /// What the entry of an operation lists as its legs, and their entries, as far as they move something. `None` if a balance
    /// would overflow int64.
    fn legs(
        &self,
        envelope: &Envelope,
        legs: Vec<LegPosting>,
        source: &Source,
        now: Timestamp,
    ) -> Option<(Vec<PaidLeg>, Vec<Next>)> {
        let (mut paid, mut entries) = (Vec::new(), Vec::new());
        for (number, LegPosting { account_id, posting }) in (1..).zip(legs) {
            let Some(posting) = posting else {
                paid.push(PaidLeg { account_id, sequence: 0, amount: MicroUsd::ZERO });
                continue;
            };
            let envelope = envelope.of_leg(account_id.clone(), source.sequence, number);
            let leg = self.next(envelope, posting, now, (Vec::new(), Some(source.clone())))?;
            paid.push(PaidLeg { account_id, sequence: leg.entry.sequence, amount: leg.entry.amount });
            entries.push(leg);
        }
        Some((paid, entries))
    }

    /// Adds an entry, which follows from what its account was, and returns it.
    fn add(&mut self, Next { envelope, entry, grants }: Next) -> Arc<Entry> {
        let Some(book) = self.accounts.get_mut(&envelope.account_id) else { return entry };
        book.grants = grants;
        book.account.balance = entry.balance_after;
        book.account.last_sequence = entry.sequence;
        book.account.update_time = entry.create_time;
        book.is_changed = true;
        if let Some(settings) = entry.settings {
            book.account.settings = settings;
        }
        if let Some(after) = &entry.reservation {
            book.keep_reservation(&entry, after);
        }
        book.note_next_expiry();
        for sequence in [entry.refunded_sequence, entry.reversed_sequence].into_iter().flatten() {
            if let Some(original) = book.originals.get_mut(&sequence) {
                original.undo(&entry);
            }
        }
        let original = Original { entry: Arc::clone(&entry), undone: Undone::default() };
        book.originals.insert(entry.sequence, original);
        self.record(&envelope, Answer::Applied(Arc::clone(&entry)));
        self.name_payment(&entry, &entry.external_ids);
        self.changes.entries.push((Arc::clone(&entry), envelope.fingerprint));
        entry
    }
}
