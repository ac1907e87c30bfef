//! Converts requests to commands: the only place that does.

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

use super::fields::{self, entry_type, nanos, no_such_number, optional};
use crate::{
    accounting::{
        AccountId, AccountState, Actor, AdminCredit, Amount, Capture, Charge, Command, Credit, CreditKind,
        EntryName, EntryType, ExpiryPolicy, Extend, ExternalId, ExternalIds, IdempotencyKey, Invalid, Leg,
        LegKind, Legs, LegsPolicy, MicroUsd, Note, Operation, Reason, Refund, Release, Reserve, Reverse,
        SetAccount, ShortfallPolicy, Timestamp, Ttl, Withdraw,
    },
    grpc::proto::{self, refund_request, reverse_request},
};

impl TryFrom<proto::CreditRequest> for Command {
    type Error = Invalid;

    fn try_from(request: proto::CreditRequest) -> Result<Self, Invalid> {
        let (account_id, key) = names(&request.account_id, &request.idempotency_key)?;
        let amount = amount(request.amount_micro_usd)?;
        let kind = credit_kind(request.entry_type)?;
        let external_ids = ExternalIds::parse(&request.external_ids)?;
        let expire_time = expire_time(request.expire_time.as_ref())?;
        let operation = Operation::Credit(Credit::new(amount, kind, external_ids, expire_time)?);
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
                EntryName::Sequence(fields::sequence("charge_sequence", *sequence)?)
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
        let decided = (Actor::parse(&request.actor)?, Reason::parse(&request.reason)?);
        let expire_time = expire_time(request.expire_time.as_ref())?;
        let amount = amount(request.amount_micro_usd)?;
        let grant = AdminCredit::new(amount, decided, request.withdrawable, expire_time)?;
        let operation = Operation::AdminCredit(grant);
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
                EntryName::Sequence(fields::sequence("credit_sequence", *sequence)?)
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

fn names(account_id: &str, key: &str) -> Result<(AccountId, IdempotencyKey), Invalid> {
    let account_id = AccountId::parse("account_id", account_id)?;
    let key = IdempotencyKey::parse_of_operation(key)?;
    Ok((account_id, key))
}

fn amount(micro_usd: i64) -> Result<Amount, Invalid> {
    Amount::parse("amount_micro_usd", micro_usd)
}

fn expire_time(time: Option<&ProtoTimestamp>) -> Result<Option<Timestamp>, Invalid> {
    time.map(|time| fields::timestamp_floor("expire_time", time)).transpose()
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
            grants_withdrawable: leg.grants_withdrawable,
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
