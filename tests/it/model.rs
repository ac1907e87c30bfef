//! The reference model: the contract in its plainest form, to compare the service with.
//!
//! It keeps a list of all calls with their answers and nothing else. Whatever it needs to know (a balance, what has
//! been refunded, how a key was answered, who was credited for a payment) it finds by walking the whole list each time.
//! It knows none of the service's types, and no time: what the clock does to the journal is for the tests to say.

use std::collections::{BTreeMap, BTreeSet};

/// Notes or figures, by name.
pub type Metadata = BTreeMap<String, String>;

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

/// A row of the journal, without its time.
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
    pub reservation_id: Option<String>,
    pub refunded_sequence: Option<i64>,
}

/// How a call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "plain data, and little of it")]
pub enum Answer {
    Applied { entry: Entry, replayed: bool },
    Refused { reason: &'static str, metadata: Metadata },
    KeyReused { method: &'static str, fields: BTreeSet<&'static str> },
    NotFound { reason: &'static str },
}

/// All that was ever asked and answered.
#[derive(Debug, Clone)]
pub struct Model {
    admin_credit_max: i64,
    imported: Vec<Entry>,
    calls: Vec<(Call, Answer)>,
}

impl Call {
    pub fn method(&self) -> &'static str {
        match self.what {
            What::Credit { .. } => "Credit",
            What::Charge { .. } => "Charge",
            What::Refund { .. } => "Refund",
            What::AdminCredit { .. } => "AdminCredit",
        }
    }

    pub fn amount(&self) -> i64 {
        match self.what {
            What::Credit { amount, .. }
            | What::Charge { amount }
            | What::Refund { amount, .. }
            | What::AdminCredit { amount, .. } => amount,
        }
    }

    /// Every field that a key stands for, by its name in the proto; absent where it is not given.
    fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = BTreeMap::from([
            ("amount_micro_usd", self.amount().to_string()),
            ("reference", self.reference.clone()),
            ("metadata", format!("{:?}", self.metadata)),
        ]);
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
        }
        fields
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

    fn refused(reason: &'static str, metadata: &[(&str, String)]) -> Self {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::Refused { reason, metadata }
    }

    fn replay(entry: &Entry) -> Self {
        Self::Applied { entry: entry.clone(), replayed: true }
    }
}

impl Model {
    pub fn new(admin_credit_max: i64, imported: &[Imported]) -> Self {
        let mut model = Self { admin_credit_max, imported: Vec::new(), calls: Vec::new() };
        for row in imported {
            let entry = model.next_entry(&row.account, row.entry_type, row.amount);
            model.imported.push(entry.expect("an imported balance fits"));
        }
        model
    }

    /// Answers a call, and remembers that it did.
    pub fn call(&mut self, call: &Call) -> Answer {
        let answer = self.answer(call);
        self.calls.push((call.clone(), answer.clone()));
        answer
    }

    /// An account's entries, oldest first.
    pub fn entries(&self, account: &str) -> Vec<&Entry> {
        self.journal().into_iter().filter(|entry| entry.account == account).collect()
    }

    /// The sum of an account's entries.
    pub fn posted(&self, account: &str) -> i128 {
        self.entries(account).iter().map(|entry| i128::from(entry.amount)).sum()
    }

    /// How a key was first answered for good, if it was.
    pub fn operation(&self, account: &str, key: &str) -> Option<&Answer> {
        self.operation_call(account, key).map(|(_, answer)| answer)
    }

    fn operation_call(&self, account: &str, key: &str) -> Option<&(Call, Answer)> {
        self.calls.iter().find(|(call, answer)| call.account == account && call.key == key && answer.stands())
    }

    /// The entries of all accounts, in the order in which they were written.
    fn journal(&self) -> Vec<&Entry> {
        let mut journal: Vec<&Entry> = self.imported.iter().collect();
        for (_, answer) in &self.calls {
            if let Answer::Applied { entry, replayed: false } = answer {
                journal.push(entry);
            }
        }
        journal
    }

    fn answer(&self, call: &Call) -> Answer {
        if let Some((first, answer)) = self.operation_call(&call.account, &call.key) {
            return answer_again(first, answer, call);
        }
        match &call.what {
            What::Credit { amount, kind, external_id } => {
                self.credit(call, *amount, kind, external_id.as_deref())
            }
            What::Charge { amount } => self.charge(call, *amount),
            What::Refund { amount, of } => self.refund(call, *amount, of),
            What::AdminCredit { amount, actor, reason } => self.admin_credit(call, *amount, actor, reason),
        }
    }

    fn credit(&self, call: &Call, amount: i64, kind: &'static str, external_id: Option<&str>) -> Answer {
        let same_payment = |entry: &&&Entry| {
            entry.entry_type == kind && external_id.is_some() && entry.external_id.as_deref() == external_id
        };
        if let Some(credited) = self.journal().iter().find(same_payment) {
            let conflict = if credited.account != call.account {
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
        self.post(call, kind, amount, |entry| entry.external_id = external_id.map(str::to_owned))
    }

    fn charge(&self, call: &Call, amount: i64) -> Answer {
        let available = self.posted(&call.account);
        if i128::from(amount) > available {
            let metadata =
                [("available_micro_usd", available.to_string()), ("required_micro_usd", amount.to_string())];
            return Answer::refused("INSUFFICIENT_FUNDS", &metadata);
        }
        self.post(call, "CHARGE", -amount, |_| ())
    }

    fn refund(&self, call: &Call, amount: i64, of: &Of) -> Answer {
        let entries = self.entries(&call.account);
        let named = match of {
            Of::Sequence(sequence) => entries.iter().find(|entry| entry.sequence == *sequence).copied(),
            Of::Key(key) => match self.operation(&call.account, key) {
                Some(Answer::Applied { entry, .. }) => Some(entry),
                _ => None,
            },
        };
        let Some(charge) = named else { return Answer::NotFound { reason: "CHARGE_NOT_FOUND" } };
        if charge.entry_type != "CHARGE" {
            return Answer::refused("NOT_REFUNDABLE", &[("entry_type", charge.entry_type.to_owned())]);
        }
        let refunds = entries.iter().filter(|entry| entry.refunded_sequence == Some(charge.sequence));
        let refunded: i128 = refunds.map(|refund| i128::from(refund.amount)).sum();
        let refundable = -i128::from(charge.amount) - refunded;
        if i128::from(amount) > refundable {
            let metadata = [("refundable_micro_usd", refundable.to_string())];
            return Answer::refused("REFUND_EXCEEDS_CHARGE", &metadata);
        }
        self.post(call, "REFUND", amount, |entry| entry.refunded_sequence = Some(charge.sequence))
    }

    fn admin_credit(&self, call: &Call, amount: i64, actor: &str, reason: &str) -> Answer {
        if amount > self.admin_credit_max {
            let metadata = [("limit_micro_usd", self.admin_credit_max.to_string())];
            return Answer::refused("ADMIN_CREDIT_LIMIT", &metadata);
        }
        self.post(call, "ADMIN_CREDIT", amount, |entry| {
            entry.actor = Some(actor.to_owned());
            entry.reason = Some(reason.to_owned());
        })
    }

    fn post(
        &self,
        call: &Call,
        entry_type: &'static str,
        amount: i64,
        add: impl FnOnce(&mut Entry),
    ) -> Answer {
        let Some(mut entry) = self.next_entry(&call.account, entry_type, amount) else {
            return Answer::refused("BALANCE_OVERFLOW", &[]);
        };
        entry.key = Some(call.key.clone());
        entry.reference.clone_from(&call.reference);
        entry.metadata.clone_from(&call.metadata);
        add(&mut entry);
        Answer::Applied { entry, replayed: false }
    }

    /// An account's next entry, or `None` where the balance would leave int64.
    fn next_entry(&self, account: &str, entry_type: &'static str, amount: i64) -> Option<Entry> {
        let last_sequence = i64::try_from(self.entries(account).len()).ok()?;
        Some(Entry {
            account: account.to_owned(),
            sequence: last_sequence + 1,
            entry_type,
            amount,
            held_delta: 0,
            posted_after: i64::try_from(self.posted(account) + i128::from(amount)).ok()?,
            held_after: 0,
            key: None,
            external_id: None,
            reference: String::new(),
            metadata: Metadata::new(),
            actor: None,
            reason: None,
            reservation_id: None,
            refunded_sequence: None,
        })
    }
}

/// The answer to a key that was answered before: the same to the same request, and a loud error to any other.
fn answer_again(first: &Call, answer: &Answer, call: &Call) -> Answer {
    let method = first.method();
    if call.method() != method {
        return Answer::KeyReused { method, fields: BTreeSet::from(["method"]) };
    }
    let (before, now) = (first.fields(), call.fields());
    let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let fields: BTreeSet<_> = names.into_iter().filter(|name| before.get(name) != now.get(name)).collect();
    if !fields.is_empty() {
        return Answer::KeyReused { method, fields };
    }
    answer.again()
}
