//! The fingerprint of a request: a few bytes that tell a replay from a misuse of the key, and name the fields that differ.
//!
//! A fingerprint is the method's number, then a number and eight bytes for each field that is not at its default:
//! the value itself where it is a number, otherwise the first eight bytes of its SHA-256. Eight bytes per
//! field are enough: two texts of one caller under one key collide once in 10^19 misuses, and a caller who searches for a
//! collision deceives only itself. A field at its default adds nothing, so a later version with another optional field
//! still recognises what an earlier version wrote.

use sha2::{Digest, Sha256};

use super::{
    Amount, ExpiryPolicy, IdempotencyKey, Metadata, Note, Ttl,
    method::{Method, method_name},
};

/// The fingerprint of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

/// A key was used for another request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReused {
    /// The method of the original request.
    pub method: &'static str,
    /// The fields that differ from the original request; `method` if the method differs.
    pub fields: Vec<&'static str>,
}

/// A field of a request, by its number in fingerprints. A number is never used again for another field.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Field {
    Amount = 1,
    EntryType = 2,
    ExternalIds = 3,
    Reference = 4,
    Metadata = 5,
    ChargeSequence = 6,
    ChargeKey = 7,
    Actor = 8,
    Reason = 9,
    Ttl = 10,
    ReservationId = 11,
    ShortfallPolicy = 12,
    KeepOpen = 13,
    AdditionalAmount = 14,
    ExpiryPolicy = 15,
    State = 16,
    DebtLimit = 17,
    Forfeit = 18,
    CreditSequence = 19,
    CreditKey = 20,
    CreditExternalId = 21,
    Withdrawable = 22,
    ChargeExternalId = 23,
    Legs = 24,
    LegsPolicy = 25,
    ExpireTime = 26,
}

const FIELD_BYTES: usize = 9; // the field's number and eight bytes

impl Fingerprint {
    /// The fingerprint of a request without any field.
    pub(super) fn of(method: Method) -> Self {
        Self(vec![method as u8])
    }

    /// A fingerprint from the book.
    #[must_use]
    pub fn recorded(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The fingerprint as the book stores it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What differs in a request that reuses the key of this one.
    #[must_use]
    pub fn reused_by(&self, request: &Self) -> KeyReused {
        let method = self.method_name();
        if self.0.first() != request.0.first() {
            return KeyReused { method, fields: vec!["method"] };
        }
        let (recorded, requested) = (self.fields(), request.fields());
        let differing = |one: &[&[u8]], other: &[&[u8]]| -> Vec<u8> {
            one.iter().filter(|field| !other.contains(field)).map(|field| field[0]).collect()
        };
        let mut numbers = differing(&recorded, &requested);
        numbers.extend(differing(&requested, &recorded));
        numbers.sort_unstable();
        numbers.dedup();
        KeyReused { method, fields: numbers.into_iter().map(field_name).collect() }
    }

    /// The method, such as `Credit`.
    #[must_use]
    pub fn method_name(&self) -> &'static str {
        method_name(self.0.first().copied().unwrap_or_default())
    }

    fn fields(&self) -> Vec<&[u8]> {
        self.0.get(1..).unwrap_or_default().chunks(FIELD_BYTES).collect()
    }

    pub(super) fn amount(self, amount: Amount) -> Self {
        self.number(Field::Amount, amount.credited().get())
    }

    pub(super) fn reservation(self, reservation_id: &IdempotencyKey) -> Self {
        self.text(Field::ReservationId, reservation_id.as_str())
    }

    pub(super) fn ttl(self, ttl: Option<Ttl>) -> Self {
        self.optional(Field::Ttl, ttl.map(Ttl::micros))
    }

    pub(super) fn expiry_policy(self, policy: Option<ExpiryPolicy>) -> Self {
        self.optional(Field::ExpiryPolicy, policy.map(|policy| policy.number().into()))
    }

    /// Adds a number, unless it is at its default.
    pub(super) fn optional(self, field: Field, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.number(field, value),
            None => self,
        }
    }

    pub(super) fn number(mut self, field: Field, value: i64) -> Self {
        self.0.push(field as u8);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn text(mut self, field: Field, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(field as u8);
            self.0.extend_from_slice(&Sha256::digest(value)[..8]);
        }
        self
    }

    /// Adds what the caller wrote beside the operation.
    pub(super) fn note(self, note: &Note) -> Self {
        let Note { reference, metadata } = note;
        self.text(Field::Reference, reference.as_str()).metadata(metadata)
    }

    fn metadata(mut self, metadata: &Metadata) -> Self {
        if !metadata.is_empty() {
            let mut hash = Sha256::new();
            for text in metadata.iter().flat_map(|(name, value)| [name, value]) {
                hash.update(text.len().to_be_bytes()); // the lengths keep ("a", "bc") apart from ("ab", "c")
                hash.update(text);
            }
            self.0.push(Field::Metadata as u8);
            self.0.extend_from_slice(&hash.finalize()[..8]);
        }
        self
    }
}

fn field_name(number: u8) -> &'static str {
    match number {
        1 => "amount_micro_usd",
        2 => "entry_type",
        3 => "external_ids",
        4 => "reference",
        5 => "metadata",
        6 => "charge_sequence",
        7 => "charge_idempotency_key",
        8 => "actor",
        9 => "reason",
        10 => "ttl",
        11 => "reservation_id",
        12 => "shortfall_policy",
        13 => "keep_open",
        14 => "additional_amount_micro_usd",
        15 => "expiry_policy",
        16 => "state",
        17 => "debt_limit_micro_usd",
        18 => "forfeit_micro_usd",
        19 => "credit_sequence",
        20 => "credit_idempotency_key",
        21 => "credit_external_id",
        22 => "withdrawable",
        23 => "charge_external_id",
        24 | 25 => "legs",
        26 => "expire_time",
        _ => "unknown", // written by a later version
    }
}
