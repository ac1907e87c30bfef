//! What an operator decides about an account: its state, and its own debt limit.

use super::MicroUsd;

/// The state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccountState {
    /// Everything is possible.
    #[default]
    Active,
    /// It spends nothing new: no charges, reservations or raised holds. What is open is still settled.
    Frozen,
    /// It takes no money in, either. Refunds still apply.
    Closed,
}

/// What an operator has decided about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountSettings {
    /// Its state.
    pub state: AccountState,
    /// Its own debt limit, instead of the configured one; at least zero.
    pub debt_limit: Option<MicroUsd>,
}

impl AccountState {
    /// Every state, in the order of the numbers.
    pub const ALL: [Self; 3] = [Self::Active, Self::Frozen, Self::Closed];

    /// The number of the state, in SQL and in the proto.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Active => 1,
            Self::Frozen => 2,
            Self::Closed => 3,
        }
    }

    /// The state with a number, or `None` if there is none.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name of the state, as in the proto without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Frozen => "FROZEN",
            Self::Closed => "CLOSED",
        }
    }
}
