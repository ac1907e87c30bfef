//! The limits that the operator of the service sets.

use super::{MicroUsd, Ttl};

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest `AdminCredit`.
    pub admin_credit_max: MicroUsd,
    /// The largest debt that captures with `ALLOW_DEBT` may leave; at least zero.
    pub debt_max: MicroUsd,
    /// The lease of a reservation without a ttl.
    pub lease_default: Ttl,
    /// The longest lease that a caller may ask for.
    pub lease_max: Ttl,
}
