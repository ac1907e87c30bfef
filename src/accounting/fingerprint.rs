//! What was asked under a key, in a few bytes: tells a replay from a misuse of the key, and names what differs.
//!
//! A fingerprint is the method's number, then a number and eight bytes for each field that is not at its default:
//! the value itself where it is a number, otherwise the first eight bytes of its SHA-256. Eight bytes a field are
//! enough: two texts of one caller under one key agree by chance once in 10^19 misuses, and a caller who looks for two
//! such texts deceives only himself. A field at its default adds nothing, so a later version with one more optional
//! field still recognises what an earlier version wrote.

use sha2::{Digest, Sha256};

use super::{
    AdminCredit, Amount, Capture, ChargeName, Credit, EntryType, Extend, IdempotencyKey, Metadata, Note,
    Operation, OveragePolicy, Refund, Reserve, Ttl,
};

/// What was asked under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

/// A key used for another request than the one it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReused {
    /// The method that the key names.
    pub method: &'static str,
    /// The fields in which the request differs from the one that the key names; `method` if it is another method.
    pub fields: Vec<&'static str>,
}

/// A field of a request, by its number in fingerprints. A number is never used again for another field.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Field {
    Amount = 1,
    EntryType = 2,
    ExternalId = 3,
    Reference = 4,
    Metadata = 5,
    ChargeSequence = 6,
    ChargeKey = 7,
    Actor = 8,
    Reason = 9,
    Ttl = 10,
    ReservationId = 11,
    OveragePolicy = 12,
    KeepOpen = 13,
    AdditionalAmount = 14,
}

const FIELD_BYTES: usize = 9; // the field's number and eight bytes

impl Fingerprint {
    /// The fingerprint of an operation. The patterns name every field, so that a new one cannot be forgotten here.
    pub(super) fn of(operation: &Operation, note: &Note) -> Self {
        let mut fingerprint = match operation {
            Operation::Credit(credit) => Self::of_credit(credit),
            Operation::Charge(amount) => Self::method(2).amount(*amount),
            Operation::Refund(Refund { amount, charge }) => {
                let fingerprint = Self::method(3).amount(*amount);
                match charge {
                    ChargeName::Sequence(sequence) => fingerprint.number(Field::ChargeSequence, *sequence),
                    ChargeName::Key(key) => fingerprint.text(Field::ChargeKey, key.as_str()),
                }
            }
            Operation::AdminCredit(AdminCredit { amount, actor, reason }) => Self::method(4)
                .amount(*amount)
                .text(Field::Actor, actor.as_str())
                .text(Field::Reason, reason.as_str()),
            Operation::Reserve(Reserve { amount, ttl }) => Self::method(5).amount(*amount).ttl(*ttl),
            Operation::Capture(capture) => Self::of_capture(capture),
            Operation::Release(reservation_id) => Self::method(7).reservation(reservation_id),
            Operation::Extend(extend) => Self::of_extend(extend),
            Operation::Expire(reservation_id) => Self::method(9).reservation(reservation_id),
        };
        let Note { reference, metadata } = note;
        fingerprint = fingerprint.text(Field::Reference, reference.as_str());
        fingerprint.metadata(metadata)
    }

    fn of_credit(credit: &Credit) -> Self {
        let Credit { amount, kind, external_id } = credit;
        let entry_type = EntryType::Credit(*kind).number();
        let fingerprint = Self::method(1).amount(*amount).number(Field::EntryType, entry_type.into());
        match external_id {
            Some(external_id) => fingerprint.text(Field::ExternalId, external_id.as_str()),
            None => fingerprint,
        }
    }

    fn of_capture(capture: &Capture) -> Self {
        let Capture { reservation_id, amount, overage_policy, keep_open } = capture;
        let mut fingerprint = Self::method(6).reservation(reservation_id).amount(*amount);
        let policy = match overage_policy {
            OveragePolicy::Reject => None, // the default
            OveragePolicy::CollectAvailable => Some(2),
            OveragePolicy::AllowDebt => Some(3),
        };
        if let Some(policy) = policy {
            fingerprint = fingerprint.number(Field::OveragePolicy, policy);
        }
        if *keep_open { fingerprint.number(Field::KeepOpen, 1) } else { fingerprint }
    }

    fn of_extend(extend: &Extend) -> Self {
        let Extend { reservation_id, additional, ttl } = extend;
        let fingerprint = Self::method(8).reservation(reservation_id).ttl(*ttl);
        match additional {
            Some(amount) => fingerprint.number(Field::AdditionalAmount, amount.credited().get()),
            None => fingerprint,
        }
    }

    /// A fingerprint that is in the book already.
    #[must_use]
    pub fn recorded(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The fingerprint as the book keeps it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What differs when a request with another fingerprint comes under the key that this one was recorded under.
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

    /// The method that was called, such as `Credit`.
    #[must_use]
    pub fn method_name(&self) -> &'static str {
        self.0.first().map_or("unknown", |number| method_name(*number))
    }

    fn fields(&self) -> Vec<&[u8]> {
        self.0.get(1..).unwrap_or_default().chunks(FIELD_BYTES).collect()
    }

    fn method(number: u8) -> Self {
        Self(vec![number])
    }

    fn amount(self, amount: Amount) -> Self {
        self.number(Field::Amount, amount.credited().get())
    }

    fn reservation(self, reservation_id: &IdempotencyKey) -> Self {
        self.text(Field::ReservationId, reservation_id.as_str())
    }

    fn ttl(self, ttl: Option<Ttl>) -> Self {
        match ttl {
            Some(ttl) => self.number(Field::Ttl, ttl.micros()),
            None => self,
        }
    }

    fn number(mut self, field: Field, value: i64) -> Self {
        self.0.push(field as u8);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn text(mut self, field: Field, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(field as u8);
            self.0.extend_from_slice(&Sha256::digest(value)[..8]);
        }
        self
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

fn method_name(number: u8) -> &'static str {
    match number {
        1 => "Credit",
        2 => "Charge",
        3 => "Refund",
        4 => "AdminCredit",
        5 => "Reserve",
        6 => "Capture",
        7 => "Release",
        8 => "ExtendReservation",
        9 => "expiry",
        _ => "unknown", // written by a later version
    }
}

fn field_name(number: u8) -> &'static str {
    match number {
        1 => "amount_micro_usd",
        2 => "entry_type",
        3 => "external_id",
        4 => "reference",
        5 => "metadata",
        6 => "charge_sequence",
        7 => "charge_idempotency_key",
        8 => "actor",
        9 => "reason",
        10 => "ttl",
        11 => "reservation_id",
        12 => "overage_policy",
        13 => "keep_open",
        14 => "additional_amount_micro_usd",
        _ => "unknown", // written by a later version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::{Actor, CreditKind, ExternalId, Reason};

    fn amount(micro_usd: i64) -> Amount {
        Amount::parse("amount_micro_usd", micro_usd).unwrap()
    }

    fn credit(micro_usd: i64, kind: CreditKind, external_id: &str) -> Operation {
        let external_id = ExternalId::parse("external_id", external_id).ok();
        Operation::Credit(Credit::new(amount(micro_usd), kind, external_id).unwrap())
    }

    fn refund(charge: ChargeName) -> Operation {
        Operation::Refund(Refund { amount: amount(5), charge })
    }

    fn admin(actor: &str, reason: &str) -> Operation {
        let (actor, reason) = (Actor::parse(actor).unwrap(), Reason::parse(reason).unwrap());
        Operation::AdminCredit(AdminCredit { amount: amount(5), actor, reason })
    }

    fn reservation_id(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse_of_reservation(text).unwrap()
    }

    fn capture(overage_policy: OveragePolicy, keep_open: bool) -> Operation {
        let reservation_id = reservation_id("r1");
        Operation::Capture(Capture { reservation_id, amount: amount(5), overage_policy, keep_open })
    }

    fn extend(reservation: &str, additional: Option<i64>, ttl: Option<i64>) -> Operation {
        let ttl = ttl.and_then(Ttl::from_micros);
        Operation::Extend(Extend::new(reservation_id(reservation), additional.map(amount), ttl).unwrap())
    }

    fn note(reference: &str, metadata: &[(&str, &str)]) -> Note {
        let metadata = metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Note::parse(reference, metadata).unwrap()
    }

    #[test]
    fn each_field_that_differs_is_named_and_no_other() {
        let key = |text| ChargeName::Key(IdempotencyKey::parse("charge_idempotency_key", text).unwrap());
        let plain = || note("", &[]);
        let deposit = || credit(5, CreditKind::Deposit, "");
        let cases = [
            ((deposit(), plain()), (credit(6, CreditKind::Deposit, ""), plain()), vec!["amount_micro_usd"]),
            ((deposit(), plain()), (credit(5, CreditKind::Earning, ""), plain()), vec!["entry_type"]),
            ((deposit(), plain()), (credit(5, CreditKind::Deposit, "x"), plain()), vec!["external_id"]),
            ((deposit(), note("a", &[])), (deposit(), note("b", &[])), vec!["reference"]),
            ((deposit(), note("a", &[])), (deposit(), plain()), vec!["reference"]),
            (
                (deposit(), note("", &[("a", "bc")])),
                (deposit(), note("x", &[("ab", "c")])),
                vec!["reference", "metadata"],
            ),
            ((admin("ann", "r"), plain()), (admin("bob", "s"), plain()), vec!["actor", "reason"]),
            ((refund(key("k")), plain()), (refund(key("l")), plain()), vec!["charge_idempotency_key"]),
            (
                (refund(key("k")), plain()),
                (refund(ChargeName::Sequence(1)), plain()),
                vec!["charge_sequence", "charge_idempotency_key"],
            ),
            ((deposit(), plain()), (Operation::Charge(amount(5)), plain()), vec!["method"]),
            (
                (capture(OveragePolicy::Reject, false), plain()),
                (capture(OveragePolicy::AllowDebt, true), plain()),
                vec!["overage_policy", "keep_open"],
            ),
            (
                (capture(OveragePolicy::AllowDebt, true), plain()),
                (capture(OveragePolicy::CollectAvailable, true), plain()),
                vec!["overage_policy"],
            ),
            (
                (extend("r1", Some(5), None), plain()),
                (extend("r1", None, Some(7)), plain()),
                vec!["ttl", "additional_amount_micro_usd"],
            ),
            (
                (Operation::Release(reservation_id("r1")), plain()),
                (Operation::Release(reservation_id("r2")), plain()),
                vec!["reservation_id"],
            ),
        ];
        for ((recorded, recorded_note), (requested, requested_note), fields) in cases {
            let recorded = Fingerprint::of(&recorded, &recorded_note);
            let requested = Fingerprint::of(&requested, &requested_note);
            assert_ne!(recorded, requested);
            assert_eq!(recorded.reused_by(&requested).fields, fields);
            assert_eq!(requested.reused_by(&recorded).fields, fields);
        }
    }

    /// Written out: a change here would turn the replays of every earlier operation into conflicts.
    #[test]
    fn the_bytes_of_a_fingerprint_never_change() {
        let fingerprint =
            Fingerprint::of(&credit(5, CreditKind::StripeDeposit, "cs_1"), &note("r", &[("n", "v")]));
        let hex: String =
            fingerprint.as_bytes().iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
        let pinned = concat!(
            "01",                 // Credit
            "010000000000000005", // amount 5
            "020000000000000001", // STRIPE_DEPOSIT
            "03df49cb665346890a", // SHA-256 of cs_1
            "04454349e422f05297", // SHA-256 of r
            "05b1e6cf832fd2f39a", // SHA-256 of the metadata
        );
        assert_eq!(hex, pinned);
    }
}
