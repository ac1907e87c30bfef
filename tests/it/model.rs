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
        /// When it expires, if it does.
        expire: Option<i64>,
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
        expire: Option<i64>,
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
    /// Whether what grants pay of it may leave, too.
    pub grants_withdrawable: bool,
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
    /// When the credit expires.
    pub expire: Option<i64>,
    pub moves: Moves,
    /// What is available right after it and expires.
    pub granted_after: i64,
    /// What the next entry takes off, because it came back too late.
    pub lapsed: i64,
}

/// Parts of grants: their sequences, and how much of each.
pub type Shares = Vec<(i64, i64)>;

/// What an entry does to the grants of its account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    pub draws: Shares,
    pub unwinds: Shares,
    pub converted: Shares,
    pub lapses: Shares,
    pub pins: Shares,
}

/// A grant, as it stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub sequence: i64,
    pub amount: i64,
    pub remaining: i64,
    pub pinned: i64,
    pub lapsed: i64,
    pub reversed: i64,
    pub expire: i64,
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
    /// What it holds of grants.
    pub pins: Shares,
    pub close_sequence: Option<i64>,
}

/// An account, as it stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub posted: i128,
    pub held: i128,
    /// What a Withdraw would take.
    pub withdrawable: i128,
    /// What is available and expires.
    pub granted: i128,
    pub last_sequence: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub settings: Settings,
}

/// A balance: what is posted, what is held, what a Withdraw would take, and what expires.
pub type Balance = (i128, i128, i128, i128);

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

/// What an entry means to the grants of its account.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
enum Touch {
    Nothing,
    /// It is a grant until then.
    Opens(i64),
    /// So much is spent.
    Spends(i64),
    /// So much is held.
    Holds(i64),
    /// So much is taken of what this reservation holds, and so much beyond; the rest stays held, or does not.
    Takes {
        of: Reservation,
        held: i64,
        beyond: i64,
        keeps: bool,
    },
    /// So much of a debit comes back, of which so much came back before.
    BringsBack {
        debit: Box<Entry>,
        before: i64,
        amount: i64,
    },
    /// So much of a credit is taken back.
    Reverses {
        credit: i64,
        amount: i64,
    },
    /// What has run out and is held by nobody ends.
    Ends,
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
    /// What a leg pays, of which so much is earned.
    fn paid(account: &'a str, entry_type: &'static str, amount: i64, earned: i64) -> Self {
        let may_leave = if entry_type == "FEE" { 0 } else { earned };
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
            What::Credit { kind, external_ids, expire, .. } => {
                fields.extend(expire.map(|expire| ("expire_time", expire.to_string())));
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
            What::AdminCredit { actor, reason, withdrawable, expire, .. } => {
                fields.extend(expire.map(|expire| ("expire_time", expire.to_string())));
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
            self.pins.clear();
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
            let moved = (row.amount, 0, 0);
            let entry = model.next_entry(&row.account, time, row.entry_type, moved, &Touch::Nothing);
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
        if let Answer::Applied { entry, since: None, .. } = answer
            && entry.lapsed > 0
        {
            let end = self.end_of_grants(&entry.account, (entry.create_time, entry.effective_time));
            self.events.push(Event::Expired(end));
        }
    }

    /// Learns of an entry of an account that is not told of here.
    pub fn give(&mut self, entry: &Entry) {
        self.events.push(Event::Given(entry.clone()));
    }

    /// Writes down a leg of an operation on an account that is not told of here, or what that takes back of one: the amount,
    /// and how much of it is earned, are the operation's, all else follows from this account. Writes nothing where it cannot
    /// be.
    pub fn receive(&mut self, leg: &Entry, earned: i64) {
        self.lapse(&leg.account, leg.create_time);
        if let Some(entry) = self.received(leg, earned) {
            self.give(&entry);
        }
    }

    fn received(&self, leg: &Entry, earned: i64) -> Option<Entry> {
        let Entry { account, entry_type, amount, uncollected, .. } = leg;
        let part = match leg.reversed_sequence {
            Some(sequence) => {
                self.taken(account, sequence, i128::from(*uncollected) - i128::from(*amount))?
            }
            None if self.is_closed(account) || *amount <= 0 => return None,
            None => Part::paid(account, entry_type, *amount, earned),
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
            let (times, lapsed) = ((entry.create_time, entry.effective_time), entry.lapsed);
            self.events.push(Event::Expired(entry));
            if lapsed > 0 {
                let end = self.end_of_grants(account, times);
                self.events.push(Event::Expired(end));
            }
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
        let events = entries.iter().map(|entry| Event::Given((*entry).clone())).collect();
        let mut then = Self { limits: self.limits, events };
        then.lapse(account, time);
        let (posted, held, granted) = (then.posted(account), then.held(account), then.granted(account));
        let withdrawable = then.may_leave(account);
        let settings = settings_of(&entries);
        let (create_time, update_time) = (first.create_time, last.create_time);
        let last_sequence = last.sequence;
        Some(Account {
            posted,
            held,
            withdrawable,
            granted,
            last_sequence,
            create_time,
            update_time,
            settings,
        })
    }

    /// What happened in an account from a time on and before another, as it is known at a third.
    pub fn statement(&self, account: &str, (from, until): (i64, i64), now: i64) -> Statement {
        let mut model = self.clone();
        model.lapse(account, now);
        let balance = |time: i64| {
            let at = self.account_at(account, time.min(now));
            at.map_or((0, 0, 0, 0), |account| {
                (account.posted, account.held, account.withdrawable, account.granted)
            })
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

    /// What is available and expires, where all that has run out is written down.
    fn granted(&self, account: &str) -> i128 {
        let running = self.grants(account).into_iter().filter(|grant| grant.expire > self.newest(account));
        running.map(|grant| i128::from(grant.free())).sum()
    }

    /// When the newest entry of an account took effect.
    fn newest(&self, account: &str) -> i64 {
        self.entries(account).last().map_or(i64::MIN, |last| last.effective_time)
    }

    /// What a Withdraw would take.
    fn may_leave(&self, account: &str) -> i128 {
        self.withdrawable(account).min(self.available(account) - self.granted(account)).max(0)
    }

    /// An account's grants, in the order in which they are spent.
    pub fn grants(&self, account: &str) -> Vec<Grant> {
        grants_of(&self.entries(account))
    }

    /// What has lapsed of a credit.
    fn lapsed_of(&self, account: &str, sequence: i64) -> i128 {
        let grants = self.grants(account);
        let grant = grants.iter().find(|grant| grant.sequence == sequence);
        grant.map_or(0, |grant| grant.lapsed.into())
    }

    /// The entry that ends what has run out of grants by a time and is held by nobody.
    fn end_of_grants(&self, account: &str, (create_time, effective_time): (i64, i64)) -> Entry {
        let over = self.grants(account).into_iter().filter(|grant| grant.expire <= effective_time);
        let amount: i64 = over.map(|grant| grant.free()).sum();
        let touch = Touch::Ends;
        let entry =
            self.entry_at(account, (create_time, effective_time), "GRANT_EXPIRE", (-amount, 0, 0), &touch);
        let mut entry = entry.expect("less is posted than before");
        entry.key = Some(format!("billing/lapse/{}", entry.sequence));
        entry
    }

    fn reservation(&self, call: &Call, reservation_id: &str) -> Option<Reservation> {
        let reservations = reservations_of(&self.entries(&call.account));
        reservations.into_iter().find(|reservation| reservation.reservation_id == reservation_id)
    }

    /// The entry that writes down the first lease which has run out, or the first grants, which come first.
    fn next_expiry(&self, account: &str, time: i64) -> Option<Entry> {
        let lapsed = reservations_of(&self.entries(account)).into_iter().filter(|open| open.is_lapsed(time));
        let first = lapsed.min_by_key(|open| (open.status.expire_time, open.sequence));
        let free = self.grants(account).into_iter().filter(|grant| grant.free() > 0);
        let end = free.map(|grant| grant.expire).filter(|expire| *expire <= time).min();
        if let Some(end) = end
            && first.as_ref().is_none_or(|first| end <= first.status.expire_time)
        {
            return Some(self.end_of_grants(account, (time, end)));
        }
        let first = first?;
        let charge = first.charge_on_expiry();
        let entry_type = if charge > 0 { "CAPTURE" } else { "EXPIRE" };
        let touch = Touch::Takes { of: first.clone(), held: charge, beyond: 0, keeps: false };
        let moved = (-charge, -first.status.held, 0);
        let times = (time, first.status.expire_time);
        let mut entry = self.entry_at(account, times, entry_type, moved, &touch)?;
        entry.key = Some(format!("billing/expire/{}", first.reservation_id));
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
            What::Credit { amount, kind, external_ids, expire } => {
                self.credit(asked, *amount, kind, (external_ids, *expire))
            }
            What::Charge { amount, policy, legs } => self.charge(asked, *amount, policy, legs),
            What::Refund { amount, of, legs } => self.refund(asked, *amount, of, *legs),
            What::AdminCredit { amount, actor, reason, withdrawable, expire } => {
                self.admin_credit(asked, *amount, (actor, reason), (*withdrawable, *expire))
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

    fn credit(
        &self,
        asked: Asked,
        amount: i64,
        kind: &'static str,
        (external_ids, expire): (&[String], Option<i64>),
    ) -> Answer {
        if let Some(answer) = self.paid_before(asked, kind, None) {
            return answer;
        }
        if let Some(forbidden) = self.forbidden(asked, true).or_else(|| self.no_grant(asked, expire)) {
            return forbidden;
        }
        let may_leave = expire.is_none() && matches!(kind, "EARNING" | "REFERRAL_REWARD");
        let own = if may_leave { amount } else { 0 };
        self.post(asked, kind, (amount, own), &opening(expire), |entry| {
            entry.external_ids = external_ids.to_vec();
        })
    }

    /// The refusal of a credit which expires, if it cannot be given.
    fn no_grant(&self, asked: Asked, expire: Option<i64>) -> Option<Answer> {
        if expire? <= asked.time {
            return Some(Answer::refused("GRANT_EXPIRED", asked, &[]));
        }
        let grants = self.grants(&asked.call.account);
        let ahead = grants.iter().filter(|grant| grant.expire > asked.time).count();
        (ahead >= 64).then(|| Answer::refused("TOO_MANY_GRANTS", asked, &[("limit", "64".to_owned())]))
    }

    fn withdraw(&self, asked: Asked, amount: i64) -> Answer {
        if let Some(answer) = self.paid_before(asked, "WITHDRAWAL", None) {
            return answer;
        }
        if let Some(forbidden) = self.forbidden(asked, false) {
            return forbidden;
        }
        let account = &asked.call.account;
        let withdrawable = self.may_leave(account);
        if i128::from(amount) > withdrawable {
            let metadata = [("withdrawable_micro_usd", withdrawable.to_string())];
            return Answer::refused("NOT_WITHDRAWABLE", asked, &metadata);
        }
        self.post(asked, "WITHDRAWAL", (-amount, -amount), &Touch::Nothing, |entry| {
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
        let lapsed = self.lapsed_of(account, credit.sequence);
        let reversible = (i128::from(credit.amount) - undone - lapsed).max(0);
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
        let touch = Touch::Reverses { credit: credit.sequence, amount: collected };
        self.post(asked, "REVERSAL", (-collected, -slice), &touch, |entry| {
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
        let touch = Touch::Spends(collected);
        let posted = self
            .post(asked, "CHARGE", (-collected, 0), &touch, |entry| entry.uncollected = amount - collected);
        self.with_legs(asked, posted, legs, self.funded(account, collected))
    }

    /// How much of what is taken is paid by what is available.
    fn funded(&self, account: &str, taken: i64) -> i64 {
        i64::try_from(self.available(account).max(0)).unwrap_or(i64::MAX).min(taken)
    }

    /// The same answer with legs, which share what is funded in their order.
    fn with_legs(&self, asked: Asked, posted: Answer, legs: &[Leg], funded: i64) -> Answer {
        let Answer::Applied { entry, .. } = &posted else { return posted };
        let by_grants: i64 = entry.moves.draws.iter().map(|(_, amount)| amount).sum();
        let mut left = funded;
        let mut parts = Vec::new();
        for leg in legs {
            if self.is_closed(&leg.account) {
                let metadata = [("payee_account_id", leg.account.clone())];
                return Answer::refused("ACCOUNT_CLOSED", asked, &metadata);
            }
            let paid = leg.amount.min(left);
            // What is left for grants to pay are the last so much of what is funded.
            let by_other = (left - by_grants).clamp(0, paid);
            left -= paid;
            let earned = if leg.grants_withdrawable { paid } else { by_other };
            let part = Part::paid(&leg.account, leg.kind, paid, earned);
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
        let touch = match reversed {
            Some(credit) => Touch::Reverses { credit, amount: -amount },
            None => Touch::Nothing,
        };
        let mut entry = self.next_entry(account, time, entry_type, (amount, 0, own), &touch)?;
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
        let before = i64::try_from(undone).expect("a part of what was taken");
        let touch = Touch::BringsBack { debit: Box::new(debit.clone()), before, amount };
        let posted = self.post(asked, "REFUND", (amount, slice), &touch, |entry| {
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
        (may_leave, expire): (bool, Option<i64>),
    ) -> Answer {
        let limit = self.limits.admin_credit_max;
        if amount > limit {
            let metadata = figures(asked, &[("limit_micro_usd", limit.to_string())]);
            return Answer::Declined { reason: "ADMIN_CREDIT_LIMIT", metadata };
        }
        if let Some(forbidden) = self.forbidden(asked, true).or_else(|| self.no_grant(asked, expire)) {
            return forbidden;
        }
        let own = if may_leave { amount } else { 0 };
        self.post(asked, "ADMIN_CREDIT", (amount, own), &opening(expire), |entry| {
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
        self.post(asked, "ACCOUNT_CHANGE", (amount, 0), &Touch::Nothing, |entry| {
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
        self.post_move(asked, "RESERVE", (0, amount), &Touch::Holds(amount), after, 0)
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
        let of = reservation.clone();
        let touch = Touch::Takes { of, held: from_hold, beyond: collected, keeps: keep_open };
        let posted = self.post_move(asked, "CAPTURE", moved, &touch, after, excess - collected);
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
        let touch = Touch::Takes { of: reservation.clone(), held: 0, beyond: 0, keeps: false };
        self.post_move(asked, "RELEASE", (0, -held), &touch, after, 0)
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
        self.post_move(asked, "EXTEND", (0, additional), &Touch::Holds(additional), after, 0)
    }

    /// An entry that moves so much of posted, and its own part of what may leave.
    fn post(
        &self,
        asked: Asked,
        entry_type: &'static str,
        (amount, own): (i64, i64),
        touch: &Touch,
        add: impl FnOnce(&mut Entry),
    ) -> Answer {
        let (account, moved) = (&asked.call.account, (amount, 0, own));
        let Some(mut entry) = self.next_entry(account, asked.time, entry_type, moved, touch) else {
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
        touch: &Touch,
        after: After,
        uncollected: i64,
    ) -> Answer {
        let account = &asked.call.account;
        let moved = (amount, held_delta, 0);
        let Some(mut entry) = self.next_entry(account, asked.time, entry_type, moved, touch) else {
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
        moved: (i64, i64, i64),
        touch: &Touch,
    ) -> Option<Entry> {
        self.entry_at(account, (create_time, create_time), entry_type, moved, touch)
    }

    /// The same, that takes effect at another time than it is written.
    fn entry_at(
        &self,
        account: &str,
        (create_time, effective_time): (i64, i64),
        entry_type: &'static str,
        (amount, held_delta, own): (i64, i64, i64),
        touch: &Touch,
    ) -> Option<Entry> {
        let last_sequence = i64::try_from(self.entries(account).len()).ok()?;
        let posted_after = i64::try_from(self.posted(account) + i128::from(amount)).ok()?;
        let held_after = i64::try_from(self.held(account) + i128::from(held_delta)).ok()?;
        posted_after.checked_sub(held_after)?;
        let place = (last_sequence + 1, amount, effective_time);
        let lots = Lots::of(self.grants(account)).touched(touch, place, posted_after - held_after);
        let withdrawable = self.withdrawable(account);
        let other = i128::from(posted_after) - lots.remaining();
        let left = (withdrawable + i128::from(own)).min(other).max(0);
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
            effective_time,
            expire: if let Touch::Opens(expire) = touch { Some(*expire) } else { None },
            granted_after: lots.free(|grant| grant.expire > effective_time),
            lapsed: lots.free(|grant| grant.expire <= effective_time),
            moves: lots.moves,
        })
    }
}

/// What a credit means to grants.
fn opening(expire: Option<i64>) -> Touch {
    expire.map_or(Touch::Nothing, Touch::Opens)
}

impl Grant {
    /// What of it nobody holds.
    pub fn free(&self) -> i64 {
        self.remaining - self.pinned
    }
}

/// The grants of an account while an entry is made, and what the entry has done to them so far.
struct Lots {
    grants: Vec<Grant>,
    moves: Moves,
}

impl Lots {
    fn of(grants: Vec<Grant>) -> Self {
        Self { grants, moves: Moves::default() }
    }

    fn remaining(&self) -> i128 {
        self.grants.iter().map(|grant| i128::from(grant.remaining)).sum()
    }

    fn free(&self, of: impl Fn(&Grant) -> bool) -> i64 {
        self.grants.iter().filter(|grant| of(grant)).map(Grant::free).sum()
    }

    fn grant(&mut self, sequence: i64) -> &mut Grant {
        self.grants.iter_mut().find(|grant| grant.sequence == sequence).expect("a grant of the account")
    }

    /// After an entry of this sequence, amount and time, after which so much is not held.
    fn touched(mut self, touch: &Touch, (sequence, amount, time): (i64, i64, i64), unheld: i64) -> Self {
        match touch {
            Touch::Nothing => {}
            Touch::Opens(expire) => {
                let expire = *expire;
                let (pinned, lapsed, reversed) = (0, 0, 0);
                self.grants.push(Grant {
                    sequence,
                    amount,
                    remaining: amount,
                    pinned,
                    lapsed,
                    reversed,
                    expire,
                });
                self.grants.sort_by_key(|grant| (grant.expire, grant.sequence));
            }
            Touch::Spends(amount) => self.spend(*amount),
            Touch::Holds(amount) => self.hold(*amount),
            Touch::Takes { of, held, beyond, keeps } => {
                self.take(&of.pins, *held, *keeps);
                self.spend(*beyond);
            }
            Touch::BringsBack { debit, before, amount } => self.bring_back(debit, *before, *amount),
            // What is neither granted nor held, before it was taken.
            Touch::Reverses { credit, amount } => {
                let granted = self.free(|_| true);
                let other = unheld.saturating_add(*amount).max(0) - granted;
                self.reverse(*credit, *amount, other);
            }
            Touch::Ends => self.end(time),
        }
        self.convert_reversed();
        self.convert_debt(time, unheld);
        self
    }

    fn spend(&mut self, amount: i64) {
        let mut left = amount;
        for grant in &mut self.grants {
            let part = grant.free().min(left);
            grant.remaining -= part;
            left -= part;
            push_next(&mut self.moves.draws, grant.sequence, part);
        }
    }

    fn hold(&mut self, amount: i64) {
        let mut left = amount;
        for grant in &mut self.grants {
            let part = grant.free().min(left);
            grant.pinned += part;
            left -= part;
            push(&mut self.moves.pins, grant.sequence, part);
        }
    }

    /// Takes so much of what is pinned, and gives up the rest, unless it is kept.
    fn take(&mut self, pins: &[(i64, i64)], amount: i64, keeps: bool) {
        let mut left = amount;
        for (sequence, pinned) in pins {
            let part = (*pinned).min(left);
            left -= part;
            let given_up = if keeps { part } else { *pinned };
            let grant = self.grant(*sequence);
            grant.remaining -= part;
            grant.pinned -= given_up;
            push_next(&mut self.moves.draws, *sequence, part);
            push(&mut self.moves.pins, *sequence, -given_up);
        }
    }

    /// Lays out what a debit took, the last first, and brings back the slice.
    fn bring_back(&mut self, debit: &Entry, before: i64, amount: i64) {
        if let Some(credit) = debit.reversed_sequence
            && let Some(grant) = self.grants.iter_mut().find(|grant| grant.sequence == credit)
        {
            grant.reversed -= amount;
        }
        let drawn: i64 = debit.moves.draws.iter().map(|(_, amount)| amount).sum();
        let mut skip = before;
        let mut left = amount;
        let other = (0, -debit.amount - drawn);
        for (sequence, part) in [other].iter().chain(debit.moves.draws.iter().rev()) {
            let passed = skip.min(*part);
            skip -= passed;
            let back = (part - passed).min(left);
            left -= back;
            if *sequence != 0 {
                push_next(&mut self.moves.unwinds, *sequence, back);
                self.grant(*sequence).remaining += back;
            }
        }
    }

    /// Its own grant first, then other money, then the others.
    fn reverse(&mut self, credit: i64, amount: i64, other: i64) {
        let mut left = amount;
        if let Some(own) = self.grants.iter_mut().find(|grant| grant.sequence == credit) {
            own.reversed += amount;
            let part = own.free().min(left);
            own.remaining -= part;
            left -= part;
            push_next(&mut self.moves.draws, credit, part);
        }
        left -= other.min(left);
        for grant in self.grants.iter_mut().filter(|grant| grant.sequence != credit) {
            let part = grant.free().min(left);
            grant.remaining -= part;
            left -= part;
            push_next(&mut self.moves.draws, grant.sequence, part);
        }
    }

    fn end(&mut self, time: i64) {
        for grant in self.grants.iter_mut().filter(|grant| grant.expire <= time) {
            let part = grant.free();
            grant.remaining -= part;
            grant.lapsed += part;
            push(&mut self.moves.lapses, grant.sequence, part);
        }
    }

    /// A reversal has taken other money instead of what was not there then: what comes back of that is other money.
    fn convert_reversed(&mut self) {
        for grant in &mut self.grants {
            let left = grant.amount - grant.reversed - grant.lapsed;
            let part = (grant.free() - left).max(0);
            grant.remaining -= part;
            push(&mut self.moves.converted, grant.sequence, part);
        }
    }

    /// Nobody has grants and debts: what came back last in time first, as it came, then the first to be spent.
    fn convert_debt(&mut self, time: i64, unheld: i64) {
        let lapsing = self.free(|grant| grant.expire <= time);
        let running = self.free(|grant| grant.expire > time);
        let mut excess = (running - (unheld - lapsing).max(0)).max(0);
        let came_back = self.moves.unwinds.iter().map(|(sequence, _)| *sequence);
        let order: Vec<i64> = came_back.chain(self.grants.iter().map(|grant| grant.sequence)).collect();
        for sequence in order {
            let grant = self.grant(sequence);
            if grant.expire > time {
                let part = grant.free().min(excess);
                grant.remaining -= part;
                excess -= part;
                push(&mut self.moves.converted, sequence, part);
            }
        }
    }
}

/// Adds what is taken next: what of one grant is taken at another time stays by itself, since what was taken last comes back
/// first.
fn push_next(shares: &mut Shares, sequence: i64, amount: i64) {
    match shares.last_mut() {
        _ if amount == 0 => {}
        Some((of, sum)) if *of == sequence => *sum += amount,
        Some(_) | None => shares.push((sequence, amount)),
    }
}

/// Adds a part of a grant to what there is of it.
fn push(shares: &mut Shares, sequence: i64, amount: i64) {
    match shares.iter_mut().find(|(of, _)| *of == sequence) {
        _ if amount == 0 => {}
        Some((_, sum)) => *sum += amount,
        None => shares.push((sequence, amount)),
    }
    shares.retain(|(_, amount)| *amount != 0);
}

/// The grants of one account after entries of it, in the order in which they are spent.
pub fn grants_of(entries: &[&Entry]) -> Vec<Grant> {
    let credits = entries.iter().filter_map(|entry| Some((entry.sequence, entry.amount, entry.expire?)));
    let mut grants: Vec<Grant> = credits
        .map(|(sequence, amount, expire)| {
            let of = |shares: fn(&Moves) -> &Shares| -> i64 {
                let all = entries.iter().flat_map(|entry| shares(&entry.moves));
                all.filter(|(grant, _)| *grant == sequence).map(|(_, amount)| amount).sum()
            };
            let reversals = entries.iter().filter(|entry| entry.reversed_sequence == Some(sequence));
            let lapsed = of(|moves| &moves.lapses);
            let gone = of(|moves| &moves.draws) + of(|moves| &moves.converted) + lapsed;
            Grant {
                sequence,
                amount,
                remaining: amount - gone + of(|moves| &moves.unwinds),
                pinned: of(|moves| &moves.pins),
                lapsed,
                reversed: -reversals.map(|entry| entry.amount).sum::<i64>(),
                expire,
            }
        })
        .collect();
    grants.sort_by_key(|grant| (grant.expire, grant.sequence));
    grants
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
                for (sequence, amount) in &entry.moves.pins {
                    push(&mut reservation.pins, *sequence, *amount);
                }
                let expires = |sequence: i64| {
                    let granted = entries.iter().find(|entry| entry.sequence == sequence);
                    granted.and_then(|granted| granted.expire)
                };
                reservation.pins.sort_by_key(|(sequence, _)| (expires(*sequence), *sequence));
            }
            None => reservations.push(Reservation {
                account: entry.account.clone(),
                reservation_id: reservation_id.clone(),
                sequence: entry.sequence,
                create_time: entry.create_time,
                reference: entry.reference.clone(),
                metadata: entry.metadata.clone(),
                status: *status,
                pins: entry.moves.pins.clone(),
                close_sequence: None,
            }),
        }
    }
    reservations
}
