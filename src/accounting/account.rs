//! An account, as it stands.

use super::{Balance, Timestamp};

/// An account, as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Its money.
    pub balance: Balance,
    /// The sequence of its newest entry; 0 before the first.
    pub last_sequence: i64,
    /// When the newest entry was written.
    pub update_time: Timestamp,
    /// No lease expires before this; `None` if none is running.
    pub next_expire_time: Option<Timestamp>,
}

impl Account {
    /// The time in this account: a clock set back does not turn its journal round.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        now.max(self.update_time)
    }

    /// Whether a lease may have expired that is not recorded.
    #[must_use]
    pub fn may_have_lapsed(&self, now: Timestamp) -> bool {
        self.next_expire_time.is_some_and(|next| next <= self.time(now))
    }
}
