//! How a refund or a reversal names the entry that it undoes.

use super::{ExternalId, Fingerprint, IdempotencyKey, fingerprint::Field};

/// How an operation names an entry of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryName {
    /// By its sequence, which is at least 1.
    Sequence(i64),
    /// By the key of its operation.
    Key(IdempotencyKey),
    /// By an id of its payment in another system.
    ExternalId(ExternalId),
}

impl EntryName {
    /// Adds the name to a fingerprint, under the field of its kind.
    pub(super) fn add_to(&self, fingerprint: Fingerprint, fields: &EntryNameFields) -> Fingerprint {
        match self {
            Self::Sequence(sequence) => fingerprint.number(fields.sequence, *sequence),
            Self::Key(key) => fingerprint.text(fields.key, key.as_str()),
            Self::ExternalId(external_id) => fingerprint.text(fields.external_id, external_id.as_str()),
        }
    }
}

/// The fields of a request that name an entry.
pub(super) struct EntryNameFields {
    sequence: Field,
    key: Field,
    external_id: Field,
}

impl EntryNameFields {
    /// Those of a refund.
    pub(super) const CHARGE: Self =
        Self { sequence: Field::ChargeSequence, key: Field::ChargeKey, external_id: Field::ChargeExternalId };
    /// Those of a reversal.
    pub(super) const CREDIT: Self =
        Self { sequence: Field::CreditSequence, key: Field::CreditKey, external_id: Field::CreditExternalId };
}
