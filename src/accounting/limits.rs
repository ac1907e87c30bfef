//! The limits that the operator of the service sets.

use super::{MicroUsd, Ttl};

/// What the operator of the service set.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most that one `AdminCredit` may grant.
    pub admin_credit_max: MicroUsd,
    /// The most that an account may owe through captures that allow debt; at least zero.
    pub debt_max: MicroUsd,
    /// How long a reservation lasts whose caller does not say.
    pub lease_default: Ttl,
    /// How long a caller may ask for.
    pub lease_max: Ttl,
}
