//! Who may call: names, roles, and the credentials that prove them. Knows nothing of gRPC.

mod credentials;
mod token;

use std::{fmt, str::FromStr};

pub use credentials::{CertificateNames, Credentials, CredentialsError};
pub use token::Token;

use crate::accounting::CallerName;

/// What a caller may do. No role includes another, but all may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May read.
    Reader = 1,
    /// May move money, within the rules of the ledger.
    Coordinator = 2,
    /// May grant money.
    Admin = 4,
}

/// The roles of a caller: at least one. Written as their names, separated by commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name, which is stored with each entry that it causes.
    pub name: CallerName,
    /// What it may do.
    pub roles: Roles,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Coordinator, Self::Admin];

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

impl Roles {
    /// Whether the role is among them.
    #[must_use]
    pub fn contain(self, role: Role) -> bool {
        self.0 & role as u8 != 0
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(role as u8)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Role::ALL.into_iter().filter(|role| self.contain(*role)).map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.split(',').try_fold(Self(0), |roles, name| {
            let role = Role::ALL.into_iter().find(|role| role.as_str() == name);
            let role =
                role.ok_or("a role must be reader, coordinator or admin; several have commas between them")?;
            if roles.contain(role) {
                return Err("a role is named twice");
            }
            Ok(Self(roles.0 | role as u8))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_set_that_is_never_empty() {
        for (text, written) in [
            ("reader", "reader"),
            ("coordinator,admin", "coordinator,admin"),
            ("admin,coordinator", "coordinator,admin"),
            ("admin,reader,coordinator", "reader,coordinator,admin"),
        ] {
            let roles: Roles = text.parse().unwrap();
            assert_eq!(roles.to_string(), written);
            assert_eq!(roles, written.parse().unwrap());
            for role in Role::ALL {
                assert_eq!(roles.contain(role), text.split(',').any(|name| name == role.as_str()), "{text}");
            }
        }
        for bad in
            ["", ",", "admin,", ",admin", "admin,,reader", "admin,admin", "Admin", "admin reader", "king"]
        {
            assert!(bad.parse::<Roles>().is_err(), "{bad:?}");
        }
    }
}
