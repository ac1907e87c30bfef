//! What a caller asks for: one operation on one account under one key, in a form that can be carried out.

use super::{
    AccountId, Authorities, Authority, Book, CallerName, Expire, Fingerprint, IdempotencyKey, Legs, Note,
    Operation, References, envelope::Envelope,
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
        let authorities = Authorities::ALL;
        Self {
            envelope: Envelope { account_id, key, note, fingerprint, caller: None, authorities },
            operation,
        }
    }

    /// The same, asked for by a named caller, who may do so much. The name is kept with the entry, and is no part of what was
    /// asked: any caller that calls again under the key gets the same answer.
    #[must_use]
    pub fn asked_by(self, caller: CallerName, authorities: Authorities) -> Self {
        Self { envelope: Envelope { caller: Some(caller), authorities, ..self.envelope }, ..self }
    }

    /// The authority that its caller lacks. It may depend on the entry that the operation undoes.
    pub(super) fn lacks(&self, book: &Book) -> Option<Authority> {
        let needed = self.operation.describe().authority(book, &self.envelope)?;
        (!self.envelope.authorities.contain(needed)).then_some(needed)
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

    /// The accounts that it moves money in, as far as it names them: its own, and those of its payees.
    pub fn account_ids(&self) -> impl Iterator<Item = &AccountId> {
        let payees = self.references().legs.into_iter().flat_map(Legs::payees);
        [self.account_id()].into_iter().chain(payees)
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
        AccountId, AccountState, Actor, AdminCredit, Amount, Capture, Charge, Credit, CreditKind, EntryName,
        ExpiryPolicy, Extend, ExternalIds, MicroUsd, Reason, Refund, Release, Reserve, SetAccount,
        ShortfallPolicy, Ttl,
    };

    fn amount(micro_usd: i64) -> Amount {
        Amount::parse("amount_micro_usd", micro_usd).unwrap()
    }

    fn credit(micro_usd: i64, kind: CreditKind, external_id: &str) -> Operation {
        let external_ids = external_id.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let external_ids = ExternalIds::parse(&external_ids).unwrap();
        Operation::Credit(Credit::new(amount(micro_usd), kind, external_ids, None).unwrap())
    }

    fn charge(shortfall_policy: ShortfallPolicy) -> Operation {
        Operation::Charge(Charge { amount: amount(5), shortfall_policy, legs: Legs::default() })
    }

    fn refund(charge: EntryName) -> Operation {
        Operation::Refund(Refund { amount: amount(5), charge, legs: None })
    }

    fn admin(actor: &str, reason: &str) -> Operation {
        let (actor, reason) = (Actor::parse(actor).unwrap(), Reason::parse(reason).unwrap());
        Operation::AdminCredit(AdminCredit::new(amount(5), (actor, reason), false, None).unwrap())
    }

    fn reservation_id(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse_of_reservation(text).unwrap()
    }

    fn capture(shortfall_policy: ShortfallPolicy, keep_open: bool) -> Operation {
        let reservation_id = reservation_id("r1");
        let legs = Legs::default();
        Operation::Capture(Capture { reservation_id, amount: amount(5), shortfall_policy, keep_open, legs })
    }

    fn extend(reservation: &str, additional: Option<i64>, ttl: Option<i64>) -> Operation {
        let ttl = ttl.and_then(Ttl::from_micros);
        Operation::Extend(
            Extend::new(reservation_id(reservation), additional.map(amount), ttl, None).unwrap(),
        )
    }

    fn set_account(state: Option<AccountState>, debt_limit: Option<i64>, forfeit: Option<i64>) -> Operation {
        let (actor, reason) = (Actor::parse("ann").unwrap(), Reason::parse("why").unwrap());
        let forfeit = forfeit.map(MicroUsd::new);
        Operation::SetAccount(SetAccount::new(state, debt_limit, forfeit, actor, reason).unwrap())
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
        let plain = || note("", &[]);
        let deposit = || credit(5, CreditKind::Deposit, "");
        let cases = [
            ((deposit(), plain()), (credit(6, CreditKind::Deposit, ""), plain()), vec!["amount_micro_usd"]),
            ((deposit(), plain()), (credit(5, CreditKind::Earning, ""), plain()), vec!["entry_type"]),
            ((deposit(), plain()), (credit(5, CreditKind::Deposit, "x"), plain()), vec!["external_ids"]),
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
                (refund(EntryName::Sequence(1)), plain()),
                vec!["charge_sequence", "charge_idempotency_key"],
            ),
            ((deposit(), plain()), (charge(ShortfallPolicy::Reject), plain()), vec!["method"]),
            (
                (capture(ShortfallPolicy::Reject, false), plain()),
                (capture(ShortfallPolicy::AllowDebt, true), plain()),
                vec!["shortfall_policy", "keep_open"],
            ),
            (
                (capture(ShortfallPolicy::AllowDebt, true), plain()),
                (capture(ShortfallPolicy::CollectAvailable, true), plain()),
                vec!["shortfall_policy"],
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

    fn key(text: &str) -> EntryName {
        EntryName::Key(IdempotencyKey::parse("charge_idempotency_key", text).unwrap())
    }

    fn reserve(ttl: Option<i64>, expiry_policy: ExpiryPolicy) -> Operation {
        Operation::Reserve(Reserve { amount: amount(5), ttl: ttl.and_then(Ttl::from_micros), expiry_policy })
    }

    fn expire(reservation: &str) -> Operation {
        Operation::Expire(Expire { reservation_id: reservation_id(reservation) })
    }

    fn hex(fingerprint: &Fingerprint) -> String {
        fingerprint.as_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// Written out: a change here would turn the replays of every earlier operation into conflicts. After the method's number
    /// comes each field's, with its value or the beginning of its SHA-256.
    #[test]
    fn the_bytes_of_a_fingerprint_never_change() {
        let cases = [
            (
                credit(5, CreditKind::StripeDeposit, "cs_1"),
                "Credit",
                "0101000000000000000502000000000000000103df49cb665346890a",
            ),
            (credit(5, CreditKind::Deposit, ""), "Credit", "01010000000000000005020000000000000002"),
            (charge(ShortfallPolicy::Reject), "Charge", "02010000000000000005"),
            (charge(ShortfallPolicy::AllowDebt), "Charge", "020100000000000000050c0000000000000003"),
            (refund(EntryName::Sequence(7)), "Refund", "03010000000000000005060000000000000007"),
            (refund(key("k")), "Refund", "03010000000000000005078254c329a92850f6"),
            (admin("ann", "why"), "AdminCredit", "040100000000000000050849915e0d7d4b402e092be23c585f15e5fd"),
            (reserve(None, ExpiryPolicy::Release), "Reserve", "05010000000000000005"),
            (
                reserve(Some(7), ExpiryPolicy::Capture),
                "Reserve",
                "050100000000000000050a00000000000000070f0000000000000002",
            ),
            (capture(ShortfallPolicy::Reject, false), "Capture", "060b82f3e9c695dc6b8d010000000000000005"),
            (
                capture(ShortfallPolicy::CollectAvailable, false),
                "Capture",
                "060b82f3e9c695dc6b8d0100000000000000050c0000000000000002",
            ),
            (
                capture(ShortfallPolicy::AllowDebt, true),
                "Capture",
                "060b82f3e9c695dc6b8d0100000000000000050c00000000000000030d0000000000000001",
            ),
            (release("r1"), "Release", "070b82f3e9c695dc6b8d"),
            (
                extend("r1", Some(5), Some(7)),
                "ExtendReservation",
                "080b82f3e9c695dc6b8d0a00000000000000070e0000000000000005",
            ),
            (expire("r1"), "expiry", "090b82f3e9c695dc6b8d"),
            (
                set_account(Some(AccountState::Closed), Some(-1), Some(-5)),
                "SetAccount",
                "0a10000000000000000311ffffffffffffffff12fffffffffffffffb0849915e0d7d4b402e092be23c585f15e5fd",
            ),
        ];
        for (operation, method, pinned) in cases {
            let plain = fingerprint(operation.clone(), note("", &[]));
            assert_eq!(hex(&plain), pinned, "{operation:?}");
            assert_eq!(plain.method_name(), method);
            let noted = fingerprint(operation.clone(), note("r", &[("n", "v")]));
            assert_eq!(hex(&noted), format!("{pinned}04454349e422f0529705b1e6cf832fd2f39a"), "{operation:?}");
        }
    }
}
