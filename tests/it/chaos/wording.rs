//! The model's calls as messages of the contract, and the contract's answers in a form that can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use billing::{
    accounting,
    grpc::proto::{self, operation::Operation, refund_request::Charge, result, reverse_request::Credit},
};
use prost::Message as _;
use prost_types::{Duration as Ttl, Timestamp};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::{
    model::{
        Account, After, Answer, Balance, Call, Change, Entry, Grant, Leg, Of, Reservation, Since, Statement,
        What,
    },
    support::Client,
};

/// The names of the entry types, in the order of their numbers, which begin with 1.
pub const ENTRY_TYPES: [&str; 18] = [
    "STRIPE_DEPOSIT",
    "DEPOSIT",
    "EARNING",
    "REFERRAL_REWARD",
    "INVITE_CREDIT",
    "CHARGE",
    "REFUND",
    "ADMIN_CREDIT",
    "RESERVE",
    "CAPTURE",
    "RELEASE",
    "EXTEND",
    "EXPIRE",
    "ACCOUNT_CHANGE",
    "WITHDRAWAL",
    "REVERSAL",
    "FEE",
    "GRANT_EXPIRE",
];
/// The names of the states of a reservation, in the order of their numbers, which begin with 1.
pub const STATES: [&str; 4] = ["OPEN", "CAPTURED", "RELEASED", "EXPIRED"];
/// The names of the expiry policies, in the order of their numbers, which begin with 1.
pub const EXPIRIES: [&str; 2] = ["RELEASE", "CAPTURE"];
/// The names of the states of an account, in the order of their numbers, which begin with 1.
pub const ACCOUNT_STATES: [&str; 3] = ["ACTIVE", "FROZEN", "CLOSED"];
const LEGS_POLICIES: [&str; 2] = ["KEEP", "TAKE_BACK"];
const POLICIES: [&str; 3] = ["REJECT", "COLLECT_AVAILABLE", "ALLOW_DEBT"];

/// The reasons of answers after which nobody knows what happened, beside their codes.
const OPEN_ENDS: [(Code, &str); 5] = [
    (Code::Unavailable, "DATABASE_UNAVAILABLE"),
    (Code::Unavailable, "SHUTTING_DOWN"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::ResourceExhausted, "OVERLOADED"),
    (Code::Aborted, "CONTENTION"),
];
/// What gRPC itself says when a connection is lost or a deadline passes.
const LOST_CONNECTION: [Code; 5] =
    [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal, Code::DeadlineExceeded];

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An answer.
    Told(Told),
    /// None: the operation may have happened, or may yet happen.
    Unanswered(String),
    /// One that the contract does not have.
    Unexplained(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Applied(Box<Applied>),
    Refused {
        reason: String,
        message: String,
        metadata: BTreeMap<String, String>,
    },
    Declined {
        reason: String,
        metadata: BTreeMap<String, String>,
    },
    KeyReused {
        method: String,
        fields: BTreeSet<String>,
    },
    NotFound {
        reason: String,
    },
    /// A field that what it names makes necessary is missing.
    Invalid {
        field: String,
    },
}

/// The answer "yes".
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub entry: proto::Entry,
    pub replayed: bool,
    pub since: Option<proto::Since>,
    /// The entries of its legs, in the accounts of others.
    pub leg_entries: Vec<proto::Entry>,
}

impl Told {
    /// Whether it stands for ever.
    pub fn stands(&self) -> bool {
        matches!(self, Self::Applied(_) | Self::Refused { .. })
    }

    /// The entry that it shows, if it is a "yes".
    pub fn entry(&self) -> Option<&proto::Entry> {
        if let Self::Applied(applied) = self { Some(&applied.entry) } else { None }
    }

    /// The entries of its legs.
    pub fn leg_entries(&self) -> &[proto::Entry] {
        if let Self::Applied(applied) = self { &applied.leg_entries } else { &[] }
    }

    /// The same, without what depends on when it was given.
    pub fn lasting(&self) -> Self {
        match self {
            Self::Applied(applied) => {
                Self::Applied(Box::new(Applied { replayed: false, since: None, ..(**applied).clone() }))
            }
            Self::Refused { .. }
            | Self::Declined { .. }
            | Self::KeyReused { .. }
            | Self::NotFound { .. }
            | Self::Invalid { .. } => self.clone(),
        }
    }

    /// The model's "yes", in the words of the contract.
    pub fn applied(answer: &Answer) -> Option<Self> {
        let Answer::Applied { entry, since, leg_entries } = answer else { return None };
        Some(Self::Applied(Box::new(Applied {
            entry: entry_message(entry),
            replayed: since.is_some(),
            since: since.as_ref().map(since_message),
            leg_entries: leg_entries.iter().map(entry_message).collect(),
        })))
    }
}

/// Makes a call that waits so long at most.
pub async fn send(client: &mut Client, call: &Call, deadline: Duration) -> Outcome {
    match operation(call) {
        Operation::Credit(request) => outcome(client.credit(timed(request, deadline)).await),
        Operation::Charge(request) => outcome(client.charge(timed(request, deadline)).await),
        Operation::Refund(request) => outcome(client.refund(timed(request, deadline)).await),
        Operation::AdminCredit(request) => outcome(client.admin_credit(timed(request, deadline)).await),
        Operation::Reserve(request) => outcome(client.reserve(timed(request, deadline)).await),
        Operation::Capture(request) => outcome(client.capture(timed(request, deadline)).await),
        Operation::Release(request) => outcome(client.release(timed(request, deadline)).await),
        Operation::ExtendReservation(request) => {
            outcome(client.extend_reservation(timed(request, deadline)).await)
        }
        Operation::SetAccount(request) => outcome(client.set_account(timed(request, deadline)).await),
        Operation::Reverse(request) => outcome(client.reverse(timed(request, deadline)).await),
        Operation::Withdraw(request) => outcome(client.withdraw(timed(request, deadline)).await),
    }
}

/// Sends a list that waits so long at most. What each of its calls came to, as if it had been made by itself.
pub async fn send_list(client: &mut Client, calls: &[Call], deadline: Duration) -> Vec<Outcome> {
    let one = |call| proto::Operation { operation: Some(operation(call)) };
    let request = proto::ApplyRequest { operations: calls.iter().map(one).collect() };
    let for_each = match client.apply(timed(request, deadline)).await {
        Ok(response) => {
            let results = response.into_inner().results;
            if results.len() == calls.len() {
                return results.into_iter().map(result).collect();
            }
            Outcome::Unexplained(format!("{} calls, {} results", calls.len(), results.len()))
        }
        Err(status) => match failure(&status) {
            Outcome::Told(told) => Outcome::Unexplained(format!("of a whole list: {told:?}")),
            other @ (Outcome::Unanswered(_) | Outcome::Unexplained(_)) => other,
        },
    };
    vec![for_each; calls.len()]
}

fn result(result: proto::Result) -> Outcome {
    match result.result {
        Some(result::Result::Applied(applied)) => Outcome::Told(Told::Applied(Box::new(applied.into()))),
        Some(result::Result::Error(error)) => {
            let details = error.encode_to_vec().into();
            failure(&Status::with_details(Code::from_i32(error.code), error.message, details))
        }
        None => Outcome::Unexplained("a result that is not set".into()),
    }
}

/// A call as a message.
fn operation(call: &Call) -> Operation {
    let Call { account: account_id, key: idempotency_key, what, reference, metadata } = call.clone();
    match what {
        What::Credit { amount: amount_micro_usd, kind, external_ids, expire } => {
            Operation::Credit(proto::CreditRequest {
                idempotency_key,
                account_id,
                amount_micro_usd,
                entry_type: number(&ENTRY_TYPES, kind),
                external_ids,
                reference,
                metadata,
                expire_time: expire.map(timestamp),
            })
        }
        What::Charge { amount: amount_micro_usd, policy, legs } => Operation::Charge(proto::ChargeRequest {
            legs: legs.iter().map(leg).collect(),
            idempotency_key,
            account_id,
            amount_micro_usd,
            shortfall_policy: number(&POLICIES, policy),
            reference,
            metadata,
        }),
        What::Refund { amount: amount_micro_usd, of, legs } => Operation::Refund(proto::RefundRequest {
            legs: legs.map_or(0, |legs| number(&LEGS_POLICIES, legs)),
            idempotency_key,
            account_id,
            amount_micro_usd,
            charge: Some(charge(of)),
            reference,
            metadata,
        }),
        What::AdminCredit { amount: amount_micro_usd, actor, reason, withdrawable, expire } => {
            Operation::AdminCredit(proto::AdminCreditRequest {
                idempotency_key,
                account_id,
                amount_micro_usd,
                actor,
                reason,
                withdrawable,
                reference,
                metadata,
                expire_time: expire.map(timestamp),
            })
        }
        What::Reserve { amount: amount_micro_usd, ttl, expiry } => {
            Operation::Reserve(proto::ReserveRequest {
                idempotency_key,
                account_id,
                amount_micro_usd,
                ttl: ttl.map(lasting),
                expiry_policy: number(&EXPIRIES, expiry),
                reference,
                metadata,
            })
        }
        What::Capture { reservation_id, amount: amount_micro_usd, policy, keep_open, legs } => {
            Operation::Capture(proto::CaptureRequest {
                legs: legs.iter().map(leg).collect(),
                idempotency_key,
                account_id,
                reservation_id,
                amount_micro_usd,
                shortfall_policy: number(&POLICIES, policy),
                keep_open,
                reference,
                metadata,
            })
        }
        What::Release { reservation_id } => Operation::Release(proto::ReleaseRequest {
            idempotency_key,
            account_id,
            reservation_id,
            reference,
            metadata,
        }),
        What::Extend { reservation_id, additional: additional_amount_micro_usd, ttl, expiry } => {
            Operation::ExtendReservation(proto::ExtendReservationRequest {
                idempotency_key,
                account_id,
                reservation_id,
                additional_amount_micro_usd,
                ttl: ttl.map(lasting),
                expiry_policy: expiry.map_or(0, |expiry| number(&EXPIRIES, expiry)),
                reference,
                metadata,
            })
        }
        What::SetAccount(Change { state, debt_limit, forfeit, actor, reason }) => {
            Operation::SetAccount(proto::SetAccountRequest {
                idempotency_key,
                account_id,
                state: state.map_or(0, |state| number(&ACCOUNT_STATES, state)),
                debt_limit_micro_usd: debt_limit,
                forfeit_micro_usd: forfeit,
                actor,
                reason,
                reference,
                metadata,
            })
        }
        What::Reverse { amount: amount_micro_usd, of, external_ids, reason, policy } => {
            Operation::Reverse(proto::ReverseRequest {
                idempotency_key,
                account_id,
                amount_micro_usd,
                credit: Some(credit(of)),
                external_ids,
                reason: reason.unwrap_or_default(),
                shortfall_policy: number(&POLICIES, policy),
                reference,
                metadata,
            })
        }
        What::Withdraw { amount: amount_micro_usd, external_ids } => {
            Operation::Withdraw(proto::WithdrawRequest {
                idempotency_key,
                account_id,
                amount_micro_usd,
                external_ids,
                reference,
                metadata,
            })
        }
    }
}

/// A request with a deadline.
pub fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn outcome<T: Into<Applied>>(answer: Result<Response<T>, Status>) -> Outcome {
    match answer {
        Ok(response) => Outcome::Told(Told::Applied(Box::new(response.into_inner().into()))),
        Err(status) => failure(&status),
    }
}

/// Has a refusal tell in microseconds, as the model does, when it was first given.
pub fn count_microseconds(metadata: &mut BTreeMap<String, String>) {
    if let Some(time) = metadata.get_mut("refused_time") {
        *time = accounting::Timestamp::parse(time).expect("a time").unix_micros().to_string();
    }
}

/// What an error says.
pub fn failure(status: &Status) -> Outcome {
    let details = status.get_error_details();
    let Some(info) = details.error_info().filter(|info| info.domain == "billing.v1") else {
        // The service's own always have details, and come over a connection that still is one.
        let is_transport = std::error::Error::source(status).is_some();
        return if is_transport && LOST_CONNECTION.contains(&status.code()) {
            Outcome::Unanswered(format!("connection lost ({:?})", status.code()))
        } else {
            Outcome::Unexplained(format!("{status:?}"))
        };
    };
    let reason = info.reason.clone();
    let mut metadata: BTreeMap<_, _> = info.metadata.clone().into_iter().collect();
    count_microseconds(&mut metadata);
    match (status.code(), reason.as_str()) {
        (Code::FailedPrecondition, "ADMIN_CREDIT_LIMIT") => {
            Outcome::Told(Told::Declined { reason, metadata })
        }
        (Code::FailedPrecondition, _) => {
            Outcome::Told(Told::Refused { reason, message: status.message().to_owned(), metadata })
        }
        (Code::NotFound, _) => Outcome::Told(Told::NotFound { reason }),
        (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED") => Outcome::Told(Told::KeyReused {
            method: metadata["method"].clone(),
            fields: metadata["fields"].split(',').map(str::to_owned).collect(),
        }),
        (Code::InvalidArgument, "INVALID_FIELD") => {
            Outcome::Told(Told::Invalid { field: metadata["field"].clone() })
        }
        open_end if OPEN_ENDS.contains(&open_end) => Outcome::Unanswered(reason),
        _ => Outcome::Unexplained(format!("{status:?}")),
    }
}

macro_rules! applied {
    ([$($response:ident),+ $(,)?], |$from:ident| $leg_entries:expr) => {
        $(impl From<proto::$response> for Applied {
            fn from($from: proto::$response) -> Self {
                let leg_entries = $leg_entries;
                let proto::$response { entry, replayed, since, .. } = $from;
                Self { entry: entry.expect("an entry"), replayed, since, leg_entries }
            }
        })+
    };
}
applied!([ChargeResponse, CaptureResponse, RefundResponse, Applied], |from| from.leg_entries);
applied!(
    [
        CreditResponse,
        AdminCreditResponse,
        ReserveResponse,
        ReleaseResponse,
        ExtendReservationResponse,
        SetAccountResponse,
        ReverseResponse,
        WithdrawResponse,
    ],
    |from| Vec::new()
);

/// An entry of the model, as the contract shows it.
pub fn entry_message(entry: &Entry) -> proto::Entry {
    proto::Entry {
        account_id: entry.account.clone(),
        sequence: entry.sequence,
        entry_type: number(&ENTRY_TYPES, entry.entry_type),
        amount_micro_usd: entry.amount,
        held_delta_micro_usd: entry.held_delta,
        balance_after: Some(balance_message(
            entry.posted_after,
            entry.held_after + entry.lapsed,
            entry.withdrawable_after,
            entry.granted_after,
        ))
        .map(|balance| proto::Balance { held_micro_usd: entry.held_after, ..balance }),
        idempotency_key: entry.key.clone().unwrap_or_default(),
        external_ids: entry.external_ids.clone(),
        reference: entry.reference.clone(),
        metadata: entry.metadata.clone(),
        actor: entry.actor.clone().unwrap_or_default(),
        reason: entry.reason.clone().unwrap_or_default(),
        reservation: entry.reservation.as_ref().map(status_message),
        refunded_sequence: entry.refunded_sequence.unwrap_or_default(),
        create_time: Some(timestamp(entry.create_time)),
        caller: String::new(), // nobody has credentials
        uncollected_micro_usd: entry.uncollected,
        effective_time: Some(timestamp(entry.effective_time)),
        account_settings: entry.settings.map(|settings| proto::AccountSettings {
            state: number(&ACCOUNT_STATES, settings.state),
            debt_limit_micro_usd: settings.debt_limit,
        }),
        reversed_sequence: entry.reversed_sequence.unwrap_or_default(),
        withdrawable_delta_micro_usd: entry.withdrawable_delta,
        legs: entry.legs.iter().map(paid_leg).collect(),
        funded_micro_usd: entry.funded,
        source: entry
            .source
            .clone()
            .map(|(account_id, sequence)| proto::EntrySource { account_id, sequence }),
        grant_expire_time: entry.expire.map(timestamp),
        draws: shares(&entry.moves.draws),
        unwinds: shares(&entry.moves.unwinds),
        converted: shares(&entry.moves.converted),
        lapses: shares(&entry.moves.lapses),
        pins: shares(&entry.moves.pins),
        lapsed_micro_usd: entry.lapsed,
    }
}

fn shares(shares: &[(i64, i64)]) -> Vec<proto::GrantShare> {
    let share = |(grant_sequence, amount_micro_usd): &(i64, i64)| proto::GrantShare {
        grant_sequence: *grant_sequence,
        amount_micro_usd: *amount_micro_usd,
    };
    shares.iter().map(share).collect()
}

fn paid_leg((account_id, sequence, amount): &(String, i64, i64)) -> proto::PaidLeg {
    proto::PaidLeg { account_id: account_id.clone(), sequence: *sequence, amount_micro_usd: *amount }
}

fn status_message(after: &After) -> proto::ReservationStatus {
    let After { reservation_id, status } = after;
    proto::ReservationStatus {
        reservation_id: reservation_id.clone(),
        state: number(&STATES, status.state),
        amount_micro_usd: status.held,
        captured_micro_usd: status.captured,
        expire_time: Some(timestamp(status.expire_time)),
        close_time: status.close_time.map(timestamp),
        expiry_policy: number(&EXPIRIES, status.expiry),
    }
}

/// A balance, as the contract shows it: of what may leave, what is available.
pub fn balance_message(posted: i64, held: i64, withdrawable: i64, granted: i64) -> proto::Balance {
    let available = posted - held;
    proto::Balance {
        posted_micro_usd: posted,
        held_micro_usd: held,
        available_micro_usd: available,
        withdrawable_micro_usd: withdrawable.min(available - granted).max(0),
        granted_micro_usd: granted,
    }
}

/// A time in microseconds, as the contract shows it.
pub fn timestamp(micros: i64) -> Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A time of the contract in microseconds.
pub fn micros(time: Option<&Timestamp>) -> i64 {
    let Timestamp { seconds, nanos } = *time.expect("a time");
    seconds * 1_000_000 + i64::from(nanos / 1_000)
}

/// A reservation of the model, as the contract shows it.
pub fn reservation_message(reservation: &Reservation) -> proto::Reservation {
    let status = &reservation.status;
    proto::Reservation {
        account_id: reservation.account.clone(),
        reservation_id: reservation.reservation_id.clone(),
        state: number(&STATES, status.state),
        amount_micro_usd: status.held,
        captured_micro_usd: status.captured,
        create_time: Some(timestamp(reservation.create_time)),
        expire_time: Some(timestamp(status.expire_time)),
        close_time: status.close_time.map(timestamp),
        reference: reservation.reference.clone(),
        metadata: reservation.metadata.clone(),
        expiry_policy: number(&EXPIRIES, status.expiry),
    }
}

/// A grant of the model, as the contract shows it.
pub fn grant_message(grant: &Grant) -> proto::Grant {
    proto::Grant {
        sequence: grant.sequence,
        amount_micro_usd: grant.amount,
        remaining_micro_usd: grant.remaining,
        pinned_micro_usd: grant.pinned,
        lapsed_micro_usd: grant.lapsed,
        expire_time: Some(timestamp(grant.expire)),
    }
}

/// An account of the model, as the contract shows it.
pub fn account_message(account_id: &str, account: &Account) -> proto::Account {
    proto::Account {
        account_id: account_id.to_owned(),
        balance: Some(sums_message((account.posted, account.held, account.withdrawable, account.granted))),
        last_sequence: account.last_sequence,
        create_time: Some(timestamp(account.create_time)),
        update_time: Some(timestamp(account.update_time)),
        state: number(&ACCOUNT_STATES, account.settings.state),
        debt_limit_micro_usd: account.settings.debt_limit,
    }
}

/// A statement of the model, as the contract shows it.
pub fn statement_message(statement: &Statement) -> proto::GetStatementResponse {
    let total = |(name, (count, amount)): (&&str, &(i64, i128))| proto::Total {
        entry_type: number(&ENTRY_TYPES, name),
        count: *count,
        amount_micro_usd: small(*amount),
    };
    let mut totals: Vec<proto::Total> = statement.totals.iter().map(total).collect();
    totals.sort_by_key(|total| total.entry_type);
    proto::GetStatementResponse {
        opening: Some(sums_message(statement.opening)),
        closing: Some(sums_message(statement.closing)),
        totals,
    }
}

fn sums_message((posted, held, withdrawable, granted): Balance) -> proto::Balance {
    balance_message(small(posted), small(held), small(withdrawable), small(granted))
}

fn small(sum: i128) -> i64 {
    i64::try_from(sum).expect("clients ask for small amounts")
}

fn since_message(since: &Since) -> proto::Since {
    proto::Since {
        read_time: Some(timestamp(since.read_time)),
        undone_micro_usd: i64::try_from(since.undone).unwrap(),
        reservation: since.reservation.as_ref().map(reservation_message),
    }
}

fn leg(Leg { account, amount, kind, grants_withdrawable }: &Leg) -> proto::Leg {
    proto::Leg {
        account_id: account.clone(),
        amount_micro_usd: *amount,
        entry_type: number(&ENTRY_TYPES, kind),
        grants_withdrawable: *grants_withdrawable,
    }
}

fn charge(of: Of) -> Charge {
    match of {
        Of::Sequence(sequence) => Charge::ChargeSequence(sequence),
        Of::Key(key) => Charge::ChargeIdempotencyKey(key),
        Of::ExternalId(id) => Charge::ChargeExternalId(id),
    }
}

fn credit(of: Of) -> Credit {
    match of {
        Of::Sequence(sequence) => Credit::CreditSequence(sequence),
        Of::Key(key) => Credit::CreditIdempotencyKey(key),
        Of::ExternalId(id) => Credit::CreditExternalId(id),
    }
}

fn lasting(micros: i64) -> Ttl {
    let Timestamp { seconds, nanos } = timestamp(micros);
    Ttl { seconds, nanos }
}

pub fn number(names: &[&str], name: &str) -> i32 {
    let index = names.iter().position(|known| *known == name).expect("a name of the contract");
    i32::try_from(index).unwrap() + 1
}
