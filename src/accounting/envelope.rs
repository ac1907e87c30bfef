//! What every operation carries: its account and key, what the caller wrote beside it, and who asks.

use super::{AccountId, Authorities, CallerName, Fingerprint, IdempotencyKey, Note, method::Method};

/// What every operation carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) account_id: AccountId,
    pub(super) key: IdempotencyKey,
    pub(super) note: Note,
    pub(super) fingerprint: Fingerprint,
    pub(super) caller: Option<CallerName>,
    pub(super) authorities: Authorities,
}

impl Envelope {
    /// The same of the `number`th leg of the entry that the payer gets: what was asked is the payer's request. What the caller
    /// wrote beside it is the payer's alone.
    pub(super) fn of_leg(&self, payee: AccountId, sequence: i64, number: usize) -> Self {
        let key = IdempotencyKey::of_leg(&self.account_id, sequence, number);
        Self { account_id: payee, key, note: Note::default(), ..self.clone() }
    }

    /// That of the entry with a sequence, by which the service records that grants have expired.
    pub(super) fn of_lapse(account_id: AccountId, sequence: i64) -> Self {
        Self {
            account_id,
            key: IdempotencyKey::of_lapse(sequence),
            note: Note::default(),
            fingerprint: Fingerprint::of(Method::Lapse),
            caller: None,
            authorities: Authorities::ALL,
        }
    }
}
