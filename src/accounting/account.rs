//! The state of an account.

use super::{AccountSettings, AccountState, Balance, Limits, MicroUsd, RefusalReason, Timestamp};

/// The state of an account.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Its balance.
    pub balance: Balance,
    /// The sequence of its newest entry; 0 before the first.
    pub last_sequence: i64,
    /// When the newest entry was written.
    pub update_time: Timestamp,
    /// No lease and no grant expires before this; `None` if no reservation is open, and no grant has anything unpinned.
    pub next_expire_time: Option<Timestamp>,
    /// Whether anything remains of a grant.
    pub has_grants: bool,
    /// What an operator has decided about it.
    pub settings: AccountSettings,
}

impl Account {
    /// The time in this account, which never goes back, even if the clock does.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        now.max(self.update_time)
    }

    /// What it may owe: its own limit stands before the configured one.
    pub(super) fn debt_limit(&self, limits: &Limits) -> MicroUsd {
        self.settings.debt_limit.unwrap_or(limits.debt_max)
    }

    /// Fails if an operator has forbidden it to spend.
    pub(super) fn may_spend(&self) -> Result<(), RefusalReason> {
        match self.settings.state {
            AccountState::Active => Ok(()),
            AccountState::Frozen => Err(RefusalReason::AccountFrozen),
            AccountState::Closed => Err(RefusalReason::AccountClosed),
        }
    }

    /// Fails if an operator has forbidden it to take money in.
    pub(super) fn may_earn(&self) -> Result<(), RefusalReason> {
        match self.settings.state {
            AccountState::Active | AccountState::Frozen => Ok(()),
            AccountState::Closed => Err(RefusalReason::AccountClosed),
        }
    }

    /// Whether a lease or a grant may have expired without being recorded.
    #[must_use]
    pub fn may_have_lapsed(&self, now: Timestamp) -> bool {
        self.next_expire_time.is_some_and(|next| next <= self.time(now))
    }
}
