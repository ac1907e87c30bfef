//! `SetAccount`: changes what is possible in an account, by decision of an operator.

use super::{Describe, References};
use crate::accounting::{
    Account, AccountSettings, AccountState, Actor, EntryType, Fingerprint, Invalid, MicroUsd, Reason,
    RefusalReason,
    fingerprint::Field,
    method::Method,
    posting::Posting,
    verdict::{NotFound, Situation, Verdict},
};

/// In a request, takes away the account's own debt limit.
const NO_OWN_LIMIT: i64 = -1;

/// A decision about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAccount {
    state: Option<AccountState>,
    debt_limit: Option<i64>,
    forfeit: Option<MicroUsd>,
    actor: Actor,
    reason: Reason,
}

impl SetAccount {
    /// A decision about an account: `None` leaves the state or the limit as it is. A debt limit of -1 takes away the
    /// account's own.
    ///
    /// # Errors
    /// When it would change nothing, or names a limit that there cannot be, or forfeits money of an account that stays open.
    pub fn new(
        state: Option<AccountState>,
        debt_limit: Option<i64>,
        forfeit: Option<MicroUsd>,
        actor: Actor,
        reason: Reason,
    ) -> Result<Self, Invalid> {
        if state.is_none() && debt_limit.is_none() {
            return Err(Invalid::field("state", "is required where there is no debt_limit_micro_usd"));
        }
        if debt_limit.is_some_and(|limit| limit < NO_OWN_LIMIT) {
            let problem = "must be at least 0, or -1 for the configured limit";
            return Err(Invalid::field("debt_limit_micro_usd", problem));
        }
        if forfeit.is_some() && state != Some(AccountState::Closed) {
            return Err(Invalid::field("forfeit_micro_usd", "is possible only with ACCOUNT_STATE_CLOSED"));
        }
        Ok(Self { state, debt_limit, forfeit, actor, reason })
    }
}

impl Describe for SetAccount {
    fn method(&self) -> Method {
        Method::SetAccount
    }

    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint {
        let Self { state, debt_limit, forfeit, actor, reason } = self;
        fingerprint
            .optional(Field::State, state.map(|state| state.number().into()))
            .optional(Field::DebtLimit, *debt_limit)
            .optional(Field::Forfeit, forfeit.map(MicroUsd::get))
            .text(Field::Actor, actor.as_str())
            .text(Field::Reason, reason.as_str())
    }

    fn references(&self) -> References<'_> {
        let closes_account = self.state == Some(AccountState::Closed);
        References { closes_account, ..References::default() }
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let Some(account) = situation.known_account() else { return Verdict::NotFound(NotFound::Account) };
        match self.forfeited(account, situation) {
            Ok(forfeited) => Verdict::Post(Posting {
                settings: Some(self.settings(account.settings)),
                actor: Some(self.actor.clone()),
                reason: Some(self.reason.clone()),
                ..Posting::new(EntryType::AccountChange, forfeited)
            }),
            Err(reason) => Verdict::Refuse(reason),
        }
    }
}

impl SetAccount {
    fn settings(&self, before: AccountSettings) -> AccountSettings {
        AccountSettings {
            state: self.state.unwrap_or(before.state),
            debt_limit: match self.debt_limit {
                None => before.debt_limit,
                Some(limit) => Some(MicroUsd::new(limit)).filter(|_| limit != NO_OWN_LIMIT),
            },
        }
    }

    /// What closing the account adds to its balance: nothing is left afterwards.
    fn forfeited(&self, account: &Account, situation: &Situation<'_>) -> Result<MicroUsd, RefusalReason> {
        if self.state != Some(AccountState::Closed) {
            return Ok(MicroUsd::ZERO);
        }
        let (posted, held) = (account.balance.posted(), account.balance.held());
        if situation.book.open_reservations(situation.account_id()) > 0 {
            return Err(RefusalReason::ReservationsOpen { held });
        }
        if self.forfeit.unwrap_or_default() != posted {
            return Err(RefusalReason::ForfeitMismatch { posted });
        }
        MicroUsd::ZERO.checked_sub(posted).ok_or(RefusalReason::BalanceOverflow)
    }
}
