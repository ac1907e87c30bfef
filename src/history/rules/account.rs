//! One account, as its history is added to the book.

use super::{ADJUSTMENT_ACTOR, Adjustment, Finding, HistoryRow, Position, note};
use crate::accounting::{
    AccountId, Actor, Balance, Entry, EntryType, ExternalId, ExternalIds, GrantMoves, MicroUsd, Note, Reason,
    Reference, Timestamp,
};

/// Before it, nothing was written: a time earlier than this one is a mistake.
const FIRST_TIME: Timestamp = Timestamp::from_unix_micros(0);

/// How an account stands in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its money.
    pub balance: Balance,
    /// The sequence of its newest entry; 0 before the first.
    pub last_sequence: i64,
    /// When its first entry was written.
    pub create_time: Timestamp,
    /// When its newest entry was written. Before the first: when the replaced system changed the balance last.
    pub update_time: Timestamp,
}

/// How far the history of an account is in the book.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many rows are.
    pub rows: i64,
    /// What they come to.
    pub amount: i128,
    /// What the adjustments come to.
    pub adjustment: i128,
    /// The place of the last one.
    pub last: Option<Position>,
    /// How much may leave of what the rows and the adjustments come to.
    pub withdrawable: i64,
}

impl Imported {
    /// Bounds what may leave by what there is: other money was spent first.
    fn bound_withdrawable(&mut self) {
        let posted = i64::try_from(self.amount + self.adjustment).unwrap_or(i64::MAX);
        self.withdrawable = self.withdrawable.min(posted).max(0);
    }
}

/// A payment, and the entry that is the first to credit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The payment.
    pub external_id: ExternalId,
    /// The entry.
    pub sequence: i64,
    /// What it credited.
    pub amount: MicroUsd,
}

/// The account of the book cannot hold more: the service itself has filled it in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the balance would leave int64")]
pub struct NoRoom;

/// An account, with what has been added since it was read.
#[derive(Debug)]
pub struct AccountImport {
    /// The account.
    pub account_id: AccountId,
    /// How it stands with what was added.
    pub standing: Standing,
    /// How far its history is in the book with what was added.
    pub imported: Imported,
    /// What was added, in order.
    pub entries: Vec<Entry>,
    /// The payments that it credited first.
    pub claims: Vec<Claim>,
    /// What whoever imports must know.
    pub findings: Vec<Finding>,
}

impl AccountImport {
    /// An account as it stands.
    #[must_use]
    pub fn new(account_id: AccountId, standing: Standing, imported: Imported) -> Self {
        let (entries, claims, findings) = (Vec::new(), Vec::new(), Vec::new());
        Self { account_id, standing, imported, entries, claims, findings }
    }

    /// Adds the entry of a row. `now` is the database's clock.
    ///
    /// # Errors
    /// When the book's own entries leave no room for it.
    pub fn add(&mut self, row: HistoryRow, now: Timestamp) -> Result<(), NoRoom> {
        if after(self.standing.balance, row.amount, MicroUsd::ZERO).is_none() {
            let posted = self.standing.balance.posted().get();
            self.adjust(-i128::from(posted), Adjustment::Overflow { id: row.id })?;
        }
        self.imported.rows += 1;
        self.imported.amount += i128::from(row.amount.get());
        self.imported.last = self.imported.last.max(Some(row.position()));
        self.imported.bound_withdrawable();
        let (entry_type, payment) = (row.entry_type(), row.payment(&self.account_id));
        let create_time = self.time(row.create_time, now);
        let entry = self.next(entry_type, row.amount, create_time)?;
        let metadata = note::metadata(&row, &entry);
        if let Some(external_id) = payment.clone() {
            let (sequence, amount) = (entry.sequence, entry.amount);
            if row.repeats_payment {
                self.found_repeated_payment(&external_id, sequence, amount);
            } else {
                self.claims.push(Claim { external_id, sequence, amount });
            }
        }
        let note = Note { reference: Reference::recorded(row.reference), metadata };
        self.entries.push(Entry {
            external_ids: payment.map(ExternalIds::from).unwrap_or_default(),
            note,
            ..entry
        });
        Ok(())
    }

    /// Balances the account: after the last row, it is to have what the replaced system said.
    ///
    /// # Errors
    /// When the book's own entries leave no room for the adjustment.
    pub fn settle(&mut self, balance: i64) -> Result<(), NoRoom> {
        let sum = self.imported.amount + self.imported.adjustment;
        self.adjust(i128::from(balance) - sum, Adjustment::Balance { balance, sum })
    }

    /// Makes withdrawable what the replaced system would have paid out. The last entry that was added says so; if none was,
    /// one that moves nothing does.
    ///
    /// # Errors
    /// When the book's own entries leave no room for the entry.
    pub fn make_withdrawable(&mut self, withdrawable: i64) -> Result<(), NoRoom> {
        let before = self.standing.balance;
        // Both are at least zero.
        let more = MicroUsd::new(withdrawable - self.imported.withdrawable);
        let bounded = more.min(before.posted()).max(MicroUsd::new(-before.withdrawable_posted().get()));
        let after = after(before, MicroUsd::ZERO, bounded).ok_or(NoRoom)?;
        if after != before {
            if self.entries.is_empty() {
                self.add_adjustment(0, Adjustment::Withdrawable { withdrawable })?;
            }
            if let Some(last) = self.entries.last_mut() {
                // Cannot overflow: both are changes of a part of the balance.
                let change = last.withdrawable_delta.get() + after.withdrawable_since(before).get();
                (last.withdrawable_delta, last.balance_after) = (MicroUsd::new(change), after);
            }
            self.standing.balance = after;
        }
        self.imported.withdrawable = withdrawable;
        Ok(())
    }

    /// Tells that a payment was credited by somebody before.
    pub fn found_repeated_payment(&mut self, external_id: &ExternalId, sequence: i64, amount: MicroUsd) {
        self.findings.push(Finding::RepeatedPayment {
            account_id: self.account_id.to_string(),
            sequence,
            external_id: external_id.to_string(),
            amount_micro_usd: amount.get(),
        });
    }

    /// Adds adjustments of so much together: more than one where no amount is so large.
    fn adjust(&mut self, mut missing: i128, why: Adjustment) -> Result<(), NoRoom> {
        while missing != 0 {
            let amount = i64::try_from(missing).unwrap_or(if missing < 0 { i64::MIN } else { i64::MAX });
            missing -= i128::from(amount);
            self.add_adjustment(amount, why)?;
        }
        Ok(())
    }

    fn add_adjustment(&mut self, amount: i64, why: Adjustment) -> Result<(), NoRoom> {
        self.imported.adjustment += i128::from(amount);
        self.imported.bound_withdrawable();
        let entry = self.next(EntryType::AdminCredit, MicroUsd::new(amount), self.standing.update_time)?;
        let (actor, reason) = (Actor::parse(ADJUSTMENT_ACTOR).ok(), Reason::parse(&why.reason()).ok());
        self.findings.push(Finding::Adjustment {
            account_id: self.account_id.to_string(),
            sequence: entry.sequence,
            amount_micro_usd: amount,
            reason: why.reason(),
        });
        let note = Note { metadata: why.metadata(), ..Note::default() };
        self.entries.push(Entry { note, actor, reason, ..entry });
        Ok(())
    }

    /// The next entry, with no more than every entry has.
    fn next(
        &mut self,
        entry_type: EntryType,
        amount: MicroUsd,
        create_time: Timestamp,
    ) -> Result<Entry, NoRoom> {
        let standing = &mut self.standing;
        let before = standing.balance;
        let balance = after(before, amount, MicroUsd::ZERO).ok_or(NoRoom)?;
        let sequence = standing.last_sequence.checked_add(1).ok_or(NoRoom)?;
        if sequence == 1 {
            standing.create_time = create_time;
        }
        (standing.balance, standing.last_sequence, standing.update_time) = (balance, sequence, create_time);
        Ok(Entry {
            account_id: self.account_id.clone(),
            sequence,
            entry_type,
            amount,
            held_delta: MicroUsd::ZERO,
            withdrawable_delta: balance.withdrawable_since(before),
            balance_after: balance,
            idempotency_key: None,
            external_ids: ExternalIds::default(),
            note: Note::default(),
            actor: None,
            reason: None,
            reservation: None,
            uncollected: MicroUsd::ZERO,
            refunded_sequence: None,
            reversed_sequence: None,
            legs: Vec::new(),
            funded: MicroUsd::ZERO,
            grant_expire_time: None,
            grant_moves: GrantMoves::default(),
            source: None,
            settings: None,
            create_time,
            effective_time: create_time,
            caller: None,
        })
    }

    /// The time of the entry of a row: the row's, unless the entry before it is later, or it cannot be right. A time that
    /// has not come yet would stop the account's clock until it does.
    fn time(&self, of_row: Timestamp, now: Timestamp) -> Timestamp {
        let possible = if of_row > now { self.standing.update_time } else { of_row.max(FIRST_TIME) };
        if self.standing.last_sequence == 0 { possible } else { possible.max(self.standing.update_time) }
    }
}

/// A balance after an imported entry, which takes nothing of grants. `None` if there is no room for it.
fn after(before: Balance, amount: MicroUsd, withdrawable_delta: MicroUsd) -> Option<Balance> {
    before.after(amount, MicroUsd::ZERO, withdrawable_delta)?.with_grants(before.granted(), MicroUsd::ZERO)
}
