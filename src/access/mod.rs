//! Who may call: names, roles, and the credentials that prove them. Knows nothing of gRPC.

mod credentials;
mod token;

use std::{fmt, str::FromStr};

pub use credentials::{CertificateNames, Credentials, CredentialsError};
pub use token::Token;

use crate::accounting::CallerName;

/// What a caller may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Reader,
    /// Moves money, as far as the rules of the ledger let anybody.
    Coordinator,
    /// Grants money.
    Admin,
}

/// A role that there is not.
#[derive(Debug, thiserror::Error)]
#[error("the role must be reader, coordinator or admin")]
pub struct UnknownRole;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name, which is kept with each entry that it asks for.
    pub name: CallerName,
    /// What it may do.
    pub role: Role,
}

impl Role {
    const ALL: [Self; 3] = [Self::Reader, Self::Coordinator, Self::Admin];

    /// The role's name, as in the credentials file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Coordinator => "coordinator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}
