//! The reference model: the contract in its plainest form, to compare the service with.
//!
//! It keeps a list of all that happened (what was imported, what was asked and answered, which leases ran out) and
//! nothing else. Whatever it needs to know (a balance, what has been refunded, how a key was answered, who was credited
//! for a payment, how a reservation stands) it finds by walking the whole list each time. It knows none of the service's
//! types. Times are whole microseconds, and come with each call.

use std::collections::{BTreeMap, BTreeSet};

/// Notes or figures, by name.
pub type Metadata = BTreeMap<String, String>;

/// How long a reservation lasts whose caller does not say: ten minutes.
pub const LEASE_DEFAULT: i64 = 600_000_000;

/// One call of a mutating method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub account: String,
    pub key: String,
    pub what: What,
    pub reference: String,
    pub metadata: Metadata,
}

/// The method, and the fields that only it has. Entry types go by their names in the proto, without the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Credit { amount: i64, kind: &'static str, external_id: Option<String> },
    Charge { amount: i64 },
    Refund { amount: i64, of: Of },
    AdminCredit { amount: i64, actor: String, reason: String },
    Reserve { amount: i64, ttl: Option<i64> },
    Capture { reservation_id: String, amount: i64, policy: &'static str, keep_open: bool },
    Release { reservation_id: String },
    Extend { reservation_id: String, additional: i64, ttl: Option<i64> },
}

/// How a refund names the charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Sequence(i64),
    Key(String),
}

/// An entry from before this ledger: it has no key, and any sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub account: String,
    pub entry_type: &'static str,
    pub amount: i64,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
pub struct Entry {
    pub account: String,
    pub sequence: i64,
    pub entry_type: &'static str,
    pub amount: i64,
    pub held_delta: i64,
    pub posted_after: i64,
    pub held_after: i64,
    pub key: Option<String>,
    pub external_id: Option<String>,
    pub reference: String,
    pub metadata: Metadata,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub reservation: Option<After>,
    pub refunded_sequence: Option<i64>,
    pub create_time: i64,
}

/// What an entry tells of the reservation that it opened, changed or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub reservation_id: String,
    pub status: Status,
    pub uncollected: i64,
}

/// What changes in the course of a reservation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub state: &'static str,
    pub held: i64,
    pub captured: i64,
    pub expire_time: i64,
    pub close_time: Option<i64>,
}

/// A reservation, as it stands at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
pub struct Reservation {
    pub account: String,
    pub reservation_id: String,
    pub sequence: i64,
    pub create_time: i64,
    pub reference: String,
    pub metadata: Metadata,
    pub status: Status,
}

/// An account, as it stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub posted: i128,
    pub held: i128,
    pub last_sequence: i64,
    pub create_time: i64,
    pub update_time: i64,
}

/// How a call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
pub enum Answer {
    Applied {
        entry: Entry,
        replayed: bool,
        reservation: Option<Reservation>,
    },
    Refused {
        reason: &'static str,
        metadata: Metadata,
    },
    /// Refused by the configuration: the key is as it was.
    Declined {
        reason: &'static str,
        metadata: Metadata,
    },
    KeyReused {
        method: &'static str,
        fields: BTreeSet<&'static str>,
    },
    NotFound {
        reason: &'static str,
    },
}

/// What the operator of the service set.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub admin_credit_max: i64,
    pub debt_max: i64,
}

/// All that ever happened.
#[derive(Debug, Clone)]
pub struct Model {
    limits: Limits,
    events: Vec<Event>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
enum Event {
    Imported(Entry),
    /// A lease had run out, and an operation on the account came by.
    Expired(Entry),
    Answered(Call, Answer),
}

/// A call, and the time in its account.
#[derive(Clone, Copy)]
struct Asked<'a> {
    call: &'a Call,
    time: i64,
}

impl Call {
    pub fn method(&self) -> &'static str {
        match self.what {
            What::Credit { .. } => "Credit",
            What::Charge { .. } => "Charge",
            What::Refund { .. } => "Refund",
            What::AdminCredit { .. } => "AdminCredit",
            What::Reserve { .. } => "Reserve",
            What::Capture { .. } => "Capture",
            What::Release { .. } => "Release",
            What::Extend { .. } => "ExtendReservation",
        }
    }

    pub fn amount(&self) -> i64 {
        match self.what {
            What::Credit { amount, .. }
            | What::Charge { amount }
            | What::Refund { amount, .. }
            | What::AdminCredit { amount, .. }
            | What::Reserve { amount, .. }
            | What::Capture { amount, .. } => amount,
            What::Extend { additional, .. } => additional,
            What::Release { .. } => 0,
        }
    }

    /// The answer to another call under the same key, unless it asks for the same.
    pub fn reused_by(&self, other: &Self) -> Option<Answer> {
        let method = self.method();
        if other.method() != method {
            return Some(Answer::KeyReused { method, fields: BTreeSet::from(["method"]) });
        }
        let (before, now) = (self.fields(), other.fields());
        let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
        let fields: BTreeSet<_> =
            names.into_iter().filter(|name| before.get(name) != now.get(name)).collect();
        (!fields.is_empty()).then_some(Answer::KeyReused { method, fields })
    }

    /// Every field that a key stands for, by its name in the proto; absent where it is not given.
    fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = BTreeMap::from([
            ("reference", self.reference.clone()),
            ("metadata", format!("{:?}", self.metadata)),
        ]);
        if self.amount() != 0 {
            let is_more = matches!(self.what, What::Extend { .. });
            let name = if is_more { "additional_amount_micro_usd" } else { "amount_micro_usd" };
            fields.insert(name, self.amount().to_string());
        }
        match &self.what {
            What::Credit { kind, external_id, .. } => {
                fields.insert("entry_type", (*kind).to_owned());
                fields.extend(external_id.clone().map(|id| ("external_id", id)));
            }
            What::Charge { .. } => {}
            What::Refund { of: Of::Sequence(sequence), .. } => {
                fields.insert("charge_sequence", sequence.to_string());
            }
            What::Refund { of: Of::Key(key), .. } => {
                fields.insert("charge_idempotency_key", key.clone());
            }
            What::AdminCredit { actor, reason, .. } => {
                fields.insert("actor", actor.clone());
                fields.insert("reason", reason.clone());
            }
            What::Reserve { ttl, .. } => fields.extend(ttl.map(|ttl| ("ttl", ttl.to_string()))),
            What::Capture { reservation_id, policy, keep_open, .. } => {
                fields.insert("reservation_id", reservation_id.clone());
                fields.insert("overage_policy", (*policy).to_owned());
                fields.insert("keep_open", keep_open.to_string());
            }
            What::Release { reservation_id } => {
                fields.insert("reservation_id", reservation_id.clone());
            }
            What::Extend { reservation_id, ttl, .. } => {
                fields.insert("reservation_id", reservation_id.clone());
                fields.extend(ttl.map(|ttl| ("ttl", ttl.to_string())));
            }
        }
        fields
    }
}

impl What {
    /// Whether it names a charge or a reservation, which may not be there.
    pub fn names_another(&self) -> bool {
        match self {
            Self::Refund { .. } | Self::Capture { .. } | Self::Release { .. } | Self::Extend { .. } => true,
            Self::Credit { .. } | Self::Charge { .. } | Self::AdminCredit { .. } | Self::Reserve { .. } => {
                false
            }
        }
    }
}

impl Answer {
    /// Whether it stands for ever. The others leave the key as it was.
    pub fn stands(&self) -> bool {
        matches!(self, Self::Applied { .. } | Self::Refused { .. })
    }

    /// As it is given when the same call comes again.
    pub fn again(&self) -> Self {
        let mut answer = self.clone();
        if let Self::Applied { replayed, .. } = &mut answer {
            *replayed = true;
        }
        answer
    }

    /// As it can be looked up later: again, and without the reservation.
    pub fn without_reservation(&self) -> Self {
        let mut answer = self.again();
        if let Self::Applied { reservation, .. } = &mut answer {
            *reservation = None;
        }
        answer
    }

    fn refused(reason: &'static str, metadata: &[(&str, String)]) -> Self {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::Refused { reason, metadata }
    }

    fn replay(entry: &Entry) -> Self {
        Self::Applied { entry: entry.clone(), replayed: true, reservation: None }
    }

    fn ended(state: &str) -> Self {
        match state {
            "EXPIRED" => Self::refused("RESERVATION_EXPIRED", &[]),
            state => Self::refused("RESERVATION_CLOSED", &[("state", state.to_owned())]),
        }
    }

    fn insufficient(available: i128, required: i64) -> Self {
        let metadata =
            [("available_micro_usd", available.to_string()), ("required_micro_usd", required.to_string())];
        Self::refused("INSUFFICIENT_FUNDS", &metadata)
    }
}

impl Reservation {
    /// As it stands at a moment: from the end of its lease on it holds nothing.
    fn at(mut self, time: i64) -> Self {
        if self.status.state == "OPEN" && self.status.expire_time <= time {
            self.status.state = "EXPIRED";
            self.status.held = 0;
            self.status.close_time = Some(self.status.expire_time);
        }
        self
    }
}

impl Model {
    pub fn new(limits: Limits, imported: &[Imported], time: i64) -> Self {
        let mut model = Self { limits, events: Vec::new() };
        for row in imported {
            let entry = model.next_entry(&row.account, time, row.entry_type, row.amount, 0);
            model.events.push(Event::Imported(entry.expect("an imported balance fits")));
        }
        model
    }

    /// Answers a call that comes at a time, and remembers that it did. Whatever is asked, what has run out by then is
    /// written down first.
    pub fn call(&mut self, now: i64, call: &Call) -> Answer {
        self.lapse(&call.account, now);
        let answer = self.verdict(now, call);
        self.events.push(Event::Answered(call.clone(), answer.clone()));
        answer
    }

    /// Writes down which leases of an account have run out by a time.
    pub fn lapse(&mut self, account: &str, now: i64) {
        let time = self.time_in(account, now);
        while let Some(entry) = self.next_expiry(account, time) {
            self.events.push(Event::Expired(entry));
        }
    }

    /// How a call would be answered at a time by which nothing has run out that is not written down.
    pub fn verdict(&self, now: i64, call: &Call) -> Answer {
        let time = self.time_in(&call.account, now);
        self.answer(Asked { call, time })
    }

    /// The time in an account: never before its newest entry.
    fn time_in(&self, account: &str, now: i64) -> i64 {
        self.entries(account).last().map_or(now, |last| last.create_time.max(now))
    }

    /// An account's entries, oldest first.
    pub fn entries(&self, account: &str) -> Vec<&Entry> {
        self.journal().into_iter().filter(|entry| entry.account == account).collect()
    }

    /// The account at a time, if it was there.
    pub fn account_at(&self, account: &str, time: i64) -> Option<Account> {
        let mut entries = self.entries(account);
        entries.retain(|entry| entry.create_time <= time);
        let (first, last) = (entries.first()?, entries.last()?);
        let reservations = reservations_of(&entries).into_iter().map(|reservation| reservation.at(time));
        Some(Account {
            posted: entries.iter().map(|entry| i128::from(entry.amount)).sum(),
            held: reservations.map(|reservation| i128::from(reservation.status.held)).sum(),
            last_sequence: last.sequence,
            create_time: first.create_time,
            update_time: last.create_time,
        })
    }

    /// An account's reservations as they stand at a time, by the clock of the account, newest first.
    pub fn reservations_at(&self, account: &str, now: i64) -> Vec<Reservation> {
        let time = self.time_in(account, now);
        let reservations = reservations_of(&self.entries(account));
        reservations.into_iter().rev().map(|reservation| reservation.at(time)).collect()
    }

    /// Whether a lease has run out by a time, and that was not written down.
    pub fn has_lapsed(&self, account: &str, time: i64) -> bool {
        self.next_expiry(account, time).is_some()
    }

    /// How a key was first answered for good, if it was.
    pub fn operation(&self, account: &str, key: &str) -> Option<&Answer> {
        self.operation_call(account, key).map(|(_, answer)| answer)
    }

    fn operation_call(&self, account: &str, key: &str) -> Option<(&Call, &Answer)> {
        self.events.iter().find_map(|event| match event {
            Event::Answered(call, answer)
                if call.account == account && call.key == key && answer.stands() =>
            {
                Some((call, answer))
            }
            Event::Answered(..) | Event::Imported(_) | Event::Expired(_) => None,
        })
    }

    /// The entries of all accounts, in the order in which they were written.
    fn journal(&self) -> Vec<&Entry> {
        let mut journal = Vec::new();
        for event in &self.events {
            match event {
                Event::Imported(entry)
                | Event::Expired(entry)
                | Event::Answered(_, Answer::Applied { entry, replayed: false, .. }) => journal.push(entry),
                Event::Answered(..) => {}
            }
        }
        journal
    }

    /// The sum of an account's entries.
    fn posted(&self, account: &str) -> i128 {
        self.entries(account).iter().map(|entry| i128::from(entry.amount)).sum()
    }

    /// What an account's reservations hold.
    fn held(&self, account: &str) -> i128 {
        self.entries(account).iter().map(|entry| i128::from(entry.held_delta)).sum()
    }

    fn available(&self, account: &str) -> i128 {
        self.posted(account) - self.held(account)
    }

    fn reservation(&self, call: &Call, reservation_id: &str) -> Option<Reservation> {
        let reservations = reservations_of(&self.entries(&call.account));
        reservations.into_iter().find(|reservation| reservation.reservation_id == reservation_id)
    }

    /// The entry that writes down the first lease which has run out.
    fn next_expiry(&self, account: &str, time: i64) -> Option<Entry> {
        let open = reservations_of(&self.entries(account)).into_iter();
        let first = open
            .filter(|reservation| {
                reservation.status.state == "OPEN" && reservation.status.expire_time <= time
            })
            .min_by_key(|reservation| (reservation.status.expire_time, reservation.sequence))?;
        let mut entry = self.next_entry(account, time, "EXPIRE", 0, -first.status.held)?;
        entry.key = Some(format!("billing/expire/{}", first.reservation_id));
        let Reservation { reservation_id, status, .. } = first.at(time);
        entry.reservation = Some(After { reservation_id, status, uncollected: 0 });
        Some(entry)
    }

    fn answer(&self, asked: Asked) -> Answer {
        let call = asked.call;
        if let Some((first, answer)) = self.operation_call(&call.account, &call.key) {
            return answer_again(first, answer, call);
        }
        match &call.what {
            What::Credit { amount, kind, external_id } => {
                self.credit(asked, *amount, kind, external_id.as_deref())
            }
            What::Charge { amount } => self.charge(asked, *amount),
            What::Refund { amount, of } => self.refund(asked, *amount, of),
            What::AdminCredit { amount, actor, reason } => self.admin_credit(asked, *amount, actor, reason),
            What::Reserve { amount, ttl } => self.reserve(asked, *amount, *ttl),
            What::Capture { reservation_id, amount, policy, keep_open } => {
                self.of_reservation(asked, reservation_id, |reservation| {
                    self.capture(asked, reservation, *amount, policy, *keep_open)
                })
            }
            What::Release { reservation_id } => {
                self.of_reservation(asked, reservation_id, |reservation| self.release(asked, reservation))
            }
            What::Extend { reservation_id, additional, ttl } => {
                self.of_reservation(asked, reservation_id, |reservation| {
                    self.extend(asked, reservation, *additional, *ttl)
                })
            }
        }
    }

    fn credit(&self, asked: Asked, amount: i64, kind: &'static str, external_id: Option<&str>) -> Answer {
        let same_payment = |entry: &&&Entry| {
            entry.entry_type == kind && external_id.is_some() && entry.external_id.as_deref() == external_id
        };
        if let Some(credited) = self.journal().iter().find(same_payment) {
            let conflict = if credited.account != asked.call.account {
                "account_id"
            } else if credited.amount != amount {
                "amount_micro_usd"
            } else {
                return Answer::replay(credited);
            };
            let external_id = external_id.unwrap_or_default().to_owned();
            let metadata = [("external_id", external_id), ("conflict", conflict.to_owned())];
            return Answer::refused("EXTERNAL_ID_CONFLICT", &metadata);
        }
        self.post(asked, kind, amount, |entry| entry.external_id = external_id.map(str::to_owned))
    }

    fn charge(&self, asked: Asked, amount: i64) -> Answer {
        let available = self.available(&asked.call.account);
        if i128::from(amount) > available {
            return Answer::insufficient(available, amount);
        }
        self.post(asked, "CHARGE", -amount, |_| ())
    }

    fn refund(&self, asked: Asked, amount: i64, of: &Of) -> Answer {
        let account = &asked.call.account;
        let entries = self.entries(account);
        let named = match of {
            Of::Sequence(sequence) => entries.iter().find(|entry| entry.sequence == *sequence).copied(),
            Of::Key(key) => match self.operation(account, key) {
                Some(Answer::Applied { entry, .. }) => Some(entry),
                _ => None,
            },
        };
        let Some(charge) = named else { return Answer::NotFound { reason: "CHARGE_NOT_FOUND" } };
        if !matches!(charge.entry_type, "CHARGE" | "CAPTURE") {
            return Answer::refused("NOT_REFUNDABLE", &[("entry_type", charge.entry_type.to_owned())]);
        }
        let refunds = entries.iter().filter(|entry| entry.refunded_sequence == Some(charge.sequence));
        let refunded: i128 = refunds.map(|refund| i128::from(refund.amount)).sum();
        let refundable = -i128::from(charge.amount) - refunded;
        if i128::from(amount) > refundable {
            let metadata = [("refundable_micro_usd", refundable.to_string())];
            return Answer::refused("REFUND_EXCEEDS_CHARGE", &metadata);
        }
        self.post(asked, "REFUND", amount, |entry| entry.refunded_sequence = Some(charge.sequence))
    }

    fn admin_credit(&self, asked: Asked, amount: i64, actor: &str, reason: &str) -> Answer {
        let limit = self.limits.admin_credit_max;
        if amount > limit {
            let metadata = BTreeMap::from([("limit_micro_usd".to_owned(), limit.to_string())]);
            return Answer::Declined { reason: "ADMIN_CREDIT_LIMIT", metadata };
        }
        self.post(asked, "ADMIN_CREDIT", amount, |entry| {
            entry.actor = Some(actor.to_owned());
            entry.reason = Some(reason.to_owned());
        })
    }

    fn reserve(&self, asked: Asked, amount: i64, ttl: Option<i64>) -> Answer {
        let available = self.available(&asked.call.account);
        if i128::from(amount) > available {
            return Answer::insufficient(available, amount);
        }
        let status = Status {
            state: "OPEN",
            held: amount,
            captured: 0,
            expire_time: asked.time + ttl.unwrap_or(LEASE_DEFAULT),
            close_time: None,
        };
        let after = After { reservation_id: asked.call.key.clone(), status, uncollected: 0 };
        self.post_move(asked, "RESERVE", (0, amount), after)
    }

    fn of_reservation(
        &self,
        asked: Asked,
        reservation_id: &str,
        operate: impl FnOnce(&Reservation) -> Answer,
    ) -> Answer {
        match self.reservation(asked.call, reservation_id) {
            Some(reservation) => operate(&reservation),
            None => Answer::NotFound { reason: "RESERVATION_NOT_FOUND" },
        }
    }

    fn capture(
        &self,
        asked: Asked,
        reservation: &Reservation,
        amount: i64,
        policy: &str,
        keep_open: bool,
    ) -> Answer {
        let mut status = reservation.status;
        match status.state {
            "OPEN" => {}
            "EXPIRED" if policy != "REJECT" => {}
            state => return Answer::ended(state),
        }
        let from_hold = amount.min(status.held);
        let excess = amount - from_hold;
        let collected = match self.collect(asked, excess, policy, status.held) {
            Ok(collected) => collected,
            Err(refused) => return refused,
        };
        let freed = if keep_open { from_hold } else { status.held };
        status.held -= freed;
        status.captured += from_hold + collected;
        if !keep_open {
            status.state = "CAPTURED";
            status.close_time = Some(asked.time);
        }
        let reservation_id = reservation.reservation_id.clone();
        let after = After { reservation_id, status, uncollected: excess - collected };
        self.post_move(asked, "CAPTURE", (-(from_hold + collected), -freed), after)
    }

    /// How much is collected of what a capture asks for beyond the hold.
    #[expect(clippy::result_large_err, reason = "plain data, and little of it")]
    fn collect(&self, asked: Asked, excess: i64, policy: &str, held: i64) -> Result<i64, Answer> {
        let available = self.available(&asked.call.account);
        let limit = self.limits.debt_max;
        match policy {
            _ if excess == 0 => Ok(0),
            "COLLECT_AVAILABLE" if available <= 0 => Ok(0),
            "COLLECT_AVAILABLE" => Ok(i64::try_from(available).unwrap_or(i64::MAX).min(excess)),
            "ALLOW_DEBT" if available - i128::from(excess) >= -i128::from(limit) => Ok(excess),
            "ALLOW_DEBT" => Err(Answer::refused("DEBT_LIMIT", &[("limit_micro_usd", limit.to_string())])),
            _ => {
                let metadata = [("held_micro_usd", held.to_string())];
                Err(Answer::refused("CAPTURE_EXCEEDS_RESERVATION", &metadata))
            }
        }
    }

    fn release(&self, asked: Asked, reservation: &Reservation) -> Answer {
        let Status { state, held, captured, expire_time, .. } = reservation.status;
        if state != "OPEN" {
            return Answer::ended(state);
        }
        let close_time = Some(asked.time);
        let status = Status { state: "RELEASED", held: 0, captured, expire_time, close_time };
        let after = After { reservation_id: reservation.reservation_id.clone(), status, uncollected: 0 };
        self.post_move(asked, "RELEASE", (0, -held), after)
    }

    fn extend(&self, asked: Asked, reservation: &Reservation, additional: i64, ttl: Option<i64>) -> Answer {
        let mut status = reservation.status;
        if status.state != "OPEN" {
            return Answer::ended(status.state);
        }
        let available = self.available(&asked.call.account);
        if additional > 0 && i128::from(additional) > available {
            return Answer::insufficient(available, additional);
        }
        status.held += additional;
        if let Some(ttl) = ttl {
            status.expire_time = status.expire_time.max(asked.time + ttl);
        }
        let after = After { reservation_id: reservation.reservation_id.clone(), status, uncollected: 0 };
        self.post_move(asked, "EXTEND", (0, additional), after)
    }

    fn post(
        &self,
        asked: Asked,
        entry_type: &'static str,
        amount: i64,
        add: impl FnOnce(&mut Entry),
    ) -> Answer {
        let Some(mut entry) = self.next_entry(&asked.call.account, asked.time, entry_type, amount, 0) else {
            return Answer::refused("BALANCE_OVERFLOW", &[]);
        };
        entry.name_after(asked.call);
        add(&mut entry);
        Answer::Applied { entry, replayed: false, reservation: None }
    }

    /// An entry that moves so much of posted and of held for a reservation.
    fn post_move(
        &self,
        asked: Asked,
        entry_type: &'static str,
        (amount, held_delta): (i64, i64),
        after: After,
    ) -> Answer {
        let account = &asked.call.account;
        let Some(mut entry) = self.next_entry(account, asked.time, entry_type, amount, held_delta) else {
            return Answer::refused("BALANCE_OVERFLOW", &[]);
        };
        entry.name_after(asked.call);
        entry.reservation = Some(after);
        let mut entries = self.entries(account);
        entries.push(&entry);
        let id = entry.reservation.as_ref().map(|after| &after.reservation_id);
        let mut reservations = reservations_of(&entries).into_iter();
        let reservation = reservations.find(|reservation| Some(&reservation.reservation_id) == id);
        Answer::Applied { entry, replayed: false, reservation }
    }

    /// An account's next entry, or `None` where the balance would leave int64.
    fn next_entry(
        &self,
        account: &str,
        create_time: i64,
        entry_type: &'static str,
        amount: i64,
        held_delta: i64,
    ) -> Option<Entry> {
        let last_sequence = i64::try_from(self.entries(account).len()).ok()?;
        let posted_after = i64::try_from(self.posted(account) + i128::from(amount)).ok()?;
        let held_after = i64::try_from(self.held(account) + i128::from(held_delta)).ok()?;
        posted_after.checked_sub(held_after)?;
        Some(Entry {
            account: account.to_owned(),
            sequence: last_sequence + 1,
            entry_type,
            amount,
            held_delta,
            posted_after,
            held_after,
            key: None,
            external_id: None,
            reference: String::new(),
            metadata: Metadata::new(),
            actor: None,
            reason: None,
            reservation: None,
            refunded_sequence: None,
            create_time,
        })
    }
}

impl Entry {
    fn name_after(&mut self, call: &Call) {
        self.key = Some(call.key.clone());
        self.reference.clone_from(&call.reference);
        self.metadata.clone_from(&call.metadata);
    }
}

/// The reservations that entries of one account opened, oldest first, as they stand after the last of the entries.
fn reservations_of(entries: &[&Entry]) -> Vec<Reservation> {
    let mut reservations: Vec<Reservation> = Vec::new();
    for entry in entries {
        let Some(After { reservation_id, status, .. }) = &entry.reservation else { continue };
        let mut known = reservations.iter_mut();
        match known.find(|reservation| reservation.reservation_id == *reservation_id) {
            Some(reservation) => reservation.status = *status,
            None => reservations.push(Reservation {
                account: entry.account.clone(),
                reservation_id: reservation_id.clone(),
                sequence: entry.sequence,
                create_time: entry.create_time,
                reference: entry.reference.clone(),
                metadata: entry.metadata.clone(),
                status: *status,
            }),
        }
    }
    reservations
}

/// The answer to a key that was answered before: the same to the same request, and a loud error to any other.
fn answer_again(first: &Call, answer: &Answer, call: &Call) -> Answer {
    first.reused_by(call).unwrap_or_else(|| answer.again())
}
