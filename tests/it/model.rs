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
    /// The external ids are distinct and sorted.
    Credit {
        amount: i64,
        kind: &'static str,
        external_ids: Vec<String>,
    },
    Charge {
        amount: i64,
        policy: &'static str,
    },
    Refund {
        amount: i64,
        of: Of,
    },
    AdminCredit {
        amount: i64,
        actor: String,
        reason: String,
    },
    Reserve {
        amount: i64,
        ttl: Option<i64>,
        expiry: &'static str,
    },
    Capture {
        reservation_id: String,
        amount: i64,
        policy: &'static str,
        keep_open: bool,
    },
    Release {
        reservation_id: String,
    },
    Extend {
        reservation_id: String,
        additional: i64,
        ttl: Option<i64>,
        expiry: Option<&'static str>,
    },
    SetAccount(Change),
}

/// What an operator decides about an account. A debt limit of -1 takes away the account's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub state: Option<&'static str>,
    pub debt_limit: Option<i64>,
    pub forfeit: Option<i64>,
    pub actor: String,
    pub reason: String,
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
    pub external_ids: Vec<String>,
    pub reference: String,
    pub metadata: Metadata,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub reservation: Option<After>,
    pub uncollected: i64,
    pub refunded_sequence: Option<i64>,
    pub settings: Option<Settings>,
    pub create_time: i64,
    pub effective_time: i64,
}

/// What an operator has decided about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub state: &'static str,
    pub debt_limit: Option<i64>,
}

/// What an entry tells of the reservation that it opened, changed or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub reservation_id: String,
    pub status: Status,
}

/// What changes in the course of a reservation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub state: &'static str,
    pub held: i64,
    pub captured: i64,
    pub expire_time: i64,
    pub expiry: &'static str,
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
    pub close_sequence: Option<i64>,
}

/// An account, as it stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub posted: i128,
    pub held: i128,
    pub last_sequence: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub settings: Settings,
}

/// A balance: what is posted, and what is held.
pub type Balance = (i128, i128);

/// The balances at both ends of a period, and how many entries of each type there are in between, with the sum of their
/// amounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub opening: Balance,
    pub closing: Balance,
    pub totals: BTreeMap<&'static str, (i64, i128)>,
}

/// What has happened since an entry was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    pub read_time: i64,
    pub undone: i128,
    pub reservation: Option<Reservation>,
}

/// How a call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
pub enum Answer {
    Applied {
        entry: Entry,
        /// If it is a replay.
        since: Option<Since>,
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
    /// A payment has a name which nobody gave here.
    Named(String, Entry),
}

/// A call, the time in its account, and by the clock.
#[derive(Clone, Copy)]
struct Asked<'a> {
    call: &'a Call,
    time: i64,
    /// The time by the clock.
    now: i64,
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
            What::SetAccount(_) => "SetAccount",
        }
    }

    pub fn amount(&self) -> i64 {
        match self.what {
            What::Credit { amount, .. }
            | What::Charge { amount, .. }
            | What::Refund { amount, .. }
            | What::AdminCredit { amount, .. }
            | What::Reserve { amount, .. }
            | What::Capture { amount, .. } => amount,
            What::Extend { additional, .. } => additional,
            What::Release { .. } | What::SetAccount(_) => 0,
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
            What::Credit { kind, external_ids, .. } => {
                fields.insert("entry_type", (*kind).to_owned());
                fields.insert("external_ids", external_ids.join(" "));
            }
            What::Charge { policy, .. } => {
                fields.insert("shortfall_policy", (*policy).to_owned());
            }
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
            What::Reserve { ttl, expiry, .. } => {
                fields.extend(ttl.map(|ttl| ("ttl", ttl.to_string())));
                fields.insert("expiry_policy", (*expiry).to_owned());
            }
            What::Capture { reservation_id, policy, keep_open, .. } => {
                fields.insert("reservation_id", reservation_id.clone());
                fields.insert("shortfall_policy", (*policy).to_owned());
                fields.insert("keep_open", keep_open.to_string());
            }
            What::Release { reservation_id } => {
                fields.insert("reservation_id", reservation_id.clone());
            }
            What::SetAccount(Change { state, debt_limit, forfeit, actor, reason }) => {
                fields.extend(state.map(|state| ("state", state.to_owned())));
                fields.extend(debt_limit.map(|limit| ("debt_limit_micro_usd", limit.to_string())));
                fields.extend(forfeit.map(|forfeit| ("forfeit_micro_usd", forfeit.to_string())));
                fields.insert("actor", actor.clone());
                fields.insert("reason", reason.clone());
            }
            What::Extend { reservation_id, ttl, expiry, .. } => {
                fields.extend(expiry.map(|expiry| ("expiry_policy", expiry.to_owned())));
                fields.insert("reservation_id", reservation_id.clone());
                fields.extend(ttl.map(|ttl| ("ttl", ttl.to_string())));
            }
        }
        fields
    }
}

impl What {
    /// Whether it names a charge, a reservation or an account, which may not be there.
    pub fn names_another(&self) -> bool {
        match self {
            Self::Refund { .. }
            | Self::Capture { .. }
            | Self::Release { .. }
            | Self::Extend { .. }
            | Self::SetAccount(_) => true,
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

    /// The same, whether or not it is a replay: what never changes of it.
    pub fn lasting(&self) -> Self {
        let mut answer = self.clone();
        if let Self::Applied { since, .. } = &mut answer {
            *since = None;
        }
        answer
    }

    fn refused(reason: &'static str, asked: Asked, metadata: &[(&str, String)]) -> Self {
        Self::Refused { reason, metadata: figures(asked, metadata) }
    }

    fn ended(asked: Asked, reservation: &Reservation) -> Self {
        if reservation.status.state == "EXPIRED" {
            return Self::refused("RESERVATION_EXPIRED", asked, &[]);
        }
        let sequence = reservation.close_sequence.expect("an entry ended it").to_string();
        let metadata = [("state", reservation.status.state.to_owned()), ("sequence", sequence)];
        Self::refused("RESERVATION_CLOSED", asked, &metadata)
    }
}

/// The figures of a refusal: those of its reason, and when it was first given.
fn figures(asked: Asked, metadata: &[(&str, String)]) -> Metadata {
    let figures = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    figures.chain([("refused_time".to_owned(), asked.now.to_string())]).collect()
}

impl Reservation {
    /// As it stands at a moment: from the end of its lease on it holds nothing; what it held is charged if it is to be.
    pub fn at(mut self, time: i64) -> Self {
        if self.is_lapsed(time) {
            self.status.captured += self.charge_on_expiry();
            self.status.state = if self.charge_on_expiry() > 0 { "CAPTURED" } else { "EXPIRED" };
            self.status.held = 0;
            self.status.close_time = Some(self.status.expire_time);
        }
        self
    }

    /// Whether its lease has run out by a time, and that was not written down.
    fn is_lapsed(&self, time: i64) -> bool {
        self.status.state == "OPEN" && self.status.expire_time <= time
    }

    /// What the end of its lease charges.
    fn charge_on_expiry(&self) -> i64 {
        if self.status.expiry == "CAPTURE" { self.status.held } else { 0 }
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
        self.answer(Asked { call, time, now })
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
        let (mut posted, mut held) = (0, 0);
        for entry in &entries {
            posted += i128::from(entry.amount);
        }
        for reservation in reservations_of(&entries) {
            if reservation.is_lapsed(time) {
                posted -= i128::from(reservation.charge_on_expiry());
            }
            held += i128::from(reservation.at(time).status.held);
        }
        let settings = settings_of(&entries);
        let (create_time, update_time) = (first.create_time, last.create_time);
        Some(Account { posted, held, last_sequence: last.sequence, create_time, update_time, settings })
    }

    /// What happened in an account from a time on and before another, as it is known at a third.
    pub fn statement(&self, account: &str, (from, until): (i64, i64), now: i64) -> Statement {
        let mut model = self.clone();
        model.lapse(account, now);
        let balance = |time: i64| {
            let at = self.account_at(account, time.min(now));
            at.map_or((0, 0), |account| (account.posted, account.held))
        };
        let mut totals: BTreeMap<&str, (i64, i128)> = BTreeMap::new();
        for entry in model.entries(account) {
            if (from..until).contains(&entry.effective_time) {
                let (count, amount) = totals.entry(entry.entry_type).or_default();
                *count += 1;
                *amount += i128::from(entry.amount);
            }
        }
        Statement { opening: balance(from - 1), closing: balance(until - 1), totals }
    }

    /// The entry of a payment: that of the first credit which named it, if any.
    pub fn payment(&self, external_id: &str) -> Option<&Entry> {
        self.events.iter().find_map(|event| match event {
            Event::Answered(
                Call { what: What::Credit { external_ids, .. }, .. },
                Answer::Applied { entry, .. },
            ) if external_ids.iter().any(|id| id == external_id) => Some(entry),
            Event::Named(name, entry) if name == external_id => Some(entry),
            Event::Answered(..) | Event::Imported(_) | Event::Expired(_) | Event::Named(..) => None,
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

    /// Learns that a payment has a name, by an entry of an account that is not told of here.
    pub fn know_payment(&mut self, external_id: &str, entry: &Entry) {
        self.events.push(Event::Named(external_id.to_owned(), entry.clone()));
    }

    /// What has happened by a time since an entry was written.
    pub fn since(&self, entry: &Entry, now: i64) -> Since {
        let time = self.time_in(&entry.account, now);
        let entries = self.entries(&entry.account);
        let refunds = entries.iter().filter(|refund| refund.refunded_sequence == Some(entry.sequence));
        let undone = refunds.map(|refund| i128::from(refund.amount)).sum();
        let id = entry.reservation.as_ref().map(|after| &after.reservation_id);
        let reservation =
            reservations_of(&entries).into_iter().find(|found| Some(&found.reservation_id) == id);
        Since { read_time: time, undone, reservation: reservation.map(|found| found.at(time)) }
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
            Event::Answered(..) | Event::Imported(_) | Event::Expired(_) | Event::Named(..) => None,
        })
    }

    /// The entries of all accounts, in the order in which they were written.
    fn journal(&self) -> Vec<&Entry> {
        let mut journal = Vec::new();
        for event in &self.events {
            match event {
                Event::Imported(entry)
                | Event::Expired(entry)
                | Event::Answered(_, Answer::Applied { entry, since: None }) => journal.push(entry),
                Event::Answered(..) | Event::Named(..) => {}
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
        let lapsed = reservations_of(&self.entries(account)).into_iter().filter(|open| open.is_lapsed(time));
        let first = lapsed.min_by_key(|open| (open.status.expire_time, open.sequence))?;
        let charge = first.charge_on_expiry();
        let entry_type = if charge > 0 { "CAPTURE" } else { "EXPIRE" };
        let mut entry = self.next_entry(account, time, entry_type, -charge, -first.status.held)?;
        entry.key = Some(format!("billing/expire/{}", first.reservation_id));
        entry.effective_time = first.status.expire_time;
        let Reservation { reservation_id, status, .. } = first.at(time);
        entry.reservation = Some(After { reservation_id, status });
        Some(entry)
    }

    fn answer(&self, asked: Asked) -> Answer {
        let call = asked.call;
        if let Some((first, answer)) = self.operation_call(&call.account, &call.key) {
            return first.reused_by(call).unwrap_or_else(|| self.again(answer, asked));
        }
        match &call.what {
            What::Credit { amount, kind, external_ids } => self.credit(asked, *amount, kind, external_ids),
            What::Charge { amount, policy } => self.charge(asked, *amount, policy),
            What::Refund { amount, of } => self.refund(asked, *amount, of),
            What::AdminCredit { amount, actor, reason } => self.admin_credit(asked, *amount, actor, reason),
            What::Reserve { amount, ttl, expiry } => self.reserve(asked, *amount, *ttl, expiry),
            What::Capture { reservation_id, amount, policy, keep_open } => {
                self.of_reservation(asked, reservation_id, |reservation| {
                    self.capture(asked, reservation, *amount, policy, *keep_open)
                })
            }
            What::Release { reservation_id } => {
                self.of_reservation(asked, reservation_id, |reservation| self.release(asked, reservation))
            }
            What::Extend { reservation_id, additional, ttl, expiry } => {
                self.of_reservation(asked, reservation_id, |reservation| {
                    self.extend(asked, reservation, *additional, *ttl, *expiry)
                })
            }
            What::SetAccount(change) => self.set_account(asked, change),
        }
    }

    /// An answer that was given before, as it is given again.
    fn again(&self, answer: &Answer, asked: Asked) -> Answer {
        match answer {
            Answer::Applied { entry, .. } => {
                Answer::Applied { entry: entry.clone(), since: Some(self.since(entry, asked.now)) }
            }
            Answer::Refused { .. }
            | Answer::Declined { .. }
            | Answer::KeyReused { .. }
            | Answer::NotFound { .. } => answer.clone(),
        }
    }

    /// The refusal of an account that may not spend, or, if `earns`, may not take money in.
    fn forbidden(&self, asked: Asked, earns: bool) -> Option<Answer> {
        match settings_of(&self.entries(&asked.call.account)).state {
            "FROZEN" if !earns => Some(Answer::refused("ACCOUNT_FROZEN", asked, &[])),
            "CLOSED" => Some(Answer::refused("ACCOUNT_CLOSED", asked, &[])),
            _ => None,
        }
    }

    fn insufficient(&self, asked: Asked, required: i64) -> Answer {
        let account = &asked.call.account;
        let metadata = [
            ("available_micro_usd", self.available(account).to_string()),
            ("held_micro_usd", self.held(account).to_string()),
            ("required_micro_usd", required.to_string()),
        ];
        Answer::refused("INSUFFICIENT_FUNDS", asked, &metadata)
    }

    fn credit(&self, asked: Asked, amount: i64, kind: &'static str, external_ids: &[String]) -> Answer {
        let mut paid: Option<&Entry> = None;
        for external_id in external_ids {
            let Some(known) = self.payment(external_id) else { continue };
            let conflict = if known.account != asked.call.account {
                "account_id"
            } else if paid.is_some_and(|paid| paid != known) {
                "external_ids"
            } else if known.amount != amount {
                "amount_micro_usd"
            } else {
                paid = Some(known);
                continue;
            };
            let metadata = [("external_id", external_id.clone()), ("conflict", conflict.to_owned())];
            return Answer::refused("EXTERNAL_ID_CONFLICT", asked, &metadata);
        }
        if let Some(entry) = paid {
            return Answer::Applied { entry: entry.clone(), since: Some(self.since(entry, asked.now)) };
        }
        if let Some(forbidden) = self.forbidden(asked, true) {
            return forbidden;
        }
        self.post(asked, kind, amount, |entry| entry.external_ids = external_ids.to_vec())
    }

    fn charge(&self, asked: Asked, amount: i64, policy: &str) -> Answer {
        if let Some(forbidden) = self.forbidden(asked, false) {
            return forbidden;
        }
        let account = &asked.call.account;
        let is_known = !self.entries(account).is_empty();
        let collected = if i128::from(amount) <= self.available(account) {
            amount
        } else {
            match self.collect(asked, amount, policy).filter(|_| is_known) {
                None => return self.insufficient(asked, amount),
                Some(Err(refused)) => return refused,
                Some(Ok(collected)) => collected,
            }
        };
        self.post(asked, "CHARGE", -collected, |entry| entry.uncollected = amount - collected)
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
            return Answer::refused("NOT_REFUNDABLE", asked, &[("entry_type", charge.entry_type.to_owned())]);
        }
        let refunds = entries.iter().filter(|entry| entry.refunded_sequence == Some(charge.sequence));
        let refunded: i128 = refunds.map(|refund| i128::from(refund.amount)).sum();
        let refundable = -i128::from(charge.amount) - refunded;
        if i128::from(amount) > refundable {
            let metadata = [("refundable_micro_usd", refundable.to_string())];
            return Answer::refused("REFUND_EXCEEDS_CHARGE", asked, &metadata);
        }
        self.post(asked, "REFUND", amount, |entry| entry.refunded_sequence = Some(charge.sequence))
    }

    fn admin_credit(&self, asked: Asked, amount: i64, actor: &str, reason: &str) -> Answer {
        let limit = self.limits.admin_credit_max;
        if amount > limit {
            let metadata = figures(asked, &[("limit_micro_usd", limit.to_string())]);
            return Answer::Declined { reason: "ADMIN_CREDIT_LIMIT", metadata };
        }
        if let Some(forbidden) = self.forbidden(asked, true) {
            return forbidden;
        }
        self.post(asked, "ADMIN_CREDIT", amount, |entry| {
            entry.actor = Some(actor.to_owned());
            entry.reason = Some(reason.to_owned());
        })
    }

    fn set_account(&self, asked: Asked, change: &Change) -> Answer {
        let account = &asked.call.account;
        let entries = self.entries(account);
        if entries.is_empty() {
            return Answer::NotFound { reason: "ACCOUNT_NOT_FOUND" };
        }
        let posted = self.posted(account);
        let mut amount = 0;
        if change.state == Some("CLOSED") {
            if reservations_of(&entries).iter().any(|reservation| reservation.status.state == "OPEN") {
                let metadata = [("held_micro_usd", self.held(account).to_string())];
                return Answer::refused("RESERVATIONS_OPEN", asked, &metadata);
            }
            if i128::from(change.forfeit.unwrap_or(0)) != posted {
                let metadata = [("posted_micro_usd", posted.to_string())];
                return Answer::refused("FORFEIT_MISMATCH", asked, &metadata);
            }
            let Ok(taken) = i64::try_from(-posted) else {
                return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
            };
            amount = taken;
        }
        let before = settings_of(&entries);
        let settings = Settings {
            state: change.state.unwrap_or(before.state),
            debt_limit: match change.debt_limit {
                None => before.debt_limit,
                Some(-1) => None,
                own => own,
            },
        };
        self.post(asked, "ACCOUNT_CHANGE", amount, |entry| {
            entry.settings = Some(settings);
            entry.actor = Some(change.actor.clone());
            entry.reason = Some(change.reason.clone());
        })
    }

    fn reserve(&self, asked: Asked, amount: i64, ttl: Option<i64>, expiry: &'static str) -> Answer {
        if let Some(forbidden) = self.forbidden(asked, false) {
            return forbidden;
        }
        if i128::from(amount) > self.available(&asked.call.account) {
            return self.insufficient(asked, amount);
        }
        let status = Status {
            state: "OPEN",
            held: amount,
            captured: 0,
            expire_time: asked.time + ttl.unwrap_or(LEASE_DEFAULT),
            expiry,
            close_time: None,
        };
        let after = After { reservation_id: asked.call.key.clone(), status };
        self.post_move(asked, "RESERVE", (0, amount), after, 0)
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
        if status.state != "OPEN" {
            if let Some(forbidden) = self.forbidden(asked, false) {
                return forbidden;
            }
            if status.state == "CAPTURED" || policy == "REJECT" {
                return Answer::ended(asked, reservation);
            }
        }
        let from_hold = amount.min(status.held);
        let excess = amount - from_hold;
        let collected = match self.collect(asked, excess, policy) {
            _ if excess == 0 => 0,
            Some(Ok(collected)) => collected,
            Some(Err(refused)) => return refused,
            None => {
                let metadata = [("held_micro_usd", status.held.to_string())];
                return Answer::refused("CAPTURE_EXCEEDS_RESERVATION", asked, &metadata);
            }
        };
        let freed = if keep_open { from_hold } else { status.held };
        status.held -= freed;
        status.captured += from_hold + collected;
        if !keep_open {
            status.state = "CAPTURED";
            status.close_time = Some(asked.time);
        }
        let after = After { reservation_id: reservation.reservation_id.clone(), status };
        let moved = (-(from_hold + collected), -freed);
        self.post_move(asked, "CAPTURE", moved, after, excess - collected)
    }

    /// How much is collected of what an operation asks for beyond what is there for it. `None` if nothing is to be.
    fn collect(&self, asked: Asked, wanted: i64, policy: &str) -> Option<Result<i64, Answer>> {
        let available = self.available(&asked.call.account);
        let own = settings_of(&self.entries(&asked.call.account)).debt_limit;
        let limit = own.unwrap_or(self.limits.debt_max);
        match policy {
            "COLLECT_AVAILABLE" if available <= 0 => Some(Ok(0)),
            "COLLECT_AVAILABLE" => Some(Ok(i64::try_from(available).unwrap_or(i64::MAX).min(wanted))),
            "ALLOW_DEBT" if available - i128::from(wanted) >= -i128::from(limit) => Some(Ok(wanted)),
            "ALLOW_DEBT" => {
                let metadata = [("limit_micro_usd", limit.to_string())];
                Some(Err(Answer::refused("DEBT_LIMIT", asked, &metadata)))
            }
            _ => None,
        }
    }

    fn release(&self, asked: Asked, reservation: &Reservation) -> Answer {
        let Status { state, held, .. } = reservation.status;
        if state != "OPEN" {
            return Answer::ended(asked, reservation);
        }
        let close_time = Some(asked.time);
        let status = Status { state: "RELEASED", held: 0, close_time, ..reservation.status };
        let after = After { reservation_id: reservation.reservation_id.clone(), status };
        self.post_move(asked, "RELEASE", (0, -held), after, 0)
    }

    fn extend(
        &self,
        asked: Asked,
        reservation: &Reservation,
        additional: i64,
        ttl: Option<i64>,
        expiry: Option<&'static str>,
    ) -> Answer {
        let mut status = reservation.status;
        if let Some(forbidden) = self.forbidden(asked, false).filter(|_| additional > 0) {
            return forbidden;
        }
        if status.state != "OPEN" {
            return Answer::ended(asked, reservation);
        }
        if additional > 0 && i128::from(additional) > self.available(&asked.call.account) {
            return self.insufficient(asked, additional);
        }
        status.held += additional;
        if let Some(ttl) = ttl {
            status.expire_time = status.expire_time.max(asked.time + ttl);
        }
        status.expiry = expiry.unwrap_or(status.expiry);
        let after = After { reservation_id: reservation.reservation_id.clone(), status };
        self.post_move(asked, "EXTEND", (0, additional), after, 0)
    }

    fn post(
        &self,
        asked: Asked,
        entry_type: &'static str,
        amount: i64,
        add: impl FnOnce(&mut Entry),
    ) -> Answer {
        let Some(mut entry) = self.next_entry(&asked.call.account, asked.time, entry_type, amount, 0) else {
            return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
        };
        entry.name_after(asked.call);
        add(&mut entry);
        Answer::Applied { entry, since: None }
    }

    /// An entry that moves so much of posted and of held for a reservation.
    fn post_move(
        &self,
        asked: Asked,
        entry_type: &'static str,
        (amount, held_delta): (i64, i64),
        after: After,
        uncollected: i64,
    ) -> Answer {
        let account = &asked.call.account;
        let Some(mut entry) = self.next_entry(account, asked.time, entry_type, amount, held_delta) else {
            return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
        };
        entry.name_after(asked.call);
        entry.reservation = Some(after);
        entry.uncollected = uncollected;
        Answer::Applied { entry, since: None }
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
            external_ids: Vec::new(),
            reference: String::new(),
            metadata: Metadata::new(),
            actor: None,
            reason: None,
            reservation: None,
            uncollected: 0,
            refunded_sequence: None,
            settings: None,
            create_time,
            effective_time: create_time,
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

/// What an operator has decided about an account, by its entries.
pub fn settings_of(entries: &[&Entry]) -> Settings {
    let newest = entries.iter().rev().find_map(|entry| entry.settings);
    newest.unwrap_or(Settings { state: "ACTIVE", debt_limit: None })
}

/// The reservations that entries of one account opened, oldest first, as they stand after the last of the entries.
pub fn reservations_of(entries: &[&Entry]) -> Vec<Reservation> {
    let mut reservations: Vec<Reservation> = Vec::new();
    for entry in entries {
        let Some(After { reservation_id, status }) = &entry.reservation else { continue };
        let mut known = reservations.iter_mut();
        match known.find(|reservation| reservation.reservation_id == *reservation_id) {
            Some(reservation) => {
                if reservation.status.state != status.state {
                    reservation.close_sequence = Some(entry.sequence);
                }
                reservation.status = *status;
            }
            None => reservations.push(Reservation {
                account: entry.account.clone(),
                reservation_id: reservation_id.clone(),
                sequence: entry.sequence,
                create_time: entry.create_time,
                reference: entry.reference.clone(),
                metadata: entry.metadata.clone(),
                status: *status,
                close_sequence: None,
            }),
        }
    }
    reservations
}
