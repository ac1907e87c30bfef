//! Converts what the book answers to messages: the only place that does.

use std::{collections::BTreeMap, sync::Arc};

use prost_types::Timestamp as ProtoTimestamp;

use crate::{
    access::{Caller, Role},
    accounting::{
        AccountId, AccountSettings, Actor, Balance, CallerName, Entry, Grant, GrantShare, IdempotencyKey,
        Invalid, MicroUsd, PaidLeg, Reason, Refusal, Reservation, ReservationAfter, Since, Source, Timestamp,
    },
    grpc::proto,
    ledger::{AccountStatement, AccountView, Total},
};

/// The number of `FAILED_PRECONDITION`, the code of every refusal.
const REFUSAL_CODE: i32 = tonic::Code::FailedPrecondition as i32;

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
            granted_micro_usd: balance.granted().get(),
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
            grant_expire_time: entry.grant_expire_time.map(timestamp),
            draws: shares(&entry.grant_moves.draws),
            unwinds: shares(&entry.grant_moves.unwinds),
            converted: shares(&entry.grant_moves.converted),
            lapses: shares(&entry.grant_moves.lapses),
            pins: shares(&entry.grant_moves.pins),
            lapsed_micro_usd: entry.balance_after.lapsing().get(),
        }
    }
}

/// What an operation was answered with, and what has happened since if that was before.
pub(super) fn applied(entry: &Entry, since: Option<&Since>, leg_entries: &[Arc<Entry>]) -> proto::Applied {
    proto::Applied {
        entry: Some(entry.into()),
        replayed: since.is_some(),
        since: since.map(Into::into),
        leg_entries: leg_entries.iter().map(|entry| entry.as_ref().into()).collect(),
    }
}

fn shares(shares: &[GrantShare]) -> Vec<proto::GrantShare> {
    let share = |share: &GrantShare| proto::GrantShare {
        grant_sequence: share.sequence,
        amount_micro_usd: share.amount.get(),
    };
    shares.iter().map(share).collect()
}

impl From<&Grant> for proto::Grant {
    fn from(grant: &Grant) -> Self {
        Self {
            sequence: grant.sequence,
            amount_micro_usd: grant.amount.get(),
            remaining_micro_usd: grant.remaining.get(),
            pinned_micro_usd: grant.pinned.get(),
            lapsed_micro_usd: grant.lapsed.get(),
            expire_time: Some(timestamp(grant.expire_time)),
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

/// A caller as a message. Whoever needs no credentials may do everything.
pub(crate) fn caller(caller: Option<&Caller>) -> proto::GetCallerResponse {
    let may = |role: &Role| caller.is_none_or(|caller| caller.roles.contain(*role));
    proto::GetCallerResponse {
        caller: caller.map(|caller| caller.name.to_string()).unwrap_or_default(),
        roles: Role::ALL.iter().filter(|role| may(role)).map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::{AccountState, EntryType, ExpiryPolicy, ReservationState};

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
    fn a_moment_before_1970_has_positive_nanoseconds() {
        assert_eq!(
            timestamp(Timestamp::from_unix_micros(-1)),
            ProtoTimestamp { seconds: -1, nanos: 999_999_000 }
        );
    }
}
