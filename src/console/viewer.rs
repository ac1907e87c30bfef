//! Who looks at a page, as pages know it: a name, what it may do, and what its forms carry.

use std::time::Duration;

use crate::access::{Role, Roles};

/// Who looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// The caller's name, as the service has it; empty if it asks for no credentials.
    pub(super) name: String,
    /// What it may do.
    pub(super) roles: Roles,
    /// What every form of its session carries.
    pub(super) form_token: String,
    /// How long it may do nothing before it is signed out.
    pub(super) idle: Duration,
}

impl Viewer {
    /// Whether it has a role.
    pub(super) fn may(&self, role: Role) -> bool {
        self.roles.contain(role)
    }

    /// The name for people, which is also the actor of what it decides.
    pub(super) fn actor(&self) -> &str {
        if self.name.is_empty() { "anybody (the service asks for no credentials)" } else { &self.name }
    }
}
