//! What a caller asks for: one operation on one account under one key, in a form that can be carried out.

use super::{
    AccountId, CallerName, Expire, Fingerprint, IdempotencyKey, Note, Operation, References,
    envelope::Envelope,
};

/// One operation on one account under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    envelope: Envelope,
    operation: Operation,
}

impl Command {
    /// An operation on an account under a key.
    #[must_use]
    pub fn new(account_id: AccountId, key: IdempotencyKey, operation: Operation, note: Note) -> Self {
        let description = operation.describe();
        let fingerprint = description.fields(Fingerprint::of(description.method())).note(&note);
        Self { envelope: Envelope { account_id, key, note, fingerprint, caller: None }, operation }
    }

    /// The same, asked for by a named caller. The name is kept with the entry, and is no part of what was asked: any caller
    /// that calls again under the key gets the same answer.
    #[must_use]
    pub fn asked_by(self, caller: Option<CallerName>) -> Self {
        Self { envelope: Envelope { caller, ..self.envelope }, ..self }
    }

    /// The service's own operation that records that a lease has expired.
    #[must_use]
    pub fn expire(account_id: AccountId, reservation_id: IdempotencyKey) -> Self {
        let key = IdempotencyKey::of_expiry(&reservation_id);
        Self::new(account_id, key, Operation::Expire(Expire { reservation_id }), Note::default())
    }

    /// The account.
    #[must_use]
    pub fn account_id(&self) -> &AccountId {
        &self.envelope.account_id
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.envelope.key
    }

    /// What to do.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What was asked, field by field: tells a replay from a misuse of the key.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.envelope.fingerprint
    }

    /// What every operation carries.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What the caller wrote beside the operation.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.envelope.note
    }

    /// What the operation refers to beside its account.
    #[must_use]
    pub fn references(&self) -> References<'_> {
        let mut references = self.operation.describe().references();
        if references.opens_reservation {
            references.reservation_id = Some(self.key());
        }
        references
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::{
        AccountId, Actor, AdminCredit, Amount, Capture, Charge, ChargeName, Credit, CreditKind, Extend,
        ExternalId, OveragePolicy, Reason, Refund, Release, Ttl,
    };

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

    fn release(reservation: &str) -> Operation {
        Operation::Release(Release { reservation_id: reservation_id(reservation) })
    }

    fn fingerprint(operation: Operation, note: Note) -> Fingerprint {
        let account_id = AccountId::parse("account_id", "ann").unwrap();
        let key = IdempotencyKey::parse("idempotency_key", "order-1").unwrap();
        Command::new(account_id, key, operation, note).fingerprint().clone()
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
            (
                (deposit(), plain()),
                (Operation::Charge(Charge { amount: amount(5) }), plain()),
                vec!["method"],
            ),
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
            ((release("r1"), plain()), (release("r2"), plain()), vec!["reservation_id"]),
        ];
        for ((recorded, recorded_note), (requested, requested_note), fields) in cases {
            let recorded = fingerprint(recorded, recorded_note);
            let requested = fingerprint(requested, requested_note);
            assert_ne!(recorded, requested);
            assert_eq!(recorded.reused_by(&requested).fields, fields);
            assert_eq!(requested.reused_by(&recorded).fields, fields);
        }
    }

    /// Written out: a change here would turn the replays of every earlier operation into conflicts.
    #[test]
    fn the_bytes_of_a_fingerprint_never_change() {
        let fingerprint = fingerprint(credit(5, CreditKind::StripeDeposit, "cs_1"), note("r", &[("n", "v")]));
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
