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
        legs: Vec<Leg>,
    },
    Refund {
        amount: i64,
        of: Of,
        /// What becomes of the legs of the debit: KEEP or `TAKE_BACK`.
        legs: Option<&'static str>,
    },
    AdminCredit {
        amount: i64,
        actor: String,
        reason: String,
        withdrawable: bool,
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
        legs: Vec<Leg>,
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
    /// The external ids are distinct and sorted.
    Reverse {
        amount: i64,
        of: Of,
        external_ids: Vec<String>,
        reason: Option<String>,
        policy: &'static str,
    },
    /// The external ids are distinct and sorted.
    Withdraw {
        amount: i64,
        external_ids: Vec<String>,
    },
}

/// A part that is passed on to another account, as an entry of this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub account: String,
    pub amount: i64,
    pub kind: &'static str,
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

/// How a refund names the debit, or a reversal the credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Sequence(i64),
    Key(String),
    ExternalId(String),
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
    pub withdrawable_delta: i64,
    pub posted_after: i64,
    pub held_after: i64,
    /// The part of what is posted that may leave, whether or not it is held.
    pub withdrawable_after: i64,
    pub key: Option<String>,
    pub external_ids: Vec<String>,
    pub reference: String,
    pub metadata: Metadata,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub reservation: Option<After>,
    pub uncollected: i64,
    pub refunded_sequence: Option<i64>,
    pub reversed_sequence: Option<i64>,
    /// The payees, their entries' sequences, or 0, and the amounts of these.
    pub legs: Vec<(String, i64, i64)>,
    pub funded: i64,
    /// The payer, and its entry's sequence.
    pub source: Option<(String, i64)>,
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
    /// What a Withdraw would take.
    pub withdrawable: i128,
    pub last_sequence: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub settings: Settings,
}

/// A balance: what is posted, what is held, and what a Withdraw would take.
pub type Balance = (i128, i128, i128);

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
        /// The entries of its legs, in the accounts of others.
        leg_entries: Vec<Entry>,
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
    /// A field that what it names makes necessary.
    Invalid {
        field: &'static str,
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
    /// An entry that an operation on an account which is not told of here has left, or made necessary.
    Given(Entry),
    /// A payment has a name which nobody gave here.
    Named(String, Entry),
}

/// What an operation moves in the account of another.
struct Part<'a> {
    account: &'a str,
    entry_type: &'static str,
    /// The amount, and its own part of what may leave.
    moved: (i64, i64),
    reversed: Option<i64>,
    uncollected: i64,
}

/// A call, the time in its account, and by the clock.
#[derive(Clone, Copy)]
struct Asked<'a> {
    call: &'a Call,
    time: i64,
    /// The time by the clock.
    now: i64,
}

impl<'a> Part<'a> {
    /// What a leg pays.
    fn paid(account: &'a str, entry_type: &'static str, amount: i64) -> Self {
        let may_leave = if entry_type == "FEE" { 0 } else { amount };
        Self { account, entry_type, moved: (amount, may_leave), reversed: None, uncollected: 0 }
    }
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
            What::Reverse { .. } => "Reverse",
            What::Withdraw { .. } => "Withdraw",
        }
    }

    pub fn amount(&self) -> i64 {
        match self.what {
            What::Credit { amount, .. }
            | What::Charge { amount, .. }
            | What::Refund { amount, .. }
            | What::AdminCredit { amount, .. }
            | What::Reserve { amount, .. }
            | What::Capture { amount, .. }
            | What::Reverse { amount, .. }
            | What::Withdraw { amount, .. } => amount,
            What::Extend { additional, .. } => additional,
            What::Release { .. } | What::SetAccount(_) => 0,
        }
    }

    /// The legs that it names.
    pub fn legs(&self) -> &[Leg] {
        match &self.what {
            What::Charge { legs, .. } | What::Capture { legs, .. } => legs,
            What::Credit { .. }
            | What::Refund { .. }
            | What::AdminCredit { .. }
            | What::Reserve { .. }
            | What::Release { .. }
            | What::Extend { .. }
            | What::SetAccount(_)
            | What::Reverse { .. }
            | What::Withdraw { .. } => &[],
        }
    }

    /// The names of its payment.
    pub fn external_ids(&self) -> &[String] {
        match &self.what {
            What::Credit { external_ids, .. }
            | What::Reverse { external_ids, .. }
            | What::Withdraw { external_ids, .. } => external_ids,
            What::Charge { .. }
            | What::Refund { .. }
            | What::AdminCredit { .. }
            | What::Reserve { .. }
            | What::Capture { .. }
            | What::Release { .. }
            | What::Extend { .. }
            | What::SetAccount(_) => &[],
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
            What::Charge { policy, legs, .. } => {
                fields.insert("shortfall_policy", (*policy).to_owned());
                fields.insert("legs", format!("{legs:?}"));
            }
            What::Refund { of, legs, .. } => {
                fields.insert("legs", format!("{legs:?}"));
                let names = ["charge_sequence", "charge_idempotency_key", "charge_external_id"];
                fields.extend([of.field(names)]);
            }
            What::AdminCredit { actor, reason, withdrawable, .. } => {
                fields.insert("actor", actor.clone());
                fields.insert("reason", reason.clone());
                fields.insert("withdrawable", withdrawable.to_string());
            }
            What::Reverse { of, external_ids, reason, policy, .. } => {
                let names = ["credit_sequence", "credit_idempotency_key", "credit_external_id"];
                fields.extend([of.field(names)]);
                fields.insert("external_ids", external_ids.join(" "));
                fields.insert("reason", reason.clone().unwrap_or_default());
                fields.insert("shortfall_policy", (*policy).to_owned());
            }
            What::Withdraw { external_ids, .. } => {
                fields.insert("external_ids", external_ids.join(" "));
            }
            What::Reserve { ttl, expiry, .. } => {
                fields.extend(ttl.map(|ttl| ("ttl", ttl.to_string())));
                fields.insert("expiry_policy", (*expiry).to_owned());
            }
            What::Capture { reservation_id, policy, keep_open, legs, .. } => {
                fields.insert("legs", format!("{legs:?}"));
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
    /// Whether it names an entry, a reservation or an account, which may not be there.
    pub fn names_another(&self) -> bool {
        match self {
            Self::Refund { .. }
            | Self::Capture { .. }
            | Self::Release { .. }
            | Self::Extend { .. }
            | Self::SetAccount(_)
            | Self::Reverse { .. } => true,
            Self::Credit { .. }
            | Self::Charge { .. }
            | Self::AdminCredit { .. }
            | Self::Reserve { .. }
            | Self::Withdraw { .. } => false,
        }
    }
}

impl Of {
    /// The field that it stands in, by the names of all.
    fn field(&self, [sequence, key, external_id]: [&'static str; 3]) -> (&'static str, String) {
        match self {
            Self::Sequence(number) => (sequence, number.to_string()),
            Self::Key(text) => (key, text.clone()),
            Self::ExternalId(text) => (external_id, text.clone()),
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
            let entry = model.next_entry(&row.account, time, row.entry_type, (row.amount, 0, 0));
            model.events.push(Event::Imported(entry.expect("an imported balance fits")));
        }
        model
    }

    /// Answers a call that comes at a time, and remembers that it did. Whatever is asked, what has run out by then is
    /// written down first.
    pub fn call(&mut self, now: i64, call: &Call) -> Answer {
        for account in self.accounts_of(call) {
            self.lapse(&account, now);
        }
        let answer = self.verdict(now, call);
        self.remember(call, &answer);
        answer
    }

    /// Remembers that a call was answered so.
    pub fn remember(&mut self, call: &Call, answer: &Answer) {
        self.events.push(Event::Answered(call.clone(), answer.clone()));
    }

    /// Learns of an entry of an account that is not told of here.
    pub fn give(&mut self, entry: &Entry) {
        self.events.push(Event::Given(entry.clone()));
    }

    /// Writes down a leg of an operation on an account that is not told of here, or what that takes back of one: the amount is
    /// the operation's, all else follows from this account. Writes nothing where it cannot be.
    pub fn receive(&mut self, leg: &Entry) {
        self.lapse(&leg.account, leg.create_time);
        if let Some(entry) = self.received(leg) {
            self.give(&entry);
        }
    }

    fn received(&self, leg: &Entry) -> Option<Entry> {
        let Entry { account, entry_type, amount, uncollected, .. } = leg;
        let part = match leg.reversed_sequence {
            Some(sequence) => {
                self.taken(account, sequence, i128::from(*uncollected) - i128::from(*amount))?
            }
            None if self.is_closed(account) || *amount <= 0 => return None,
            None => Part::paid(account, entry_type, *amount),
        };
        let mut entry = self.part_entry(&part, leg.create_time)?;
        entry.key.clone_from(&leg.key);
        entry.source.clone_from(&leg.source);
        Some(entry)
    }

    /// The accounts that a call may move money in, its own first.
    pub fn accounts_of(&self, call: &Call) -> Vec<String> {
        let mut accounts = vec![call.account.clone()];
        accounts.extend(call.legs().iter().map(|leg| leg.account.clone()));
        if let What::Refund { of, legs: Some("TAKE_BACK"), .. } = &call.what
            && let Some(debit) = self.named(&call.account, of)
        {
            let paid = debit.legs.iter().filter(|(_, sequence, _)| *sequence > 0);
            accounts.extend(paid.map(|(account, ..)| account.clone()));
        }
        accounts
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
        let (mut posted, mut held, mut withdrawable) = (0, 0, 0);
        for entry in &entries {
            posted += i128::from(entry.amount);
            withdrawable += i128::from(entry.withdrawable_delta);
        }
        for reservation in reservations_of(&entries) {
            if reservation.is_lapsed(time) {
                posted -= i128::from(reservation.charge_on_expiry());
            }
            held += i128::from(reservation.at(time).status.held);
        }
        let withdrawable = withdrawable.min(posted - held).max(0);
        let settings = settings_of(&entries);
        let (create_time, update_time) = (first.create_time, last.create_time);
        let last_sequence = last.sequence;
        Some(Account { posted, held, withdrawable, last_sequence, create_time, update_time, settings })
    }

    /// What happened in an account from a time on and before another, as it is known at a third.
    pub fn statement(&self, account: &str, (from, until): (i64, i64), now: i64) -> Statement {
        let mut model = self.clone();
        model.lapse(account, now);
        let balance = |time: i64| {
            let at = self.account_at(account, time.min(now));
            at.map_or((0, 0, 0), |account| (account.posted, account.held, account.withdrawable))
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

    /// The entry of a payment: that of the first operation which named it, if any.
    pub fn payment(&self, external_id: &str) -> Option<&Entry> {
        self.events.iter().find_map(|event| match event {
            Event::Answered(call, Answer::Applied { entry, .. })
                if call.external_ids().iter().any(|id| id == external_id) =>
            {
                Some(entry)
            }
            Event::Named(name, entry) if name == external_id => Some(entry),
            Event::Answered(..)
            | Event::Imported(_)
            | Event::Expired(_)
            | Event::Given(_)
            | Event::Named(..) => None,
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
        let (undone, _) = self.undone(entry);
        let id = entry.reservation.as_ref().map(|after| &after.reservation_id);
        let reservation =
            reservations_of(&entries).into_iter().find(|found| Some(&found.reservation_id) == id);
        Since { read_time: time, undone, reservation: reservation.map(|found| found.at(time)) }
    }

    /// What was undone of an entry so far, and how much of what may leave that gave back, or took: of a debit by its refunds,
    /// of a credit by its reversals, less what their refunds brought back.
    fn undone(&self, undone: &Entry) -> (i128, i128) {
        let (mut amount, mut withdrawable) = (0, 0);
        for entry in self.entries(&undone.account) {
            let sign = if entry.refunded_sequence == Some(undone.sequence) {
                1
            } else if entry.reversed_sequence == Some(undone.sequence) {
                -1
            } else {
                continue;
            };
            amount += sign * i128::from(entry.amount);
            withdrawable += sign * i128::from(entry.withdrawable_delta);
        }
        (amount, withdrawable)
    }

    /// What undoing so much more of an entry gives back of what may leave, or takes: first the part that it took or gave.
    fn withdrawable_slice(&self, undone: &Entry, amount: i64) -> i64 {
        let (before, moved) = self.undone(undone);
        let own = i128::from(undone.withdrawable_delta).abs();
        let slice = own.min(before + i128::from(amount)) - moved;
        i64::try_from(slice.max(0)).expect("a part of what the entry moved")
    }

    /// The entry of an account with a name.
    fn named(&self, account: &str, of: &Of) -> Option<&Entry> {
        match of {
            Of::Sequence(sequence) => {
                self.entries(account).into_iter().find(|entry| entry.sequence == *sequence)
            }
            Of::Key(key) => match self.operation(account, key) {
                Some(Answer::Applied { entry, .. }) => Some(entry),
                Some(_) => None,
                None => self.entries(account).into_iter().find(|entry| entry.key.as_ref() == Some(key)),
            },
            Of::ExternalId(id) => self.payment(id).filter(|entry| entry.account == account),
        }
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
            Event::Answered(..)
            | Event::Imported(_)
            | Event::Expired(_)
            | Event::Given(_)
            | Event::Named(..) => None,
        })
    }

    /// The entries of all accounts, in the order in which they were written.
    fn journal(&self) -> Vec<&Entry> {
        let mut journal = Vec::new();
        for event in &self.events {
            match event {
                Event::Imported(entry) | Event::Expired(entry) | Event::Given(entry) => journal.push(entry),
                Event::Answered(_, Answer::Applied { entry, since: None, leg_entries }) => {
                    journal.push(entry);
                    journal.extend(leg_entries);
                }
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

    /// The part of what is posted that may leave.
    fn withdrawable(&self, account: &str) -> i128 {
        self.entries(account).iter().map(|entry| i128::from(entry.withdrawable_delta)).sum()
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
        let mut entry = self.next_entry(account, time, entry_type, (-charge, -first.status.held, 0))?;
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
            What::Charge { amount, policy, legs } => self.charge(asked, *amount, policy, legs),
            What::Refund { amount, of, legs } => self.refund(asked, *amount, of, *legs),
            What::AdminCredit { amount, actor, reason, withdrawable } => {
                self.admin_credit(asked, *amount, (actor, reason), *withdrawable)
            }
            What::Reserve { amount, ttl, expiry } => self.reserve(asked, *amount, *ttl, expiry),
            What::Capture { reservation_id, amount, policy, keep_open, legs } => {
                self.of_reservation(asked, reservation_id, |reservation| {
                    self.capture(asked, reservation, *amount, policy, (*keep_open, legs))
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
            What::Reverse { amount, of, reason, policy, .. } => {
                self.reverse(asked, *amount, of, reason.as_ref(), policy)
            }
            What::Withdraw { amount, .. } => self.withdraw(asked, *amount),
        }
    }

    /// An answer that was given before, as it is given again.
    fn again(&self, answer: &Answer, asked: Asked) -> Answer {
        match answer {
            Answer::Applied { entry, leg_entries, .. } => Answer::Applied {
                entry: entry.clone(),
                since: Some(self.since(entry, asked.now)),
                leg_entries: leg_entries.clone(),
            },
            Answer::Refused { .. }
            | Answer::Declined { .. }
            | Answer::KeyReused { .. }
            | Answer::NotFound { .. }
            | Answer::Invalid { .. } => answer.clone(),
        }
    }

    fn is_closed(&self, account: &str) -> bool {
        settings_of(&self.entries(account)).state == "CLOSED"
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

    /// The answer to another delivery of a payment, or the refusal of a name that is known otherwise.
    fn paid_before(&self, asked: Asked, entry_type: &str, reversed: Option<i64>) -> Option<Answer> {
        let call = asked.call;
        let mut paid: Option<&Entry> = None;
        for external_id in call.external_ids() {
            let Some(known) = self.payment(external_id) else { continue };
            let conflict = if known.account != call.account {
                "account_id"
            } else if paid.is_some_and(|paid| paid != known) {
                "external_ids"
            } else if known.entry_type != entry_type
                && !(is_credit(known.entry_type) && is_credit(entry_type))
            {
                "method"
            } else if known.reversed_sequence != reversed {
                "credit"
            } else if known.amount.abs() + known.uncollected != call.amount() {
                "amount_micro_usd"
            } else {
                paid = Some(known);
                continue;
            };
            let metadata = [("external_id", external_id.clone()), ("conflict", conflict.to_owned())];
            return Some(Answer::refused("EXTERNAL_ID_CONFLICT", asked, &metadata));
        }
        let entry = paid?;
        let since = Some(self.since(entry, asked.now));
        Some(Answer::Applied { entry: entry.clone(), since, leg_entries: Vec::new() })
    }

    fn credit(&self, asked: Asked, amount: i64, kind: &'static str, external_ids: &[String]) -> Answer {
        if let Some(answer) = self.paid_before(asked, kind, None) {
            return answer;
        }
        if let Some(forbidden) = self.forbidden(asked, true) {
            return forbidden;
        }
        let may_leave = matches!(kind, "EARNING" | "REFERRAL_REWARD");
        self.post(asked, kind, (amount, if may_leave { amount } else { 0 }), |entry| {
            entry.external_ids = external_ids.to_vec();
        })
    }

    fn withdraw(&self, asked: Asked, amount: i64) -> Answer {
        if let Some(answer) = self.paid_before(asked, "WITHDRAWAL", None) {
            return answer;
        }
        if let Some(forbidden) = self.forbidden(asked, false) {
            return forbidden;
        }
        let account = &asked.call.account;
        let withdrawable = self.withdrawable(account).min(self.available(account)).max(0);
        if i128::from(amount) > withdrawable {
            let metadata = [("withdrawable_micro_usd", withdrawable.to_string())];
            return Answer::refused("NOT_WITHDRAWABLE", asked, &metadata);
        }
        self.post(asked, "WITHDRAWAL", (-amount, -amount), |entry| {
            entry.external_ids = asked.call.external_ids().to_vec();
        })
    }

    fn reverse(&self, asked: Asked, amount: i64, of: &Of, reason: Option<&String>, policy: &str) -> Answer {
        let account = &asked.call.account;
        let Some(credit) = self.named(account, of) else {
            return Answer::NotFound { reason: "CREDIT_NOT_FOUND" };
        };
        if let Some(answer) = self.paid_before(asked, "REVERSAL", Some(credit.sequence)) {
            return answer;
        }
        if !is_credit(credit.entry_type) {
            return Answer::refused("NOT_REVERSIBLE", asked, &[("entry_type", credit.entry_type.to_owned())]);
        }
        let (undone, _) = self.undone(credit);
        let reversible = (i128::from(credit.amount) - undone).max(0);
        if i128::from(amount) > reversible {
            let metadata = [("reversible_micro_usd", reversible.to_string())];
            return Answer::refused("REVERSAL_EXCEEDS_CREDIT", asked, &metadata);
        }
        let available = self.available(account);
        let collected = match policy {
            _ if i128::from(amount) <= available => amount,
            "COLLECT_AVAILABLE" => i64::try_from(available.max(0)).expect("less than the amount"),
            "ALLOW_DEBT" => amount,
            _ => return self.insufficient(asked, amount),
        };
        let slice = self.withdrawable_slice(credit, collected);
        self.post(asked, "REVERSAL", (-collected, -slice), |entry| {
            entry.external_ids = asked.call.external_ids().to_vec();
            entry.reason = reason.cloned();
            entry.uncollected = amount - collected;
            entry.reversed_sequence = Some(credit.sequence);
        })
    }

    fn charge(&self, asked: Asked, amount: i64, policy: &str, legs: &[Leg]) -> Answer {
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
        let posted =
            self.post(asked, "CHARGE", (-collected, 0), |entry| entry.uncollected = amount - collected);
        self.with_legs(asked, posted, legs, self.funded(account, collected))
    }

    /// How much of what is taken is paid by what is available.
    fn funded(&self, account: &str, taken: i64) -> i64 {
        i64::try_from(self.available(account).max(0)).unwrap_or(i64::MAX).min(taken)
    }

    /// The same answer with legs, which share what is funded in their order.
    fn with_legs(&self, asked: Asked, posted: Answer, legs: &[Leg], funded: i64) -> Answer {
        let mut left = funded;
        let mut parts = Vec::new();
        for leg in legs {
            if self.is_closed(&leg.account) {
                let metadata = [("payee_account_id", leg.account.clone())];
                return Answer::refused("ACCOUNT_CLOSED", asked, &metadata);
            }
            let paid = leg.amount.min(left);
            left -= paid;
            let part = Part::paid(&leg.account, leg.kind, paid);
            parts.push(if paid > 0 { Ok(part) } else { Err(&leg.account) });
        }
        self.with_parts(asked, posted, &parts, if legs.is_empty() { 0 } else { funded })
    }

    /// The same answer with what is moved in other accounts.
    fn with_parts(
        &self,
        asked: Asked,
        posted: Answer,
        parts: &[Result<Part, &String>],
        funded: i64,
    ) -> Answer {
        let Answer::Applied { mut entry, since, mut leg_entries } = posted else { return posted };
        let source = (entry.account.clone(), entry.sequence);
        for (n, part) in parts.iter().enumerate() {
            let part = match part {
                Ok(part) => part,
                Err(account) => {
                    entry.legs.push(((*account).clone(), 0, 0));
                    continue;
                }
            };
            let Some(mut of_payee) = self.part_entry(part, asked.now) else {
                return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
            };
            of_payee.key = Some(format!("billing/leg/{}/{}/{}", source.1, n + 1, source.0));
            of_payee.source = Some(source.clone());
            entry.legs.push((part.account.to_owned(), of_payee.sequence, of_payee.amount));
            leg_entries.push(of_payee);
        }
        entry.funded = funded;
        Answer::Applied { entry, since, leg_entries }
    }

    /// The entry that an operation which is judged at a time leaves in the account of another.
    fn part_entry(&self, part: &Part, now: i64) -> Option<Entry> {
        let Part { account, entry_type, moved: (amount, own), reversed, uncollected } = *part;
        let time = self.time_in(account, now);
        let mut entry = self.next_entry(account, time, entry_type, (amount, 0, own))?;
        entry.reversed_sequence = reversed;
        entry.uncollected = uncollected;
        Some(entry)
    }

    fn refund(&self, asked: Asked, amount: i64, of: &Of, legs: Option<&str>) -> Answer {
        let account = &asked.call.account;
        let Some(debit) = self.named(account, of) else {
            return Answer::NotFound { reason: "CHARGE_NOT_FOUND" };
        };
        let is_take_back = debit.entry_type == "REVERSAL" && debit.source.is_some();
        if is_take_back || !matches!(debit.entry_type, "CHARGE" | "CAPTURE" | "WITHDRAWAL" | "REVERSAL") {
            return Answer::refused("NOT_REFUNDABLE", asked, &[("entry_type", debit.entry_type.to_owned())]);
        }
        let (undone, _) = self.undone(debit);
        let refundable = (-i128::from(debit.amount) - undone).max(0);
        if i128::from(amount) > refundable {
            let metadata = [("refundable_micro_usd", refundable.to_string())];
            return Answer::refused("REFUND_EXCEEDS_CHARGE", asked, &metadata);
        }
        if legs.is_none() && !debit.legs.is_empty() {
            return Answer::Invalid { field: "legs" };
        }
        let slice = self.withdrawable_slice(debit, amount);
        let posted = self.post(asked, "REFUND", (amount, slice), |entry| {
            entry.refunded_sequence = Some(debit.sequence);
            entry.reversed_sequence = debit.reversed_sequence;
        });
        if legs != Some("TAKE_BACK") {
            return posted;
        }
        let parts: Vec<_> =
            debit.legs.iter().map(|leg| self.taken_back(debit, leg, (undone, amount))).collect();
        self.with_parts(asked, posted, &parts, 0)
    }

    /// What the refund of so much of a debit, of which so much was refunded before, takes back of one of its legs.
    fn taken_back<'a>(
        &self,
        debit: &Entry,
        (account, sequence, paid): &'a (String, i64, i64),
        (before, amount): (i128, i64),
    ) -> Result<Part<'a>, &'a String> {
        let up_to = |refunded: i128| i128::from(*paid) * refunded / -i128::from(debit.amount);
        let part = up_to(before + i128::from(amount)) - up_to(before);
        self.taken(account, *sequence, part).ok_or(account)
    }

    /// What is taken of so much of what a leg paid: at most what is left of it, and as far as the payee has it.
    fn taken<'a>(&self, account: &'a str, sequence: i64, part: i128) -> Option<Part<'a>> {
        let credit = self.named(account, &Of::Sequence(sequence))?;
        let left = i128::from(credit.amount) - self.undone(credit).0;
        let wanted = i64::try_from(part.min(left)).expect("a part of what was paid");
        if wanted == 0 {
            return None;
        }
        let collected = self.funded(account, wanted);
        let slice = self.withdrawable_slice(credit, collected);
        Some(Part {
            account,
            entry_type: "REVERSAL",
            moved: (-collected, -slice),
            reversed: Some(sequence),
            uncollected: wanted - collected,
        })
    }

    fn admin_credit(
        &self,
        asked: Asked,
        amount: i64,
        (actor, reason): (&str, &str),
        may_leave: bool,
    ) -> Answer {
        let limit = self.limits.admin_credit_max;
        if amount > limit {
            let metadata = figures(asked, &[("limit_micro_usd", limit.to_string())]);
            return Answer::Declined { reason: "ADMIN_CREDIT_LIMIT", metadata };
        }
        if let Some(forbidden) = self.forbidden(asked, true) {
            return forbidden;
        }
        self.post(asked, "ADMIN_CREDIT", (amount, if may_leave { amount } else { 0 }), |entry| {
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
        self.post(asked, "ACCOUNT_CHANGE", (amount, 0), |entry| {
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
        (keep_open, legs): (bool, &[Leg]),
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
        let posted = self.post_move(asked, "CAPTURE", moved, after, excess - collected);
        let funded = from_hold + self.funded(&asked.call.account, collected);
        self.with_legs(asked, posted, legs, funded)
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

    /// An entry that moves so much of posted, and its own part of what may leave.
    fn post(
        &self,
        asked: Asked,
        entry_type: &'static str,
        (amount, own): (i64, i64),
        add: impl FnOnce(&mut Entry),
    ) -> Answer {
        let moved = (amount, 0, own);
        let Some(mut entry) = self.next_entry(&asked.call.account, asked.time, entry_type, moved) else {
            return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
        };
        entry.name_after(asked.call);
        add(&mut entry);
        Answer::Applied { entry, since: None, leg_entries: Vec::new() }
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
        let moved = (amount, held_delta, 0);
        let Some(mut entry) = self.next_entry(account, asked.time, entry_type, moved) else {
            return Answer::refused("BALANCE_OVERFLOW", asked, &[]);
        };
        entry.name_after(asked.call);
        entry.reservation = Some(after);
        entry.uncollected = uncollected;
        Answer::Applied { entry, since: None, leg_entries: Vec::new() }
    }

    /// An account's next entry, which moves so much of posted, of held, and its own part of what may leave. Other money is
    /// spent before what may leave. `None` where the balance would leave int64.
    fn next_entry(
        &self,
        account: &str,
        create_time: i64,
        entry_type: &'static str,
        (amount, held_delta, own): (i64, i64, i64),
    ) -> Option<Entry> {
        let last_sequence = i64::try_from(self.entries(account).len()).ok()?;
        let posted_after = i64::try_from(self.posted(account) + i128::from(amount)).ok()?;
        let held_after = i64::try_from(self.held(account) + i128::from(held_delta)).ok()?;
        posted_after.checked_sub(held_after)?;
        let withdrawable = self.withdrawable(account);
        let left = (withdrawable + i128::from(own)).min(posted_after.into()).max(0);
        let withdrawable_after = i64::try_from(left).ok()?;
        let withdrawable_delta = i64::try_from(left - withdrawable).ok()?;
        Some(Entry {
            account: account.to_owned(),
            sequence: last_sequence + 1,
            entry_type,
            amount,
            held_delta,
            withdrawable_delta,
            posted_after,
            held_after,
            withdrawable_after,
            key: None,
            external_ids: Vec::new(),
            reference: String::new(),
            metadata: Metadata::new(),
            actor: None,
            reason: None,
            reservation: None,
            uncollected: 0,
            refunded_sequence: None,
            reversed_sequence: None,
            legs: Vec::new(),
            funded: 0,
            source: None,
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

/// Whether a reversal takes back entries of this type.
fn is_credit(entry_type: &str) -> bool {
    let kinds =
        ["DEPOSIT", "STRIPE_DEPOSIT", "EARNING", "REFERRAL_REWARD", "INVITE_CREDIT", "ADMIN_CREDIT", "FEE"];
    kinds.contains(&entry_type)
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
