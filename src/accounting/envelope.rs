//! What every operation carries: its account and key, what the caller wrote beside it, and who asks.

use super::{AccountId, CallerName, Fingerprint, IdempotencyKey, Note};

/// What every operation carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) account_id: AccountId,
    pub(super) key: IdempotencyKey,
    pub(super) note: Note,
    pub(super) fingerprint: Fingerprint,
    pub(super) caller: Option<CallerName>,
}
