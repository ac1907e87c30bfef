//! What a caller asks for: one operation on one account under one key, in a form that can be carried out.

use super::{
    AccountId, CallerName, Capture, ChargeName, CreditKind, Extend, ExternalId, Fingerprint, IdempotencyKey,
    Note, Operation, Reserve, Ttl,
};

/// One operation on one account under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    account_id: AccountId,
    key: IdempotencyKey,
    operation: Operation,
    note: Note,
    fingerprint: Fingerprint,
    caller: Option<CallerName>,
}

impl Command {
    /// An operation on an account under a key.
    #[must_use]
    pub fn new(account_id: AccountId, key: IdempotencyKey, operation: Operation, note: Note) -> Self {
        let fingerprint = Fingerprint::of(&operation, &note);
        Self { account_id, key, operation, note, fingerprint, caller: None }
    }

    /// The same, asked for by a caller with a name. It is kept with the entry, and is no part of what was asked: whoever calls
    /// again under the key gets the same answer.
    #[must_use]
    pub fn asked_by(self, caller: Option<CallerName>) -> Self {
        Self { caller, ..self }
    }

    /// The service's own operation that writes down that a lease has run out.
    #[must_use]
    pub fn expire(account_id: AccountId, reservation_id: IdempotencyKey) -> Self {
        let key = IdempotencyKey::of_expiry(&reservation_id);
        Self::new(account_id, key, Operation::Expire(reservation_id), Note::default())
    }

    /// The account.
    #[must_use]
    pub fn account_id(&self) -> &AccountId {
        &self.account_id
    }

    /// The name of the operation.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// What to do.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What the caller wrote beside it.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// What was asked, field by field: tells a replay from a misuse of the key.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Who asks, if it has a name.
    #[must_use]
    pub fn caller(&self) -> Option<&CallerName> {
        self.caller.as_ref()
    }

    /// The charge that the operation gives back, if it is a refund.
    #[must_use]
    pub fn refunded(&self) -> Option<&ChargeName> {
        match &self.operation {
            Operation::Refund(refund) => Some(&refund.charge),
            Operation::Credit(_)
            | Operation::Charge(_)
            | Operation::AdminCredit(_)
            | Operation::Reserve(_)
            | Operation::Capture(_)
            | Operation::Release(_)
            | Operation::Extend(_)
            | Operation::Expire(_) => None,
        }
    }

    /// The reservation that the operation opens, changes or ends.
    #[must_use]
    pub fn reservation_id(&self) -> Option<&IdempotencyKey> {
        match &self.operation {
            Operation::Reserve(_) => Some(&self.key),
            Operation::Capture(Capture { reservation_id, .. })
            | Operation::Release(reservation_id)
            | Operation::Extend(Extend { reservation_id, .. })
            | Operation::Expire(reservation_id) => Some(reservation_id),
            Operation::Credit(_)
            | Operation::Charge(_)
            | Operation::Refund(_)
            | Operation::AdminCredit(_) => None,
        }
    }

    /// The lease that the caller asks for.
    #[must_use]
    pub fn ttl(&self) -> Option<Ttl> {
        match &self.operation {
            Operation::Reserve(Reserve { ttl, .. }) | Operation::Extend(Extend { ttl, .. }) => *ttl,
            Operation::Credit(_)
            | Operation::Charge(_)
            | Operation::Refund(_)
            | Operation::AdminCredit(_)
            | Operation::Capture(_)
            | Operation::Release(_)
            | Operation::Expire(_) => None,
        }
    }

    /// The payment of another system that the operation credits, if it names one.
    #[must_use]
    pub fn external_payment(&self) -> Option<(CreditKind, &ExternalId)> {
        match &self.operation {
            Operation::Credit(credit) => credit.external_id().map(|id| (credit.kind, id)),
            Operation::Charge(_)
            | Operation::Refund(_)
            | Operation::AdminCredit(_)
            | Operation::Reserve(_)
            | Operation::Capture(_)
            | Operation::Release(_)
            | Operation::Extend(_)
            | Operation::Expire(_) => None,
        }
    }
}
