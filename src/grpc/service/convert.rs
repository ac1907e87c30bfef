//! Converts requests to commands, and answers to messages: the only place that does.

use std::collections::BTreeMap;

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

use crate::{
    accounting::{
        AccountId, AccountSettings, AccountState, Actor, AdminCredit, Amount, Balance, CallerName, Capture,
        Charge, Command, Credit, CreditKind, Entry, EntryName, EntryType, ExpiryPolicy, Extend, ExternalId,
        ExternalIds, IdempotencyKey, Invalid, Leg, LegKind, Legs, LegsPolicy, MicroUsd, Note, Operation,
        PaidLeg, Reason, Reference, Refund, Refusal, Release, Reservation, ReservationAfter,
        ReservationState, Reserve, Reverse, SetAccount, ShortfallPolicy, Since, Source, Timestamp, Ttl,
        Withdraw,
    },
    grpc::proto::{self, refund_request, reverse_request},
    ledger::{AccountStatement, AccountView, EntryQuery, Total},
};

const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1_000;
const NANOS_RANGE: std::ops::Range<i32> = 0..1_000_000_000;
/// The number of `FAILED_PRECONDITION`, the code of every refusal.
const REFUSAL_CODE: i32 = tonic::Code::FailedPrecondition as i32;

impl TryFrom<proto::CreditRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::CreditRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let amount = amount(request.amount_micro_usd)?;
        let kind = credit_kind(request.entry_type)?;
        let external_ids = ExternalIds::parse(&request.external_ids)?;
        let operation = Operation::Credit(Credit::new(amount, kind, external_ids)?);
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::ChargeRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::ChargeRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::Charge(Charge {
            amount: amount(request.amount_micro_usd)?,
            shortfall_policy: shortfall_policy(request.shortfall_policy)?,
            legs: legs(&account_id, &request.legs)?,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::RefundRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::RefundRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let charge = match &request.charge {
            Some(refund_request::Charge::ChargeSequence(sequence)) => {
                EntryName::parse_sequence("charge_sequence", *sequence)?
            }
            Some(refund_request::Charge::ChargeIdempotencyKey(key)) => {
                EntryName::Key(IdempotencyKey::parse("charge_idempotency_key", key)?)
            }
            Some(refund_request::Charge::ChargeExternalId(id)) => {
                EntryName::ExternalId(ExternalId::parse("charge_external_id", id)?)
            }
            None => {
                let problem = "is required: charge_sequence, charge_idempotency_key or charge_external_id";
                return Err(Invalid::field("charge", problem));
            }
        };
        let (amount, legs) = (amount(request.amount_micro_usd)?, legs_policy(request.legs)?);
        let operation = Operation::Refund(Refund { amount, charge, legs });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::AdminCreditRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::AdminCreditRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::AdminCredit(AdminCredit {
            amount: amount(request.amount_micro_usd)?,
            actor: Actor::parse(&request.actor)?,
            reason: Reason::parse(&request.reason)?,
            withdrawable: request.withdrawable,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::ReverseRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::ReverseRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let credit = match &request.credit {
            Some(reverse_request::Credit::CreditSequence(sequence)) => {
                EntryName::parse_sequence("credit_sequence", *sequence)?
            }
            Some(reverse_request::Credit::CreditIdempotencyKey(key)) => {
                EntryName::Key(IdempotencyKey::parse("credit_idempotency_key", key)?)
            }
            Some(reverse_request::Credit::CreditExternalId(id)) => {
                EntryName::ExternalId(ExternalId::parse("credit_external_id", id)?)
            }
            None => {
                let problem = "is required: credit_sequence, credit_idempotency_key or credit_external_id";
                return Err(Invalid::field("credit", problem));
            }
        };
        let reason = Some(request.reason.as_str()).filter(|reason| !reason.is_empty());
        let operation = Operation::Reverse(Reverse {
            amount: amount(request.amount_micro_usd)?,
            credit,
            external_ids: ExternalIds::parse(&request.external_ids)?,
            reason: reason.map(Reason::parse).transpose()?,
            shortfall_policy: shortfall_policy(request.shortfall_policy)?,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::WithdrawRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::WithdrawRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::Withdraw(Withdraw {
            amount: amount(request.amount_micro_usd)?,
            external_ids: ExternalIds::parse(&request.external_ids)?,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::ReserveRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::ReserveRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::Reserve(Reserve {
            amount: amount(request.amount_micro_usd)?,
            ttl: ttl(request.ttl.as_ref())?,
            expiry_policy: expiry_policy(request.expiry_policy)?.unwrap_or_default(),
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::CaptureRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::CaptureRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::Capture(Capture {
            reservation_id: IdempotencyKey::parse_of_reservation(&request.reservation_id)?,
            amount: amount(request.amount_micro_usd)?,
            shortfall_policy: shortfall_policy(request.shortfall_policy)?,
            keep_open: request.keep_open,
            legs: legs(&account_id, &request.legs)?,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::ReleaseRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::ReleaseRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let operation = Operation::Release(Release {
            reservation_id: IdempotencyKey::parse_of_reservation(&request.reservation_id)?,
        });
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, operation, note))
    }
}

impl TryFrom<proto::ExtendReservationRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::ExtendReservationRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let reservation_id = IdempotencyKey::parse_of_reservation(&request.reservation_id)?;
        let additional =
            Amount::parse_or_none("additional_amount_micro_usd", request.additional_amount_micro_usd)?;
        let (ttl, expiry_policy) = (ttl(request.ttl.as_ref())?, expiry_policy(request.expiry_policy)?);
        let extend = Extend::new(reservation_id, additional, ttl, expiry_policy)?;
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, Operation::Extend(extend), note))
    }
}

impl TryFrom<proto::SetAccountRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::SetAccountRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let state = account_state(request.state)?;
        let forfeit = request.forfeit_micro_usd.map(MicroUsd::new);
        let (actor, reason) = (Actor::parse(&request.actor)?, Reason::parse(&request.reason)?);
        let change = SetAccount::new(state, request.debt_limit_micro_usd, forfeit, actor, reason)?;
        let note = Note::parse(&request.reference, request.metadata)?;
        Ok(Self::new(account_id, key, Operation::SetAccount(change), note))
    }
}

fn expiry_policy(number: i32) -> Result<Option<ExpiryPolicy>, Invalid> {
    let most = ExpiryPolicy::ALL.len();
    optional("expiry_policy", "ExpiryPolicy", most, number, ExpiryPolicy::from_number)
}

fn account_state(number: i32) -> Result<Option<AccountState>, Invalid> {
    optional("state", "AccountState", AccountState::ALL.len(), number, AccountState::from_number)
}

/// The value with a number of an enum; `None` if it is unset.
fn optional<T>(
    field: &'static str,
    name: &str,
    most: usize,
    number: i32,
    from_number: impl FnOnce(i16) -> Option<T>,
) -> Result<Option<T>, Invalid> {
    if number == 0 {
        return Ok(None);
    }
    let value = i16::try_from(number).ok().and_then(from_number);
    value.map(Some).ok_or_else(|| no_such_number(field, name, 0, most, number))
}

fn shortfall_policy(number: i32) -> Result<ShortfallPolicy, Invalid> {
    match proto::ShortfallPolicy::try_from(number) {
        Ok(proto::ShortfallPolicy::Unspecified | proto::ShortfallPolicy::Reject) => {
            Ok(ShortfallPolicy::Reject)
        }
        Ok(proto::ShortfallPolicy::CollectAvailable) => Ok(ShortfallPolicy::CollectAvailable),
        Ok(proto::ShortfallPolicy::AllowDebt) => Ok(ShortfallPolicy::AllowDebt),
        Err(_) => Err(no_such_number("shortfall_policy", "ShortfallPolicy", 0, 3, number)),
    }
}

fn no_such_number(field: &'static str, name: &str, least: usize, most: usize, number: i32) -> Invalid {
    Invalid::field(field, format!("must be {least}..={most}, the numbers of {name}, not {number}"))
}

fn ttl(duration: Option<&ProtoDuration>) -> Result<Option<Ttl>, Invalid> {
    let Some(duration) = duration else { return Ok(None) };
    let too_short = || Invalid::field("ttl", "must be at least a microsecond");
    if duration.seconds < 0 {
        return Err(too_short());
    }
    let micros =
        duration.seconds.saturating_mul(1_000_000).saturating_add(nanos("ttl", duration.nanos)? / 1_000);
    if micros > Ttl::LONGEST.micros() {
        let most = Ttl::LONGEST.micros() / 1_000_000;
        let problem = format!("must be at most {most} seconds, or less where the service is configured so");
        return Err(Invalid::field("ttl", problem));
    }
    Ttl::from_micros(micros).map(Some).ok_or_else(too_short)
}

/// The state that a list is filtered by; `None` for all.
pub(crate) fn reservation_state(number: i32) -> Result<Option<ReservationState>, Invalid> {
    optional("state", "ReservationState", ReservationState::ALL.len(), number, ReservationState::from_number)
}

fn names(account_id: &str, key: &str) -> Result<(AccountId, IdempotencyKey), Invalid> {
    let account_id = AccountId::parse("account_id", account_id)?;
    let key = IdempotencyKey::parse_of_operation(key)?;
    Ok((account_id, key))
}

fn amount(micro_usd: i64) -> Result<Amount, Invalid> {
    Amount::parse("amount_micro_usd", micro_usd)
}

fn credit_kind(number: i32) -> Result<CreditKind, Invalid> {
    match entry_type(number) {
        Some(EntryType::Credit(kind)) if kind != CreditKind::Fee => Ok(kind),
        Some(_) | None => Err(Invalid::field(
            "entry_type",
            "must be a credit kind: ENTRY_TYPE_STRIPE_DEPOSIT, ENTRY_TYPE_DEPOSIT, ENTRY_TYPE_EARNING, \
             ENTRY_TYPE_REFERRAL_REWARD or ENTRY_TYPE_INVITE_CREDIT",
        )),
    }
}

fn legs(payer: &AccountId, legs: &[proto::Leg]) -> Result<Legs, Invalid> {
    let leg = |leg: &proto::Leg| {
        let kind = i16::try_from(leg.entry_type).ok().and_then(LegKind::from_number);
        let problem = "must be ENTRY_TYPE_EARNING, ENTRY_TYPE_REFERRAL_REWARD or ENTRY_TYPE_FEE";
        Ok(Leg {
            account_id: AccountId::parse("legs.account_id", &leg.account_id)?,
            amount: Amount::parse("legs.amount_micro_usd", leg.amount_micro_usd)?,
            kind: kind.ok_or_else(|| Invalid::field("legs.entry_type", problem))?,
        })
    };
    Legs::new(payer, legs.iter().map(leg).collect::<Result<_, Invalid>>()?)
}

fn legs_policy(number: i32) -> Result<Option<LegsPolicy>, Invalid> {
    match proto::LegsPolicy::try_from(number) {
        Ok(proto::LegsPolicy::Unspecified) => Ok(None),
        Ok(proto::LegsPolicy::Keep) => Ok(Some(LegsPolicy::Keep)),
        Ok(proto::LegsPolicy::TakeBack) => Ok(Some(LegsPolicy::TakeBack)),
        Err(_) => Err(Invalid::field("legs", "must be LEGS_POLICY_KEEP or LEGS_POLICY_TAKE_BACK")),
    }
}

fn entry_type(number: i32) -> Option<EntryType> {
    EntryType::from_number(i16::try_from(number).ok()?)
}

/// The filter of a list of entries.
pub(crate) fn entry_query(request: &proto::ListEntriesRequest) -> Result<EntryQuery, Invalid> {
    let types = request.entry_types.iter().map(|number| {
        let most = EntryType::ALL.len();
        entry_type(*number).ok_or_else(|| no_such_number("entry_types", "EntryType", 1, most, *number))
    });
    let reference = Some(request.reference.clone()).filter(|reference| !reference.is_empty());
    if reference.as_ref().is_some_and(|reference| reference.contains('\0')) {
        return Err(Invalid::field("reference", "must not contain NUL characters"));
    }
    Ok(EntryQuery {
        entry_types: types.collect::<Result<_, _>>()?,
        reference: reference.map(Reference::recorded),
    })
}

/// The most items on a page.
pub(crate) fn page_size(page_size: i32) -> Result<usize, Invalid> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Invalid::field("page_size", format!("must not be negative, but is {page_size}"))),
    }
}

/// The sequence of an entry.
pub(crate) fn sequence(sequence: i64) -> Result<i64, Invalid> {
    if sequence < 1 {
        return Err(Invalid::field("sequence", format!("must be at least 1, not {sequence}")));
    }
    Ok(sequence)
}

fn nanos(field: &'static str, nanos: i32) -> Result<i64, Invalid> {
    if !NANOS_RANGE.contains(&nanos) {
        return Err(Invalid::field(field, "must have 0 to 999,999,999 nanos"));
    }
    Ok(nanos.into())
}

/// A time, rounded down to whole microseconds.
pub(crate) fn timestamp_floor(field: &'static str, time: &ProtoTimestamp) -> Result<Timestamp, Invalid> {
    let second = Timestamp::from_unix_micros(time.seconds.saturating_mul(1_000_000));
    if !(Timestamp::FIRST..=Timestamp::LAST).contains(&second) {
        return Err(Invalid::field(field, "must be between the years 1 and 9999"));
    }
    Ok(Timestamp::from_unix_micros(second.unix_micros() + nanos(field, time.nanos)? / 1_000))
}

/// The time range of a list or a statement, both ends rounded up to whole microseconds.
pub(crate) fn times(
    from_time: Option<&ProtoTimestamp>,
    until_time: Option<&ProtoTimestamp>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Invalid> {
    let from = timestamp_ceiling("from_time", from_time)?;
    let until = timestamp_ceiling("until_time", until_time)?;
    let moment = |time: &ProtoTimestamp| (time.seconds, time.nanos);
    if until_time.zip(from_time).is_some_and(|(until, from)| moment(until) < moment(from)) {
        return Err(Invalid::field("until_time", "must not be before from_time"));
    }
    Ok((from, until))
}

/// A time, rounded up to whole microseconds, if it is set.
fn timestamp_ceiling(
    field: &'static str,
    time: Option<&ProtoTimestamp>,
) -> Result<Option<Timestamp>, Invalid> {
    let Some(time) = time else { return Ok(None) };
    let floor = timestamp_floor(field, time)?;
    let rest = i64::from(time.nanos % 1_000 > 0);
    Ok(Some(Timestamp::from_unix_micros(floor.unix_micros() + rest)))
}

fn timestamp(time: Timestamp) -> ProtoTimestamp {
    let micros = time.unix_micros();
    // The remainder is less than a million, so its nanoseconds fit.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    ProtoTimestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

impl From<Balance> for proto::Balance {
    fn from(balance: Balance) -> Self {
        Self {
            posted_micro_usd: balance.posted().get(),
            held_micro_usd: balance.held().get(),
            available_micro_usd: balance.available().get(),
            withdrawable_micro_usd: balance.withdrawable().get(),
        }
    }
}

impl From<&Entry> for proto::Entry {
    fn from(entry: &Entry) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            account_id: entry.account_id.to_string(),
            sequence: entry.sequence,
            entry_type: entry.entry_type.number().into(),
            amount_micro_usd: entry.amount.get(),
            held_delta_micro_usd: entry.held_delta.get(),
            balance_after: Some(entry.balance_after.into()),
            idempotency_key: text(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str)),
            external_ids: entry.external_ids.iter().map(ToString::to_string).collect(),
            reference: entry.note.reference.as_str().to_owned(),
            metadata: entry.note.metadata.clone(),
            actor: text(entry.actor.as_ref().map(Actor::as_str)),
            reason: text(entry.reason.as_ref().map(Reason::as_str)),
            reservation: entry.reservation.as_ref().map(Into::into),
            refunded_sequence: entry.refunded_sequence.unwrap_or_default(),
            create_time: Some(timestamp(entry.create_time)),
            caller: text(entry.caller.as_ref().map(CallerName::as_str)),
            uncollected_micro_usd: entry.uncollected.get(),
            effective_time: Some(timestamp(entry.effective_time)),
            account_settings: entry.settings.map(Into::into),
            reversed_sequence: entry.reversed_sequence.unwrap_or_default(),
            withdrawable_delta_micro_usd: entry.withdrawable_delta.get(),
            legs: entry.legs.iter().map(Into::into).collect(),
            funded_micro_usd: entry.funded.get(),
            source: entry.source.as_ref().map(Into::into),
        }
    }
}

impl From<&PaidLeg> for proto::PaidLeg {
    fn from(PaidLeg { account_id, sequence, amount }: &PaidLeg) -> Self {
        Self { account_id: account_id.to_string(), sequence: *sequence, amount_micro_usd: amount.get() }
    }
}

impl From<&Source> for proto::EntrySource {
    fn from(Source { account_id, sequence }: &Source) -> Self {
        Self { account_id: account_id.to_string(), sequence: *sequence }
    }
}

impl From<&ReservationAfter> for proto::ReservationStatus {
    fn from(after: &ReservationAfter) -> Self {
        let ReservationAfter { reservation_id, status } = after;
        Self {
            reservation_id: reservation_id.to_string(),
            state: status.state.number().into(),
            amount_micro_usd: status.held.get(),
            captured_micro_usd: status.captured.get(),
            expire_time: Some(timestamp(status.expire_time)),
            close_time: status.close_time.map(timestamp),
            expiry_policy: status.expiry_policy.number().into(),
        }
    }
}

impl From<&Reservation> for proto::Reservation {
    fn from(reservation: &Reservation) -> Self {
        let status = &reservation.status;
        Self {
            account_id: reservation.account_id.to_string(),
            reservation_id: reservation.reservation_id.to_string(),
            state: status.state.number().into(),
            amount_micro_usd: status.held.get(),
            captured_micro_usd: status.captured.get(),
            create_time: Some(timestamp(reservation.create_time)),
            expire_time: Some(timestamp(status.expire_time)),
            close_time: status.close_time.map(timestamp),
            reference: reservation.note.reference.as_str().to_owned(),
            metadata: reservation.note.metadata.clone(),
            expiry_policy: status.expiry_policy.number().into(),
        }
    }
}

impl From<&Since> for proto::Since {
    fn from(since: &Since) -> Self {
        Self {
            read_time: Some(timestamp(since.read_time)),
            undone_micro_usd: since.undone.get(),
            reservation: since.reservation.as_ref().map(Into::into),
        }
    }
}

impl From<&Refusal> for proto::Refusal {
    fn from(refusal: &Refusal) -> Self {
        let metadata: BTreeMap<String, String> = refusal.metadata.clone();
        Self {
            code: REFUSAL_CODE,
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            metadata,
            create_time: Some(timestamp(refusal.create_time)),
        }
    }
}

impl From<AccountSettings> for proto::AccountSettings {
    fn from(settings: AccountSettings) -> Self {
        let AccountSettings { state, debt_limit } = settings;
        Self { state: state.number().into(), debt_limit_micro_usd: debt_limit.map(MicroUsd::get) }
    }
}

/// A statement as a message.
pub(crate) fn statement(statement: AccountStatement) -> Result<proto::GetStatementResponse, Invalid> {
    let total = |total: Total| {
        let problem = "must end a shorter period: the totals of this one do not fit in int64";
        Ok(proto::Total {
            entry_type: total.entry_type.number().into(),
            count: total.count,
            amount_micro_usd: i64::try_from(total.amount)
                .map_err(|_| Invalid::field("until_time", problem))?,
        })
    };
    Ok(proto::GetStatementResponse {
        opening: Some(statement.opening.into()),
        closing: Some(statement.closing.into()),
        totals: statement.totals.into_iter().map(total).collect::<Result<_, Invalid>>()?,
    })
}

/// An account as a message.
pub(crate) fn account(account_id: &AccountId, account: &AccountView) -> proto::Account {
    proto::Account {
        account_id: account_id.to_string(),
        balance: Some(account.balance.into()),
        last_sequence: account.last_sequence,
        create_time: Some(timestamp(account.create_time)),
        update_time: Some(timestamp(account.update_time)),
        state: account.settings.state.number().into(),
        debt_limit_micro_usd: account.settings.debt_limit.map(MicroUsd::get),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_proto_are_those_of_the_book() {
        for entry_type in EntryType::ALL {
            let number = proto::EntryType::try_from(i32::from(entry_type.number())).unwrap();
            assert_eq!(number.as_str_name(), format!("ENTRY_TYPE_{}", entry_type.name()));
        }
        for policy in ExpiryPolicy::ALL {
            let number = proto::ExpiryPolicy::try_from(i32::from(policy.number())).unwrap();
            assert_eq!(number.as_str_name(), format!("EXPIRY_POLICY_{}", policy.name()));
        }
        for state in AccountState::ALL {
            let number = proto::AccountState::try_from(i32::from(state.number())).unwrap();
            assert_eq!(number.as_str_name(), format!("ACCOUNT_STATE_{}", state.name()));
        }
        for state in ReservationState::ALL {
            let number = proto::ReservationState::try_from(i32::from(state.number())).unwrap();
            assert_eq!(number.as_str_name(), format!("RESERVATION_STATE_{}", state.name()));
        }
    }

    #[test]
    fn a_moment_between_microseconds_is_rounded_to_the_side_that_is_asked_for() {
        let time = ProtoTimestamp { seconds: -1, nanos: 999_999_001 };
        assert_eq!(timestamp_floor("as_of", &time).unwrap().unix_micros(), -1);
        assert_eq!(timestamp_ceiling("as_of", Some(&time)).unwrap().unwrap().unix_micros(), 0);
        assert_eq!(timestamp(Timestamp::from_unix_micros(-1)).nanos, 999_999_000);
    }

    #[test]
    fn a_moment_that_is_none_is_refused_by_field() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            let time = ProtoTimestamp { seconds, nanos };
            assert_eq!(timestamp_floor("as_of", &time).unwrap_err().field, "as_of");
        }
    }
}
