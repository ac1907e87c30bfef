//! The rows of the book as they were read: nothing has been checked, so a fact may be wrong in any way.

#![allow(missing_docs, reason = "the columns have comments in the schema")]

use crate::accounting::{GrantMoves, GrantShare, Timestamp};

/// A row of the book. Sums are in micro-USD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The account.
    pub account_id: String,
    /// The fact.
    pub row: Row,
}

/// The kinds of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// The account's own row.
    Account(AccountFact),
    /// An entry.
    Entry(Box<EntryFact>),
    /// An entry that undoes another one, next to that.
    Undoing(UndoingFact),
    /// The claim of a payment, next to the entry that it refers to.
    Claim(ClaimFact),
    /// A key answered with the entry of another key, next to that entry.
    Replay(ReplayFact),
    /// A key with an answer.
    Answer(AnswerFact),
    /// A reservation.
    Reservation(ReservationFact),
    /// An entry, next to the reservation that it opened, changed or ended.
    Step(StepFact),
    /// A grant.
    Grant(GrantFact),
}

/// A row of `accounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFact {
    pub posted: i64,
    pub held: i64,
    pub last_sequence: i64,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
    pub next_expire_time: Option<Timestamp>,
    pub settings: (i16, Option<i64>),
    pub withdrawable: i64,
    pub granted: Option<i64>,
}

/// A row of `ledger_entries`: its figures, and which of its optional columns are set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "which columns are NULL")]
pub struct EntryFact {
    pub sequence: i64,
    pub entry_type: i16,
    pub amount: i64,
    pub held_delta: i64,
    pub posted_after: i64,
    pub held_after: i64,
    pub create_time: Timestamp,
    pub effective_time: Timestamp,
    pub uncollected: i64,
    pub refunded_sequence: Option<i64>,
    pub reversed_sequence: Option<i64>,
    pub withdrawable_delta: i64,
    pub withdrawable_after: i64,
    /// What it undoes, as it was before.
    pub undone: Option<UndoneFact>,
    /// Its legs.
    pub legs: Option<LegsFact>,
    /// How much they could share.
    pub funded: Option<i64>,
    /// Of a leg, whether its payer's entry lists it.
    pub is_listed: Option<bool>,
    /// Of a leg, how much of it other money than that of the payer's grants pays.
    pub paid_by_other: Option<i64>,
    pub grant_expire_time: Option<Timestamp>,
    /// How it changes grants; `None` if that cannot be read.
    pub grant_moves: Option<GrantMoves>,
    pub granted_after: i64,
    pub lapsed: i64,
    pub external_ids: Vec<String>,
    /// The state and the debt limit, if it changed them.
    pub settings: Option<(i16, Option<i64>)>,
    pub has_key: bool,
    pub has_fingerprint: bool,
    pub has_actor: bool,
    pub has_reason: bool,
    /// How many of the six columns about a reservation are set.
    pub reservation_facts: i32,
    pub has_reservation_id: bool,
    pub reservation_state: Option<i16>,
    pub has_close_time: bool,
}

/// The legs of an entry, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegsFact {
    /// How many moved something.
    pub paid: i64,
    /// Of how many the entry is there, of the amount that is listed.
    pub found: i64,
    /// What they moved.
    pub amount: i64,
}

/// An entry that is undone, as another one undoes a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UndoneFact {
    /// The change of what is withdrawable by the entry itself.
    pub withdrawable_delta: i64,
    /// The sum of the amounts of those that undid it before.
    pub undone: i64,
    /// The same of their changes of what is withdrawable.
    pub undone_withdrawable: i64,
}

/// An entry, and the one that it undoes: a refund and its debit, or a reversal and its credit, or the refund of a reversal and
/// the credit that it restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoingFact {
    pub undone_sequence: i64,
    pub sequence: i64,
    pub amount: i64,
    /// Whether what it undoes is a credit.
    pub is_of_credit: bool,
    /// The credit that a refund restores.
    pub reversed_sequence: Option<i64>,
}

/// A row of `payments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimFact {
    pub sequence: i64,
    pub external_id: String,
}

/// A row of `external_replays`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFact {
    pub sequence: i64,
    pub idempotency_key: String,
}

/// A key, and the table that holds its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFact {
    pub idempotency_key: String,
    pub table: AnswerTable,
}

/// The tables that hold answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTable {
    Entries,
    Refusals,
    Replays,
}

impl AnswerTable {
    /// The table's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries => "ledger_entries",
            Self::Refusals => "refusals",
            Self::Replays => "external_replays",
        }
    }
}

/// A row of `reservations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationFact {
    pub reservation_id: String,
    pub sequence: i64,
    pub create_time: Timestamp,
    pub status: Status,
    pub close_sequence: Option<i64>,
    /// What it holds of grants; `None` if that cannot be read.
    pub pins: Option<Vec<GrantShare>>,
}

/// The state of a reservation, now or after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub state: i16,
    pub held: i64,
    pub captured: i64,
    pub expire_time: Timestamp,
    pub close_time: Option<Timestamp>,
    pub expiry_policy: i16,
}

/// What an entry did to a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFact {
    pub reservation_id: String,
    pub sequence: i64,
    pub entry_type: i16,
    pub amount: i64,
    pub held_delta: i64,
    pub create_time: Timestamp,
    pub effective_time: Timestamp,
    /// Whether it records the end of a lease, under a key of the service's own.
    pub is_lapse: bool,
    /// Whether the entry's key is the reservation's id, as for the entry that opened it; `None` if it has no key.
    pub is_named_so: Option<bool>,
    /// The reservation after the entry; `None` if a part of it is missing.
    pub status: Option<Status>,
    /// What it holds more of grants, or less; `None` if that cannot be read.
    pub pins: Option<Vec<GrantShare>>,
}

/// A row of `grants`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantFact {
    pub sequence: i64,
    pub amount: i64,
    pub remaining: i64,
    pub pinned: i64,
    pub lapsed: i64,
    pub reversed: i64,
    pub expire_time: Timestamp,
}

/// The position of a fact: account, part of the account, sequence or name, table, and sequence.
pub type Order<'a> = (&'a str, u8, i64, &'a str, u8, i64);

impl Fact {
    /// The position of the fact. Names are compared bytewise, as in the database.
    #[must_use]
    pub fn order(&self) -> Order<'_> {
        let account = self.account_id.as_str();
        match &self.row {
            Row::Account(_) => (account, 0, 0, "", 0, 0),
            Row::Entry(entry) => (account, 1, entry.sequence, "", 0, 0),
            Row::Undoing(undoing) => (account, 1, undoing.undone_sequence, "", 1, undoing.sequence),
            Row::Replay(replay) => (account, 1, replay.sequence, "", 2, 0),
            Row::Claim(claim) => (account, 1, claim.sequence, &claim.external_id, 3, 0),
            Row::Answer(answer) => (account, 2, 0, &answer.idempotency_key, 0, 0),
            Row::Reservation(reservation) => (account, 3, 0, &reservation.reservation_id, 0, 0),
            Row::Step(step) => (account, 3, 0, &step.reservation_id, 1, step.sequence),
            Row::Grant(grant) => (account, 4, grant.sequence, "", 0, 0),
        }
    }
}
