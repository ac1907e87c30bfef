//! How a refund or a reversal names the entry that it undoes.

use super::{ExternalId, Fingerprint, IdempotencyKey, Invalid, fingerprint::Field};

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
    /// Parses the sequence in `field` of a request.
    ///
    /// # Errors
    /// When it is not a sequence.
    pub fn parse_sequence(field: &'static str, sequence: i64) -> Result<Self, Invalid> {
        if sequence < 1 {
            return Err(Invalid::field(field, format!("must be at least 1, not {sequence}")));
        }
        Ok(Self::Sequence(sequence))
    }

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
    pub(super) sequence: Field,
    pub(super) key: Field,
    pub(super) external_id: Field,
}
