//! The model's calls as the service's commands, and the service's answers in the model's words.

use billing::{
    accounting::{
        self, AccountId, AccountSettings, AccountState, Actor, AdminCredit, Amount, Capture, Charge, Command,
        Credit, CreditKind, EntryName, EntryType, ExpiryPolicy, Extend, ExternalId, ExternalIds, GrantShare,
        IdempotencyKey, LegKind, Legs, LegsPolicy, Metadata, MicroUsd, NotFound, Note, Operation, Outcome,
        Reason, Refund, Refusal, Release, ReservationState, ReservationStatus, Reserve, Reverse, SetAccount,
        ShortfallPolicy, Timestamp, Ttl, Withdraw,
    },
    ledger::OperationView,
};

use crate::model::{
    After, Answer, Call, Change, Entry, Leg, Moves, Of, Reservation, Settings, Shares, Since, Status, What,
};

const REFUSALS: [&str; 19] = [
    "INSUFFICIENT_FUNDS",
    "REFUND_EXCEEDS_CHARGE",
    "NOT_REFUNDABLE",
    "EXTERNAL_ID_CONFLICT",
    "BALANCE_OVERFLOW",
    "ADMIN_CREDIT_LIMIT",
    "CAPTURE_EXCEEDS_RESERVATION",
    "RESERVATION_CLOSED",
    "RESERVATION_EXPIRED",
    "DEBT_LIMIT",
    "ACCOUNT_FROZEN",
    "ACCOUNT_CLOSED",
    "RESERVATIONS_OPEN",
    "FORFEIT_MISMATCH",
    "REVERSAL_EXCEEDS_CREDIT",
    "NOT_REVERSIBLE",
    "NOT_WITHDRAWABLE",
    "GRANT_EXPIRED",
    "TOO_MANY_GRANTS",
];

pub fn commands(calls: &[Call]) -> Vec<Command> {
    calls.iter().map(command).collect()
}

pub fn command(call: &Call) -> Command {
    let account_id = account_id(&call.account);
    let key = IdempotencyKey::parse_of_operation(&call.key).expect("the key is good");
    let note = Note::parse(&call.reference, call.metadata.clone()).expect("the note is good");
    let operation = operation(&account_id, &call.what);
    Command::new(account_id, key, operation, note)
}

pub fn account_id(text: &str) -> AccountId {
    AccountId::parse("account_id", text).expect("the account id is good")
}

pub fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse("idempotency_key", text).expect("the key is good")
}

pub fn entry_type(name: &str) -> EntryType {
    let named = |entry_type: &EntryType| entry_type.name() == name;
    EntryType::ALL.into_iter().find(named).expect("there is such a type")
}

fn operation(payer: &AccountId, what: &What) -> Operation {
    match what {
        What::Credit { amount, kind, external_ids, expire } => {
            let (external_ids, expire_time) = (self::external_ids(external_ids), expire.map(timestamp));
            let credit = Credit::new(parsed(*amount), credit_kind(kind), external_ids, expire_time);
            Operation::Credit(credit.expect("a Stripe deposit has an external id"))
        }
        What::Charge { amount, policy, legs } => Operation::Charge(Charge {
            amount: parsed(*amount),
            shortfall_policy: shortfall_policy(policy),
            legs: self::legs(payer, legs),
        }),
        What::Refund { amount, of, legs } => Operation::Refund(Refund {
            amount: parsed(*amount),
            charge: entry_name(of),
            legs: legs.map(legs_policy),
        }),
        What::AdminCredit { amount, actor, reason, withdrawable, expire } => {
            let actor = Actor::parse(actor).expect("the actor is good");
            let decided = (actor, Reason::parse(reason).expect("the reason is good"));
            let grant = AdminCredit::new(parsed(*amount), decided, *withdrawable, expire.map(timestamp));
            Operation::AdminCredit(grant.expect("what expires is not withdrawable"))
        }
        What::Reserve { amount, ttl, expiry } => Operation::Reserve(Reserve {
            amount: parsed(*amount),
            ttl: ttl.map(lasting),
            expiry_policy: expiry_policy(expiry),
        }),
        What::Capture { reservation_id, amount, policy, keep_open, legs } => Operation::Capture(Capture {
            reservation_id: self::reservation_id(reservation_id),
            amount: parsed(*amount),
            shortfall_policy: shortfall_policy(policy),
            keep_open: *keep_open,
            legs: self::legs(payer, legs),
        }),
        What::Release { reservation_id } => {
            Operation::Release(Release { reservation_id: self::reservation_id(reservation_id) })
        }
        What::Extend { reservation_id, additional, ttl, expiry } => {
            let additional = (*additional != 0).then(|| parsed(*additional));
            let expiry = expiry.map(expiry_policy);
            let extend =
                Extend::new(self::reservation_id(reservation_id), additional, ttl.map(lasting), expiry);
            Operation::Extend(extend.expect("an extension changes something"))
        }
        What::SetAccount(Change { state, debt_limit, forfeit, actor, reason }) => {
            let actor = Actor::parse(actor).expect("the actor is good");
            let reason = Reason::parse(reason).expect("the reason is good");
            let forfeit = forfeit.map(MicroUsd::new);
            let change = SetAccount::new(state.map(account_state), *debt_limit, forfeit, actor, reason);
            Operation::SetAccount(change.expect("a change changes something"))
        }
        What::Reverse { amount, of, external_ids, reason, policy } => Operation::Reverse(Reverse {
            amount: parsed(*amount),
            credit: entry_name(of),
            external_ids: self::external_ids(external_ids),
            reason: reason.as_ref().map(|reason| Reason::parse(reason).expect("the reason is good")),
            shortfall_policy: shortfall_policy(policy),
        }),
        What::Withdraw { amount, external_ids } => Operation::Withdraw(Withdraw {
            amount: parsed(*amount),
            external_ids: self::external_ids(external_ids),
        }),
    }
}

pub fn reservation_id(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse_of_reservation(text).expect("the reservation id is good")
}

pub fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

pub fn reservation_state(name: &str) -> ReservationState {
    let named = |state: &ReservationState| state.name() == name;
    ReservationState::ALL.into_iter().find(named).expect("there is such a state")
}

fn lasting(micros: i64) -> Ttl {
    Ttl::from_micros(micros).expect("the lease is good")
}

fn expiry_policy(name: &str) -> ExpiryPolicy {
    let named = |policy: &ExpiryPolicy| policy.name() == name;
    ExpiryPolicy::ALL.into_iter().find(named).expect("there is such a policy")
}

fn account_state(name: &str) -> AccountState {
    let named = |state: &AccountState| state.name() == name;
    AccountState::ALL.into_iter().find(named).expect("there is such a state")
}

fn shortfall_policy(name: &str) -> ShortfallPolicy {
    match name {
        "REJECT" => ShortfallPolicy::Reject,
        "COLLECT_AVAILABLE" => ShortfallPolicy::CollectAvailable,
        "ALLOW_DEBT" => ShortfallPolicy::AllowDebt,
        _ => panic!("{name} is no policy"),
    }
}

fn parsed(amount: i64) -> Amount {
    Amount::parse("amount_micro_usd", amount).expect("the amount is good")
}

fn credit_kind(name: &str) -> CreditKind {
    let EntryType::Credit(kind) = entry_type(name) else { panic!("{name} is no kind of credit") };
    kind
}

fn entry_name(of: &Of) -> EntryName {
    match of {
        Of::Sequence(sequence) => EntryName::Sequence(*sequence),
        Of::Key(text) => EntryName::Key(key(text)),
        Of::ExternalId(text) => EntryName::ExternalId(external_id(text)),
    }
}

fn legs(payer: &AccountId, legs: &[Leg]) -> Legs {
    let leg = |leg: &Leg| accounting::Leg {
        account_id: account_id(&leg.account),
        amount: parsed(leg.amount),
        kind: LegKind::from_number(entry_type(leg.kind).number()).expect("a kind of leg"),
        grants_withdrawable: leg.grants_withdrawable,
    };
    Legs::new(payer, legs.iter().map(leg).collect()).expect("the legs are good")
}

fn legs_policy(name: &str) -> LegsPolicy {
    match name {
        "KEEP" => LegsPolicy::Keep,
        "TAKE_BACK" => LegsPolicy::TakeBack,
        _ => panic!("{name} is no policy"),
    }
}

fn external_ids(texts: &[String]) -> ExternalIds {
    ExternalIds::parse(texts).expect("the external ids are good")
}

fn external_id(text: &str) -> ExternalId {
    ExternalId::parse("external_id", text).expect("the external id is good")
}

pub fn answers(outcomes: &[Outcome]) -> Vec<Answer> {
    outcomes.iter().map(answer).collect()
}

pub fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Applied { entry: applied, since, leg_entries } => Answer::Applied {
            entry: entry(applied),
            since: since.as_ref().map(self::since),
            leg_entries: leg_entries.iter().map(|applied| entry(applied)).collect(),
        },
        Outcome::Refused(refusal) => refused(refusal),
        Outcome::Declined(refusal) => {
            let Answer::Refused { reason, metadata } = refused(refusal) else { unreachable!() };
            Answer::Declined { reason, metadata }
        }
        Outcome::Invalid(invalid) => Answer::Invalid { field: invalid.field },
        Outcome::KeyReused(reused) => {
            Answer::KeyReused { method: reused.method, fields: reused.fields.iter().copied().collect() }
        }
        Outcome::Forbidden(_) => unreachable!("the caller may do everything"),
        Outcome::NotFound(not_found) => Answer::NotFound { reason: not_found_reason(*not_found) },
    }
}

/// An answer that was looked up.
pub fn looked_up(answer: &OperationView) -> Answer {
    match answer {
        OperationView::Applied { entry: applied, since, leg_entries } => Answer::Applied {
            entry: entry(applied),
            since: Some(self::since(since)),
            leg_entries: leg_entries.iter().map(|applied| entry(applied)).collect(),
        },
        OperationView::Refused(refusal) => refused(refusal),
    }
}

fn since(since: &accounting::Since) -> Since {
    Since {
        read_time: since.read_time.unix_micros(),
        undone: since.undone.get().into(),
        reservation: since.reservation.as_ref().map(reservation),
    }
}

pub fn entry(entry: &accounting::Entry) -> Entry {
    Entry {
        account: entry.account_id.to_string(),
        sequence: entry.sequence,
        entry_type: entry.entry_type.name(),
        amount: entry.amount.get(),
        held_delta: entry.held_delta.get(),
        withdrawable_delta: entry.withdrawable_delta.get(),
        posted_after: entry.balance_after.posted().get(),
        held_after: entry.balance_after.held().get(),
        withdrawable_after: entry.balance_after.withdrawable_posted().get(),
        key: entry.idempotency_key.as_ref().map(ToString::to_string),
        external_ids: entry.external_ids.iter().map(ToString::to_string).collect(),
        reference: entry.note.reference.as_str().to_owned(),
        metadata: entry.note.metadata.clone(),
        actor: entry.actor.as_ref().map(|actor| actor.as_str().to_owned()),
        reason: entry.reason.as_ref().map(|reason| reason.as_str().to_owned()),
        reservation: entry.reservation.as_ref().map(|after| After {
            reservation_id: after.reservation_id.to_string(),
            status: status(&after.status),
        }),
        uncollected: entry.uncollected.get(),
        refunded_sequence: entry.refunded_sequence,
        reversed_sequence: entry.reversed_sequence,
        legs: entry
            .legs
            .iter()
            .map(|leg| (leg.account_id.to_string(), leg.sequence, leg.amount.get()))
            .collect(),
        funded: entry.funded.get(),
        source: entry.source.as_ref().map(|source| (source.account_id.to_string(), source.sequence)),
        settings: entry.settings.map(settings),
        create_time: entry.create_time.unix_micros(),
        effective_time: entry.effective_time.unix_micros(),
        expire: entry.grant_expire_time.map(Timestamp::unix_micros),
        moves: Moves {
            draws: shares_in_order(&entry.grant_moves.draws),
            unwinds: shares(&entry.grant_moves.unwinds),
            converted: shares(&entry.grant_moves.converted),
            lapses: shares(&entry.grant_moves.lapses),
            pins: shares(&entry.grant_moves.pins),
        },
        granted_after: entry.balance_after.granted().get(),
        lapsed: entry.balance_after.lapsing().get(),
    }
}

/// Parts of grants in their order, those of one grant together where they follow each other.
fn shares_in_order(shares: &[GrantShare]) -> Shares {
    let mut sums = Shares::new();
    for GrantShare { sequence, amount } in shares {
        match sums.last_mut() {
            Some((of, sum)) if of == sequence => *sum += amount.get(),
            Some(_) | None => sums.push((*sequence, amount.get())),
        }
    }
    sums
}

/// Parts of grants, those of one grant together.
fn shares(shares: &[GrantShare]) -> Shares {
    let mut sums = Shares::new();
    for GrantShare { sequence, amount } in shares {
        match sums.iter_mut().find(|(of, _)| of == sequence) {
            Some((_, sum)) => *sum += amount.get(),
            None => sums.push((*sequence, amount.get())),
        }
    }
    sums
}

pub fn reservation(reservation: &accounting::Reservation) -> Reservation {
    Reservation {
        account: reservation.account_id.to_string(),
        reservation_id: reservation.reservation_id.to_string(),
        sequence: reservation.sequence,
        create_time: reservation.create_time.unix_micros(),
        reference: reservation.note.reference.as_str().to_owned(),
        metadata: reservation.note.metadata.clone(),
        status: status(&reservation.status),
        pins: shares(&reservation.pins),
        close_sequence: reservation.close_sequence,
    }
}

pub fn settings(settings: AccountSettings) -> Settings {
    Settings { state: settings.state.name(), debt_limit: settings.debt_limit.map(MicroUsd::get) }
}

fn status(status: &ReservationStatus) -> Status {
    Status {
        state: status.state.name(),
        held: status.held.get(),
        captured: status.captured.get(),
        expire_time: status.expire_time.unix_micros(),
        expiry: status.expiry_policy.name(),
        close_time: status.close_time.map(Timestamp::unix_micros),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let Refusal { reason, metadata, .. } = refusal;
    let reason = REFUSALS.into_iter().find(|known| known == reason).expect("a reason of the contract");
    let mut metadata: Metadata = metadata.clone();
    // The model counts microseconds.
    let refused_time = metadata.get_mut("refused_time").expect("a refusal says when it was first given");
    assert_eq!(Timestamp::parse(refused_time), Ok(refusal.create_time));
    *refused_time = refusal.create_time.unix_micros().to_string();
    Answer::Refused { reason, metadata }
}

fn not_found_reason(not_found: NotFound) -> &'static str {
    match not_found {
        NotFound::Account => "ACCOUNT_NOT_FOUND",
        NotFound::Entry => "ENTRY_NOT_FOUND",
        NotFound::Payment => "PAYMENT_NOT_FOUND",
        NotFound::Charge => "CHARGE_NOT_FOUND",
        NotFound::Credit => "CREDIT_NOT_FOUND",
        NotFound::Operation => "OPERATION_NOT_FOUND",
        NotFound::Reservation => "RESERVATION_NOT_FOUND",
    }
}
