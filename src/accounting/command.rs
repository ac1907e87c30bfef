//! What a caller asks for: one operation on one account under one key, in a form that can be carried out.

use super::{
    AccountId, Actor, Amount, CreditKind, ExternalId, Fingerprint, IdempotencyKey, Invalid, Note, Reason,
};

/// One operation on one account under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    account_id: AccountId,
    key: IdempotencyKey,
    operation: Operation,
    note: Note,
    fingerprint: Fingerprint,
}

/// What to do to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds money.
    Credit(Credit),
    /// Takes money at once.
    Charge(Amount),
    /// Gives back all or part of a charge or capture.
    Refund(Refund),
    /// Grants money by decision of an operator.
    AdminCredit(AdminCredit),
}

/// Money put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    amount: Amount,
    kind: CreditKind,
    external_id: Option<ExternalId>,
}

/// Money given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// How much.
    pub amount: Amount,
    /// Of which charge or capture.
    pub charge: ChargeName,
}

/// How a refund names what it gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeName {
    /// By the entry's sequence, which is at least 1.
    Sequence(i64),
    /// By the key of the operation.
    Key(IdempotencyKey),
}

/// Money granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminCredit {
    /// How much.
    pub amount: Amount,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: Reason,
}

impl Command {
    /// An operation on an account under a key.
    #[must_use]
    pub fn new(account_id: AccountId, key: IdempotencyKey, operation: Operation, note: Note) -> Self {
        let fingerprint = Fingerprint::of(&operation, &note);
        Self { account_id, key, operation, note, fingerprint }
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

    /// The charge that the operation gives back, if it is a refund.
    #[must_use]
    pub fn refunded(&self) -> Option<&ChargeName> {
        match &self.operation {
            Operation::Refund(refund) => Some(&refund.charge),
            Operation::Credit(_) | Operation::Charge(_) | Operation::AdminCredit(_) => None,
        }
    }

    /// The payment of another system that the operation credits, if it names one.
    #[must_use]
    pub fn external_payment(&self) -> Option<(CreditKind, &ExternalId)> {
        match &self.operation {
            Operation::Credit(credit) => credit.external_id().map(|id| (credit.kind, id)),
            Operation::Charge(_) | Operation::Refund(_) | Operation::AdminCredit(_) => None,
        }
    }
}

impl Credit {
    /// A credit of some kind.
    ///
    /// # Errors
    /// When a Stripe deposit has no external id: the one thing that tells a second payment from a second delivery.
    pub fn new(amount: Amount, kind: CreditKind, external_id: Option<ExternalId>) -> Result<Self, Invalid> {
        if kind == CreditKind::StripeDeposit && external_id.is_none() {
            let problem = "is required for ENTRY_TYPE_STRIPE_DEPOSIT: send the Checkout session's id";
            return Err(Invalid::field("external_id", problem));
        }
        Ok(Self { amount, kind, external_id })
    }

    /// How much.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Which kind.
    #[must_use]
    pub fn kind(&self) -> CreditKind {
        self.kind
    }

    /// The payment's id in another system.
    #[must_use]
    pub fn external_id(&self) -> Option<&ExternalId> {
        self.external_id.as_ref()
    }
}

impl ChargeName {
    /// Parses the `charge_sequence` of a request.
    ///
    /// # Errors
    /// When it is not a sequence.
    pub fn parse_sequence(sequence: i64) -> Result<Self, Invalid> {
        if sequence < 1 {
            return Err(Invalid::field("charge_sequence", format!("must be at least 1, not {sequence}")));
        }
        Ok(Self::Sequence(sequence))
    }
}
