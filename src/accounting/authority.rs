//! Whose decision an operation is. Most methods belong to one role; of a refund and a reversal the entry decides.

/// Who may ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A coordinator, in the course of business.
    Coordinator,
    /// An operator.
    Admin,
}

/// What a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorities {
    /// What a coordinator may.
    pub coordinator: bool,
    /// What an operator may.
    pub admin: bool,
}

impl Authorities {
    /// Everything: of a caller without credentials, where none are asked for.
    pub const ALL: Self = Self { coordinator: true, admin: true };

    /// Whether it is among them.
    #[must_use]
    pub fn contain(self, authority: Authority) -> bool {
        match authority {
            Authority::Coordinator => self.coordinator,
            Authority::Admin => self.admin,
        }
    }
}
