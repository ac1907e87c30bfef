//! The part of the book that a batch of commands concerns: what the rules read, and the changes that they make.

pub(super) mod append;

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use super::{
    Account, AccountId, Answer, Changes, Entry, EntryName, ExternalId, ExternalIds, ExternalReplay, Grant,
    Grants, IdempotencyKey, MicroUsd, Payment, Recorded, Refusal, RefusalReason, Refused, Reservation,
    ReservationAfter, ReservationState, Since, Timestamp, envelope::Envelope, grant::add_share,
    original::Original,
};

/// The accounts, earlier answers, originals, payments and reservations that commands name, and the changes that
/// [`super::decide()`] makes.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<AccountId, AccountBook>,
    payments: HashMap<ExternalId, Payment>,
    changes: Changes,
}

/// The grants of an account that has none.
static NO_GRANTS: Grants = Grants::none();

#[derive(Debug)]
struct AccountBook {
    account: Account,
    answers: HashMap<IdempotencyKey, Recorded>,
    originals: HashMap<i64, Original>,
    reservations: HashMap<IdempotencyKey, Reservation>,
    grants: Grants,
    /// The grants before the first entry.
    grants_before: Grants,
    is_changed: bool,
    /// Open reservations whose leases have expired: they are ended first.
    lapsed: Vec<IdempotencyKey>,
    changed_reservations: BTreeSet<IdempotencyKey>,
    /// How many reservations are open. Counts from what was loaded; only closing the account needs it.
    open_reservations: i64,
}

impl Book {
    /// Adds an account. Everything else about an account is added after it.
    pub fn put_account(&mut self, account_id: AccountId, account: Account) {
        let book = AccountBook {
            account,
            answers: HashMap::new(),
            originals: HashMap::new(),
            reservations: HashMap::new(),
            grants: Grants::default(),
            grants_before: Grants::default(),
            is_changed: false,
            lapsed: Vec::new(),
            changed_reservations: BTreeSet::new(),
            open_reservations: 0,
        };
        self.accounts.insert(account_id, book);
    }

    /// Adds a reservation that a command names.
    pub fn put_reservation(&mut self, reservation: Reservation) {
        if let Some(book) = self.accounts.get_mut(&reservation.account_id) {
            book.reservations.insert(reservation.reservation_id.clone(), reservation);
        }
    }

    /// Adds an open reservation whose lease has expired.
    pub fn put_lapsed(&mut self, reservation: Reservation) {
        if let Some(book) = self.accounts.get_mut(&reservation.account_id) {
            book.lapsed.push(reservation.reservation_id.clone());
            book.reservations.insert(reservation.reservation_id.clone(), reservation);
        }
    }

    /// Adds a grant: of what remains of any, and of those that commands name.
    pub fn put_grant(&mut self, account_id: &AccountId, grant: Grant) {
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.grants.put(grant);
            book.grants_before.put(grant);
        }
    }

    /// Sets the earliest expiry among the open reservations that were not added as lapsed.
    pub fn put_next_expire_time(&mut self, account_id: &AccountId, next: Option<Timestamp>) {
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.is_changed |= book.account.next_expire_time != next;
            book.account.next_expire_time = next;
        }
    }

    /// Adds a key's answer.
    pub fn put_answer(&mut self, account_id: &AccountId, key: IdempotencyKey, recorded: Recorded) {
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.answers.insert(key, recorded);
        }
    }

    /// Adds an entry that a command refers to.
    pub fn put_original(&mut self, original: Original) {
        if let Some(book) = self.accounts.get_mut(&original.entry.account_id) {
            book.originals.insert(original.entry.sequence, original);
        }
    }

    /// Adds a name of a payment that is known.
    pub fn put_payment(&mut self, external_id: ExternalId, payment: Payment) {
        self.payments.insert(external_id, payment);
    }

    /// Sets how many reservations of an account are open, recorded expiries or not.
    pub fn put_open_reservations(&mut self, account_id: &AccountId, count: i64) {
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.open_reservations = count;
        }
    }

    /// The account, with all decisions so far.
    #[must_use]
    pub fn account(&self, account_id: &AccountId) -> Option<&Account> {
        self.accounts.get(account_id).map(|book| &book.account)
    }

    /// The accounts, with all decisions so far.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter().map(|(id, book)| (id, &book.account))
    }

    /// The answer to a key, if there is one.
    #[must_use]
    pub fn answer(&self, account_id: &AccountId, key: &IdempotencyKey) -> Option<&Recorded> {
        self.accounts.get(account_id)?.answers.get(key)
    }

    /// The sequence of the entry with a name. `None` if the account has no entry under the key or of the payment.
    #[must_use]
    pub fn sequence_of(&self, account_id: &AccountId, name: &EntryName) -> Option<i64> {
        match name {
            EntryName::Sequence(sequence) => Some(*sequence),
            EntryName::Key(key) => match &self.answer(account_id, key)?.answer {
                Answer::Applied(entry) => Some(entry.sequence),
                Answer::Refused(_) => None,
            },
            EntryName::ExternalId(external_id) => {
                let payment = self.payment(external_id)?;
                (payment.account_id == *account_id).then_some(payment.sequence)
            }
        }
    }

    /// The entry with a name, and what has been undone of it.
    pub(super) fn named(&self, account_id: &AccountId, name: &EntryName) -> Option<&Original> {
        self.original(account_id, self.sequence_of(account_id, name)?)
    }

    /// The entry with a sequence, and what has been undone of it.
    #[must_use]
    pub fn original(&self, account_id: &AccountId, sequence: i64) -> Option<&Original> {
        self.accounts.get(account_id)?.originals.get(&sequence)
    }

    /// A reservation, with all decisions so far.
    #[must_use]
    pub fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &IdempotencyKey,
    ) -> Option<&Reservation> {
        self.accounts.get(account_id)?.reservations.get(reservation_id)
    }

    /// The grants of an account, with all decisions so far.
    #[must_use]
    pub fn grants(&self, account_id: &AccountId) -> &Grants {
        self.accounts.get(account_id).map_or(&NO_GRANTS, |book| &book.grants)
    }

    /// The accounts with grants, and the earliest expiry of each among what is not in the book.
    pub(super) fn next_expire_times(&self) -> Vec<(AccountId, Option<Timestamp>)> {
        let granted = self.accounts.iter().filter(|(_, book)| !book.grants.is_empty());
        let mut times: Vec<_> =
            granted.map(|(id, book)| (id.clone(), book.account.next_expire_time)).collect();
        times.sort_unstable();
        times
    }

    /// Records in the row of an account when something of it expires first: what is not in the book, or one of its grants.
    pub(super) fn note_next_expiry(&mut self, account_id: &AccountId, beside: Option<Timestamp>) {
        self.put_next_expire_time(account_id, beside);
        if let Some(book) = self.accounts.get_mut(account_id) {
            book.note_next_expiry();
        }
    }

    /// Takes the lapsed reservations, in the order of their expiry.
    pub(super) fn take_lapsed(&mut self) -> Vec<Reservation> {
        let mut lapsed = Vec::new();
        for book in self.accounts.values_mut() {
            let ids = mem::take(&mut book.lapsed);
            lapsed.extend(ids.iter().filter_map(|id| book.reservations.get(id).cloned()));
        }
        lapsed.sort_unstable_by(|a, b| {
            let order = |reservation: &Reservation| (reservation.status.expire_time, reservation.sequence);
            order(a).cmp(&order(b)).then_with(|| a.account_id.cmp(&b.account_id))
        });
        lapsed
    }

    /// The entry of a payment, if it is known.
    #[must_use]
    pub fn payment(&self, external_id: &ExternalId) -> Option<&Payment> {
        self.payments.get(external_id)
    }

    /// How many reservations of an account are open, with all decisions so far.
    pub(super) fn open_reservations(&self, account_id: &AccountId) -> i64 {
        self.accounts.get(account_id).map_or(0, |book| book.open_reservations)
    }

    /// What has happened since an entry was written.
    pub(super) fn since(&self, entry: &Entry, now: Timestamp) -> Since {
        let account_id = &entry.account_id;
        let read_time = self.account(account_id).map_or(now, |account| account.time(now));
        let original = self.original(account_id, entry.sequence);
        let reservation = entry.reservation.as_ref().and_then(|after| {
            self.reservation(account_id, &after.reservation_id).map(|found| found.clone().at(read_time))
        });
        Since {
            read_time,
            undone: original.map_or(MicroUsd::ZERO, |original| original.undone.amount),
            reservation,
        }
    }

    /// The changes.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let mut changes = self.changes;
        for (account_id, mut book) in self.accounts.into_iter().filter(|(_, book)| book.is_changed) {
            for grant in book.grants.iter() {
                match book.grants_before.get(grant.sequence) {
                    None => changes.opened_grants.push((account_id.clone(), *grant)),
                    Some(before) if before != grant => {
                        changes.changed_grants.push((account_id.clone(), *grant));
                    }
                    Some(_) => {}
                }
            }
            let reservations = book.changed_reservations.iter().filter_map(|id| book.reservations.remove(id));
            changes.reservations.extend(reservations);
            changes.accounts.push((account_id, book.account));
        }
        changes.accounts.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        changes
    }

    /// The entries of the legs of an entry.
    pub(super) fn leg_entries(&self, entry: &Entry) -> Vec<Arc<Entry>> {
        let found = entry.legs.iter().filter_map(|leg| self.original(&leg.account_id, leg.sequence));
        found.map(|original| Arc::clone(&original.entry)).collect()
    }

    /// Records a refusal.
    pub(super) fn refuse(
        &mut self,
        envelope: &Envelope,
        reason: &RefusalReason,
        now: Timestamp,
    ) -> Arc<Refusal> {
        let refusal = Arc::new(reason.refusal(&envelope.account_id, now));
        self.record(envelope, Answer::Refused(Arc::clone(&refusal)));
        self.changes.refusals.push(Refused {
            key: envelope.key.clone(),
            fingerprint: envelope.fingerprint.clone(),
            refusal: Arc::clone(&refusal),
        });
        refusal
    }

    /// Records that an operation was answered with the entry of another key, and the further names of its payment.
    pub(super) fn answer_with(
        &mut self,
        envelope: &Envelope,
        entry: Arc<Entry>,
        external_ids: &ExternalIds,
        now: Timestamp,
    ) {
        self.name_payment(&entry, external_ids);
        self.record(envelope, Answer::Applied(Arc::clone(&entry)));
        self.changes.external_replays.push(ExternalReplay {
            key: envelope.key.clone(),
            fingerprint: envelope.fingerprint.clone(),
            entry,
            create_time: now,
        });
    }

    /// Records the names of an entry's payment that are not known yet.
    fn name_payment(&mut self, entry: &Entry, external_ids: &ExternalIds) {
        for external_id in external_ids.iter() {
            if self.payments.contains_key(external_id) {
                continue;
            }
            let (account_id, sequence) = (entry.account_id.clone(), entry.sequence);
            let payment = Payment { account_id, sequence };
            self.put_payment(external_id.clone(), payment.clone());
            self.changes.payments.push((external_id.clone(), payment));
        }
    }

    fn record(&mut self, envelope: &Envelope, answer: Answer) {
        let recorded = Recorded { fingerprint: envelope.fingerprint.clone(), answer };
        self.put_answer(&envelope.account_id, envelope.key.clone(), recorded);
    }
}

impl AccountBook {
    fn keep_reservation(&mut self, entry: &Entry, after: &ReservationAfter) {
        let id = &after.reservation_id;
        let reservation = self.reservations.entry(id.clone()).or_insert_with(|| Reservation {
            account_id: entry.account_id.clone(),
            reservation_id: id.clone(),
            sequence: entry.sequence,
            create_time: entry.create_time,
            note: entry.note.clone(),
            status: after.status,
            pins: Vec::new(),
            close_sequence: None,
        });
        let was_open =
            reservation.sequence != entry.sequence && reservation.status.state == ReservationState::Open;
        let is_open = after.status.state == ReservationState::Open;
        if reservation.status.state != after.status.state {
            reservation.close_sequence = Some(entry.sequence);
        }
        reservation.status = after.status;
        for pin in &entry.grant_moves.pins {
            add_share(&mut reservation.pins, pin.sequence, pin.amount);
        }
        self.grants.sort(&mut reservation.pins);
        self.open_reservations += i64::from(is_open) - i64::from(was_open);
        self.changed_reservations.insert(id.clone());
        if is_open {
            self.note_expiry(after.status.expire_time);
        }
    }

    /// Records when the first grant expires, and whether anything remains of one.
    fn note_next_expiry(&mut self) {
        self.account.has_grants = self.grants.iter().any(|grant| grant.remaining > MicroUsd::ZERO);
        if let Some(expire_time) = self.grants.next_expiry() {
            self.note_expiry(expire_time);
        }
    }

    fn note_expiry(&mut self, expire_time: Timestamp) {
        let next = self.account.next_expire_time.map_or(expire_time, |next| next.min(expire_time));
        self.is_changed |= self.account.next_expire_time != Some(next);
        self.account.next_expire_time = Some(next);
    }
}
