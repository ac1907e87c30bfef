//! A journal in memory for the pure rules: loads a book for a batch as the ledger does, and keeps what was decided.
//!
//! It refuses, by a panic, what the database's unique indexes refuse. As the ledger does, it looks for leases that have
//! run out only in accounts that say that there may be some.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use billing::{
    accounting::{
        Account, AccountId, AccountSettings, Answer, Balance, Book, Changes, Command, Entry, EntryName,
        ExternalId, ExternalIds, Fingerprint, Grant, GrantMoves, IdempotencyKey, Limits, MicroUsd, Note,
        Original, Outcome, PaidLeg, Payment, Recorded, Refusal, Reservation, ReservationState,
        ReservationStatus, Source, Timestamp, Undone, decide,
    },
    audit::{
        AccountFact, AnswerFact, AnswerTable, ClaimFact, EntryFact, Fact, GrantFact, LegsFact, ReplayFact,
        ReservationFact, Row, Status, StepFact, UndoingFact, UndoneFact,
    },
};

use crate::{
    histories::{ADMIN_CREDIT_MAX, BEGINNING, History},
    model::Imported,
    support::book,
    translation,
};

/// How many leases of an account are written down at once: few, so that histories meet the bound.
const LAPSED_MAX: usize = 2;

type Key = (AccountId, IdempotencyKey);

/// What the tables of the database hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryJournal {
    debt_max: i64,
    accounts: BTreeMap<AccountId, AccountRow>,
    entries: BTreeMap<(AccountId, i64), Arc<Entry>>,
    answers: BTreeMap<Key, AnswerRow>,
    reservations: BTreeMap<Key, Reservation>,
    grants: BTreeMap<(AccountId, i64), Grant>,
    payments: BTreeMap<ExternalId, (AccountId, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
struct AccountRow {
    balance: Balance,
    last_sequence: i64,
    update_time: Timestamp,
    next_expire_time: Option<Timestamp>,
    has_grants: bool,
    settings: AccountSettings,
}

/// How a key was answered: its own entry, a refusal, or the entry of another key by its sequence.
#[derive(Debug, Clone, PartialEq)]
enum AnswerRow {
    Entry(Fingerprint, i64),
    Refusal(Fingerprint, Arc<Refusal>),
    Replay(Fingerprint, i64),
}

impl MemoryJournal {
    /// The journal at the beginning of a history, with its entries from before this ledger.
    pub fn new(history: &History) -> Self {
        let mut journal = Self { debt_max: history.debt_max, ..Self::default() };
        for row in &history.imported {
            let account_id = translation::account_id(&row.account);
            journal.open_account(&account_id);
            let entry = imported_entry(&journal.accounts[&account_id], account_id, row);
            journal.keep_account(&entry.account_id, &AccountRow::after(&entry).account());
            journal.keep_entry(&Arc::new(entry));
        }
        journal
    }

    /// Answers commands as one batch, and keeps what changed.
    pub fn post_batch(&mut self, commands: &[Command], now: Timestamp) -> Vec<Outcome> {
        for account_id in commands.iter().flat_map(Command::account_ids) {
            self.open_account(account_id);
        }
        let mut answers = vec![None; commands.len()];
        while answers.iter().any(Option::is_none) {
            let waiting = (0..commands.len()).filter(|place| answers[*place].is_none());
            let (places, rest): (Vec<_>, Vec<_>) =
                waiting.map(|place| (place, commands[place].clone())).unzip();
            for (place, answer) in places.into_iter().zip(self.post_some(&rest, now)) {
                answers[place] = answer;
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// In one transaction, which writes down only so many leases of an account that have run out.
    fn post_some(&mut self, commands: &[Command], now: Timestamp) -> Vec<Option<Outcome>> {
        for account_id in commands.iter().flat_map(Command::account_ids) {
            self.open_account(account_id);
        }
        let mut book = self.load_book(commands, now);
        let answers = decide(&mut book, commands, now, &limits(self.debt_max));
        self.keep(book.into_changes());
        self.accounts.retain(|_, account| account.last_sequence > 0);
        answers
    }

    pub fn post(&mut self, command: &Command, now: Timestamp) -> Outcome {
        let mut outcomes = self.post_batch(std::slice::from_ref(command), now);
        assert_eq!(outcomes.len(), 1, "one command, one outcome");
        outcomes.remove(0)
    }

    pub fn account_ids(&self) -> Vec<&AccountId> {
        self.accounts.keys().collect()
    }

    pub fn balance(&self, account_id: &AccountId) -> Balance {
        self.accounts.get(account_id).map_or(Balance::default(), |row| row.balance)
    }

    /// When the first lease of an account may run out.
    pub fn next_expire_time(&self, account_id: &AccountId) -> Option<Timestamp> {
        self.accounts.get(account_id).and_then(|row| row.next_expire_time)
    }

    /// An account's reservations that are open as far as anybody has written down.
    pub fn open_reservations(&self, account_id: &AccountId) -> Vec<&Reservation> {
        let is_open = |reservation: &&Reservation| {
            reservation.account_id == *account_id && reservation.status.state == ReservationState::Open
        };
        self.reservations.values().filter(is_open).collect()
    }

    /// An account's grants, in the order in which they are spent.
    pub fn grants(&self, account_id: &AccountId) -> Vec<Grant> {
        let of_account = self.grants.range((account_id.clone(), i64::MIN)..=(account_id.clone(), i64::MAX));
        let mut grants: Vec<Grant> = of_account.map(|(_, grant)| *grant).collect();
        grants.sort_by_key(|grant| (grant.expire_time, grant.sequence));
        grants
    }

    /// An account's entries, oldest first.
    pub fn entries(&self, account_id: &AccountId) -> Vec<&Entry> {
        let of_account = self.entries.range((account_id.clone(), i64::MIN)..=(account_id.clone(), i64::MAX));
        of_account.map(|(_, entry)| entry.as_ref()).collect()
    }

    /// All that it says, in the order in which it is audited.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = self.accounts.keys().map(|id| self.account_fact(id)).collect();
        for entry in self.entries.values() {
            facts.extend(self.entry_facts(entry));
        }
        for ((account_id, key), answer) in &self.answers {
            facts.extend(answer_facts(account_id, key, answer));
        }
        facts.extend(self.reservations.values().map(reservation_fact));
        for (external_id, (account_id, sequence)) in &self.payments {
            let claim = ClaimFact { sequence: *sequence, external_id: external_id.to_string() };
            facts.push(fact(account_id, Row::Claim(claim)));
        }
        facts.extend(self.grants.iter().map(|((account_id, _), grant)| grant_fact(account_id, grant)));
        facts.sort_by(|a, b| a.order().cmp(&b.order()));
        facts
    }

    fn account_fact(&self, account_id: &AccountId) -> Fact {
        let row = &self.accounts[account_id];
        let first = self.entries(account_id).first().map(|entry| entry.create_time);
        let account = AccountFact {
            posted: row.balance.posted().get(),
            held: row.balance.held().get(),
            last_sequence: row.last_sequence,
            create_time: first.unwrap_or(row.update_time),
            update_time: row.update_time,
            next_expire_time: row.next_expire_time,
            settings: settings(row.settings),
            withdrawable: row.balance.withdrawable_posted().get(),
            granted: row.has_grants.then(|| row.balance.granted().get()),
        };
        fact(account_id, Row::Account(account))
    }

    /// An entry, and once more for each entry that it undoes, or where it is about a reservation.
    fn entry_facts(&self, entry: &Entry) -> Vec<Fact> {
        let after = entry.reservation.as_ref();
        let status = after.map(|after| status(&after.status));
        let (sequence, amount, held_delta) = (entry.sequence, entry.amount.get(), entry.held_delta.get());
        let (entry_type, create_time) = (entry.entry_type.number(), entry.create_time);
        let itself = EntryFact {
            sequence,
            entry_type,
            amount,
            held_delta,
            posted_after: entry.balance_after.posted().get(),
            held_after: entry.balance_after.held().get(),
            create_time,
            effective_time: entry.effective_time,
            uncollected: entry.uncollected.get(),
            refunded_sequence: entry.refunded_sequence,
            reversed_sequence: entry.reversed_sequence,
            withdrawable_delta: entry.withdrawable_delta.get(),
            withdrawable_after: entry.balance_after.withdrawable_posted().get(),
            undone: self.undone_fact(entry),
            legs: self.legs_fact(entry),
            funded: (!entry.legs.is_empty() && entry.refunded_sequence.is_none()).then(|| entry.funded.get()),
            is_listed: entry.source.as_ref().map(|source| self.is_listed(entry, source)),
            paid_by_other: entry.source.as_ref().and_then(|source| self.paid_by_other(entry, source)),
            grant_expire_time: entry.grant_expire_time,
            grant_moves: Some(entry.grant_moves.clone()),
            granted_after: entry.balance_after.granted().get(),
            lapsed: entry.balance_after.lapsing().get(),
            external_ids: entry.external_ids.iter().map(ToString::to_string).collect(),
            settings: entry.settings.map(settings),
            has_key: entry.idempotency_key.is_some(),
            has_fingerprint: entry.idempotency_key.is_some(),
            has_actor: entry.actor.is_some(),
            has_reason: entry.reason.is_some(),
            reservation_facts: if after.is_some() { 6 } else { 0 },
            has_reservation_id: after.is_some(),
            reservation_state: status.map(|status| status.state),
            has_close_time: status.is_some_and(|status| status.close_time.is_some()),
        };
        let refund = entry.refunded_sequence.map(|undone_sequence| {
            let reversed_sequence = entry.reversed_sequence;
            Row::Undoing(UndoingFact {
                undone_sequence,
                sequence,
                amount,
                is_of_credit: false,
                reversed_sequence,
            })
        });
        let reversal = entry.reversed_sequence.map(|undone_sequence| {
            let (amount, reversed_sequence) = (-amount, None);
            Row::Undoing(UndoingFact {
                undone_sequence,
                sequence,
                amount,
                is_of_credit: true,
                reversed_sequence,
            })
        });
        let step = after.map(|after| {
            Row::Step(StepFact {
                reservation_id: after.reservation_id.to_string(),
                sequence,
                entry_type,
                amount,
                held_delta,
                create_time,
                effective_time: entry.effective_time,
                is_lapse: entry.idempotency_key.as_ref().is_some_and(IdempotencyKey::is_of_expiry),
                is_named_so: entry.idempotency_key.as_ref().map(|key| *key == after.reservation_id),
                status,
                pins: Some(entry.grant_moves.pins.clone()),
            })
        });
        let rows = [Some(Row::Entry(Box::new(itself))), refund, reversal, step].into_iter().flatten();
        rows.map(|row| fact(&entry.account_id, row)).collect()
    }

    fn legs_fact(&self, entry: &Entry) -> Option<LegsFact> {
        if entry.legs.is_empty() {
            return None;
        }
        let paid = entry.legs.iter().filter(|leg| leg.sequence > 0);
        let source = Source { account_id: entry.account_id.clone(), sequence: entry.sequence };
        let is_found = |leg: &&PaidLeg| {
            let entry = self.entries.get(&(leg.account_id.clone(), leg.sequence));
            entry.is_some_and(|entry| entry.amount == leg.amount && entry.source.as_ref() == Some(&source))
        };
        Some(LegsFact {
            paid: i64::try_from(paid.clone().count()).unwrap(),
            found: i64::try_from(paid.filter(is_found).count()).unwrap(),
            amount: entry.legs.iter().map(|leg| leg.amount.get()).sum(),
        })
    }

    fn is_listed(&self, entry: &Entry, source: &Source) -> bool {
        let is_it = |leg: &PaidLeg| (&leg.account_id, leg.sequence) == (&entry.account_id, entry.sequence);
        self.entries
            .get(&(source.account_id.clone(), source.sequence))
            .is_some_and(|payer| payer.legs.iter().any(is_it))
    }

    /// How much of a leg other money than that of the payer's grants pays: it funds legs first.
    fn paid_by_other(&self, entry: &Entry, source: &Source) -> Option<i64> {
        let payer = self.entries.get(&(source.account_id.clone(), source.sequence))?;
        let is_it = |leg: &PaidLeg| (&leg.account_id, leg.sequence) == (&entry.account_id, entry.sequence);
        let place = payer.legs.iter().position(is_it)?;
        let drawn: i64 = payer.grant_moves.draws.iter().map(|share| share.amount.get()).sum();
        let before: i64 = payer.legs[..place].iter().map(|leg| leg.amount.get()).sum();
        Some((payer.funded.get() - drawn - before).min(payer.legs[place].amount.get()).max(0))
    }

    /// What an entry undoes, as it was before.
    fn undone_fact(&self, entry: &Entry) -> Option<UndoneFact> {
        let sequence = entry.refunded_sequence.or(entry.reversed_sequence)?;
        let own = &self.entries[&(entry.account_id.clone(), sequence)];
        let undone = self.undone(&entry.account_id, sequence, entry.sequence);
        Some(UndoneFact {
            withdrawable_delta: own.withdrawable_delta.get(),
            undone: undone.amount.get(),
            undone_withdrawable: undone.withdrawable.get(),
        })
    }

    fn open_account(&mut self, account_id: &AccountId) {
        let empty = AccountRow {
            balance: Balance::default(),
            last_sequence: 0,
            update_time: Timestamp::from_unix_micros(i64::MIN), // nothing was written yet
            next_expire_time: None,
            has_grants: false,
            settings: AccountSettings::default(),
        };
        self.accounts.entry(account_id.clone()).or_insert(empty);
    }

    fn load_book(&self, commands: &[Command], now: Timestamp) -> Book {
        let mut book = Book::default();
        let mut account_ids: BTreeSet<&AccountId> = commands.iter().flat_map(Command::account_ids).collect();
        account_ids.extend(commands.iter().flat_map(|command| self.taken_back_from(command)));
        for account_id in &account_ids {
            book.put_account((*account_id).clone(), self.accounts[*account_id].account());
        }
        for command in commands {
            let id = command.references().reservation_id.map(|id| (command.account_id().clone(), id.clone()));
            if let Some(reservation) = id.and_then(|id| self.reservations.get(&id)) {
                book.put_reservation(reservation.clone());
            }
        }
        for account_id in account_ids {
            self.load_lapsed(&mut book, account_id, now);
        }
        for key in named_keys(commands) {
            if let Some(row) = self.answers.get(&key) {
                let recorded = self.recorded(&key.0, row);
                book.put_answer(&key.0, key.1, recorded);
            }
        }
        for external_id in named_payments(commands) {
            if let Some((account_id, sequence)) = self.payments.get(external_id).cloned() {
                book.put_payment(external_id.clone(), Payment { account_id, sequence });
            }
        }
        for (account_id, sequence) in self.named_entries(commands, &book) {
            if let Some(entry) = self.entries.get(&(account_id.clone(), sequence)) {
                let undone = self.undone(&account_id, sequence, i64::MAX);
                book.put_original(Original { entry: Arc::clone(entry), undone });
            }
        }
        for command in commands.iter().filter(|command| command.references().closes_account) {
            let open = self.open_reservations(command.account_id()).len();
            book.put_open_reservations(command.account_id(), open.try_into().expect("few are open"));
        }
        self.load_grants(&mut book, commands, now);
        book
    }

    /// Loads the grants of accounts that say that something remains of some, or that get one; and those that are brought money
    /// back into, or reversed.
    fn load_grants(&self, book: &mut Book, commands: &[Command], now: Timestamp) {
        let opening = commands.iter().filter(|command| command.references().opens_grant);
        let opening: BTreeSet<&AccountId> = opening.map(Command::account_id).collect();
        let named = self.named_entries(commands, book);
        let mut wanted: BTreeSet<(AccountId, i64)> = BTreeSet::new();
        for (account_id, sequence) in named {
            let Some(entry) = self.entries.get(&(account_id.clone(), sequence)) else { continue };
            let drawn = entry.grant_moves.draws.iter().map(|share| share.sequence);
            let touched = drawn.chain([sequence]).chain(entry.reversed_sequence);
            wanted.extend(touched.map(|sequence| (account_id.clone(), sequence)));
        }
        for ((account_id, sequence), grant) in &self.grants {
            let Some(account) = book.account(account_id) else { continue };
            let is_whole = account.has_grants || opening.contains(account_id);
            let matters = grant.remaining > MicroUsd::ZERO || grant.expire_time > account.time(now);
            if is_whole && matters || wanted.contains(&(account_id.clone(), *sequence)) {
                book.put_grant(account_id, *grant);
            }
        }
    }

    /// The payees of the debit whose refund takes back from them.
    fn taken_back_from(&self, command: &Command) -> impl Iterator<Item = &AccountId> {
        let debit = command.references().entry.filter(|_| command.references().takes_back);
        let account_id = command.account_id();
        let place = debit.and_then(|name| match name {
            EntryName::Sequence(sequence) => Some((account_id.clone(), *sequence)),
            EntryName::Key(key) => match self.answers.get(&(account_id.clone(), key.clone()))? {
                AnswerRow::Entry(_, sequence) | AnswerRow::Replay(_, sequence) => {
                    Some((account_id.clone(), *sequence))
                }
                AnswerRow::Refusal(..) => None,
            },
            EntryName::ExternalId(id) => {
                self.payments.get(id).filter(|(owner, _)| owner == account_id).cloned()
            }
        });
        let entry = place.and_then(|place| self.entries.get(&place));
        let legs = entry.into_iter().flat_map(|entry| &entry.legs);
        legs.filter(|leg| leg.sequence > 0).map(|leg| &leg.account_id)
    }

    /// Loads the reservations whose leases have run out, if the account says that there may be some.
    fn load_lapsed(&self, book: &mut Book, account_id: &AccountId, now: Timestamp) {
        let account = self.accounts[account_id].account();
        let time = account.time(now);
        if account.next_expire_time.is_none_or(|next| next > time) {
            return;
        }
        let mut open = self.open_reservations(account_id);
        open.sort_by_key(|reservation| (reservation.status.expire_time, reservation.sequence));
        let lapsed = open.iter().take(LAPSED_MAX).take_while(|open| open.status.expire_time <= time).count();
        for reservation in &open[..lapsed] {
            book.put_lapsed((*reservation).clone());
        }
        let next = open.get(lapsed).map(|reservation| reservation.status.expire_time);
        book.put_next_expire_time(account_id, next);
    }

    fn recorded(&self, account_id: &AccountId, row: &AnswerRow) -> Recorded {
        match row {
            AnswerRow::Entry(fingerprint, sequence) | AnswerRow::Replay(fingerprint, sequence) => {
                let entry = &self.entries[&(account_id.clone(), *sequence)];
                Recorded { fingerprint: fingerprint.clone(), answer: Answer::Applied(Arc::clone(entry)) }
            }
            AnswerRow::Refusal(fingerprint, refusal) => {
                Recorded { fingerprint: fingerprint.clone(), answer: Answer::Refused(Arc::clone(refusal)) }
            }
        }
    }

    /// The entries that replays, payments, refunds and reversals point to, of the accounts in the book, and the credits that
    /// these took back.
    fn named_entries(&self, commands: &[Command], book: &Book) -> BTreeSet<(AccountId, i64)> {
        let mut named = BTreeSet::new();
        for (account_id, key) in named_keys(commands) {
            if let Some(AnswerRow::Entry(_, sequence) | AnswerRow::Replay(_, sequence)) =
                self.answers.get(&(account_id.clone(), key))
            {
                named.insert((account_id, *sequence));
            }
        }
        for command in commands {
            if let Some(EntryName::Sequence(sequence)) = command.references().entry {
                named.insert((command.account_id().clone(), *sequence));
            }
        }
        named.extend(named_payments(commands).filter_map(|id| self.payments.get(id).cloned()));
        let credits = named.iter().filter_map(|name| {
            let credit = self.entries.get(name)?.reversed_sequence?;
            Some((name.0.clone(), credit))
        });
        named.extend(credits.collect::<Vec<_>>());
        let legs = named.iter().filter_map(|name| self.entries.get(name)).flat_map(|entry| &entry.legs);
        named.extend(legs.map(|leg| (leg.account_id.clone(), leg.sequence)).collect::<Vec<_>>());
        named.retain(|(account_id, _)| book.account(account_id).is_some());
        named
    }

    /// What the entries before a sequence have undone of an entry.
    fn undone(&self, account_id: &AccountId, sequence: i64, before: i64) -> Undone {
        let mut undone = Undone::default();
        for entry in self.entries(account_id).into_iter().filter(|entry| entry.sequence < before) {
            let sign = if entry.refunded_sequence == Some(sequence) {
                1
            } else if entry.reversed_sequence == Some(sequence) {
                -1
            } else {
                continue;
            };
            let sum = |sum: MicroUsd, delta: MicroUsd| MicroUsd::new(sum.get() + sign * delta.get());
            undone.amount = sum(undone.amount, entry.amount);
            undone.withdrawable = sum(undone.withdrawable, entry.withdrawable_delta);
        }
        undone
    }

    fn keep(&mut self, changes: Changes) {
        for (entry, fingerprint) in changes.entries {
            let key = entry.idempotency_key.clone().expect("an operation has a key");
            self.keep_entry(&entry);
            self.keep_answer(&entry.account_id, key, AnswerRow::Entry(fingerprint, entry.sequence));
        }
        for (account_id, account) in &changes.accounts {
            self.keep_account(account_id, account);
        }
        for reservation in changes.reservations {
            let key = (reservation.account_id.clone(), reservation.reservation_id.clone());
            self.reservations.insert(key, reservation);
        }
        for (account_id, grant) in changes.opened_grants.into_iter().chain(changes.changed_grants) {
            self.grants.insert((account_id, grant.sequence), grant);
        }
        for refused in changes.refusals {
            let account_id = refused.refusal.account_id.clone();
            let row = AnswerRow::Refusal(refused.fingerprint, refused.refusal);
            self.keep_answer(&account_id, refused.key, row);
        }
        for replay in changes.external_replays {
            let row = AnswerRow::Replay(replay.fingerprint, replay.entry.sequence);
            self.keep_answer(&replay.entry.account_id, replay.key, row);
        }
        for (external_id, payment) in changes.payments {
            let earlier = self.payments.insert(external_id.clone(), (payment.account_id, payment.sequence));
            assert_eq!(earlier, None, "the payment {external_id} is known");
        }
    }

    fn keep_entry(&mut self, entry: &Arc<Entry>) {
        let earlier = self.entries.insert((entry.account_id.clone(), entry.sequence), Arc::clone(entry));
        assert_eq!(earlier, None, "the sequence is in use");
    }

    fn keep_account(&mut self, account_id: &AccountId, account: &Account) {
        let Account { balance, last_sequence, update_time, next_expire_time, has_grants, settings } =
            *account;
        let row = AccountRow { balance, last_sequence, update_time, next_expire_time, has_grants, settings };
        self.accounts.insert(account_id.clone(), row);
    }

    fn keep_answer(&mut self, account_id: &AccountId, key: IdempotencyKey, row: AnswerRow) {
        let earlier = self.answers.insert((account_id.clone(), key), row);
        assert_eq!(earlier, None, "the key was answered before");
    }
}

impl AccountRow {
    /// The row after an entry that has no part in any reservation.
    fn after(entry: &Entry) -> Self {
        Self {
            balance: entry.balance_after,
            last_sequence: entry.sequence,
            update_time: entry.create_time,
            next_expire_time: None,
            has_grants: false,
            settings: AccountSettings::default(),
        }
    }

    fn account(&self) -> Account {
        let Self { balance, last_sequence, update_time, next_expire_time, has_grants, settings } = *self;
        Account { balance, last_sequence, update_time, next_expire_time, has_grants, settings }
    }
}

fn fact(account_id: &AccountId, row: Row) -> Fact {
    Fact { account_id: account_id.to_string(), row }
}

fn answer_facts(account_id: &AccountId, key: &IdempotencyKey, answer: &AnswerRow) -> Vec<Fact> {
    let idempotency_key = key.to_string();
    let (table, replay) = match answer {
        AnswerRow::Entry(..) => (AnswerTable::Entries, None),
        AnswerRow::Refusal(..) => (AnswerTable::Refusals, None),
        AnswerRow::Replay(_, sequence) => (AnswerTable::Replays, Some(*sequence)),
    };
    let replay =
        replay.map(|sequence| Row::Replay(ReplayFact { sequence, idempotency_key: idempotency_key.clone() }));
    let answer = Row::Answer(AnswerFact { idempotency_key, table });
    [Some(answer), replay].into_iter().flatten().map(|row| fact(account_id, row)).collect()
}

fn reservation_fact(reservation: &Reservation) -> Fact {
    let row = ReservationFact {
        reservation_id: reservation.reservation_id.to_string(),
        sequence: reservation.sequence,
        create_time: reservation.create_time,
        status: status(&reservation.status),
        close_sequence: reservation.close_sequence,
        pins: Some(reservation.pins.clone()),
    };
    fact(&reservation.account_id, Row::Reservation(row))
}

fn grant_fact(account_id: &AccountId, grant: &Grant) -> Fact {
    let Grant { sequence, amount, remaining, pinned, lapsed, reversed, expire_time } = *grant;
    let [amount, remaining, pinned, lapsed, reversed] =
        [amount, remaining, pinned, lapsed, reversed].map(MicroUsd::get);
    let grant = GrantFact { sequence, amount, remaining, pinned, lapsed, reversed, expire_time };
    fact(account_id, Row::Grant(grant))
}

fn status(status: &ReservationStatus) -> Status {
    let ReservationStatus { state, held, captured, expire_time, expiry_policy, close_time } = *status;
    let (state, expiry_policy) = (state.number(), expiry_policy.number());
    Status { state, held: held.get(), captured: captured.get(), expire_time, close_time, expiry_policy }
}

fn settings(settings: AccountSettings) -> (i16, Option<i64>) {
    (settings.state.number(), settings.debt_limit.map(MicroUsd::get))
}

/// The payments that commands name: their own, and those whose entries they undo.
fn named_payments(commands: &[Command]) -> impl Iterator<Item = &ExternalId> {
    let own = commands.iter().filter_map(|command| command.references().external_ids);
    let undone = commands.iter().filter_map(|command| match command.references().entry {
        Some(EntryName::ExternalId(external_id)) => Some(external_id),
        Some(EntryName::Key(_) | EntryName::Sequence(_)) | None => None,
    });
    own.flat_map(ExternalIds::iter).chain(undone)
}

/// The limits in histories.
pub fn limits(debt_max: i64) -> Limits {
    let admin_credit_max = MicroUsd::new(ADMIN_CREDIT_MAX);
    Limits { admin_credit_max, debt_max: MicroUsd::new(debt_max), ..book::limits() }
}

/// The keys that commands are called under, and those whose entries they undo.
fn named_keys(commands: &[Command]) -> BTreeSet<Key> {
    let named = |command: &Command| {
        let undone = match command.references().entry {
            Some(EntryName::Key(key)) => Some(key.clone()),
            Some(EntryName::Sequence(_) | EntryName::ExternalId(_)) | None => None,
        };
        let keys = [Some(command.key().clone()), undone];
        keys.into_iter().flatten().map(|key| (command.account_id().clone(), key)).collect::<Vec<_>>()
    };
    commands.iter().flat_map(named).collect()
}

fn imported_entry(account: &AccountRow, account_id: AccountId, row: &Imported) -> Entry {
    let amount = MicroUsd::new(row.amount);
    Entry {
        account_id,
        sequence: account.last_sequence + 1,
        entry_type: translation::entry_type(row.entry_type),
        amount,
        held_delta: MicroUsd::ZERO,
        withdrawable_delta: MicroUsd::ZERO,
        balance_after: account
            .balance
            .after(amount, MicroUsd::ZERO, MicroUsd::ZERO)
            .expect("an imported balance fits"),
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
        create_time: Timestamp::from_unix_micros(BEGINNING),
        effective_time: Timestamp::from_unix_micros(BEGINNING),
        caller: None,
    }
}
