//! What a caller asks for: one operation on one account under one key, in a form that can be carried out.

use super::{
    AccountId, Actor, Amount, CallerName, CreditKind, ExternalId, Fingerprint, IdempotencyKey, Invalid, Note,
    OveragePolicy, Reason, Ttl,
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
    /// Holds money; the key becomes the reservation's id.
    Reserve(Reserve),
    /// Charges what was used of a reservation.
    Capture(Capture),
    /// Frees what a reservation holds.
    Release(IdempotencyKey),
    /// Raises what a reservation holds, or renews its lease.
    Extend(Extend),
    /// Writes down that a reservation's lease has run out. The service's own.
    Expire(IdempotencyKey),
}

/// Money put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    pub(super) amount: Amount,
    pub(super) kind: CreditKind,
    pub(super) external_id: Option<ExternalId>,
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

/// Money held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// How much.
    pub amount: Amount,
    /// For how long; by default as configured.
    pub ttl: Option<Ttl>,
}

/// Money used of what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Of which reservation.
    pub reservation_id: IdempotencyKey,
    /// How much.
    pub amount: Amount,
    /// What becomes of the part that it does not hold.
    pub overage_policy: OveragePolicy,
    /// Whether the rest stays held.
    pub keep_open: bool,
}

/// More money held, or for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    pub(super) reservation_id: IdempotencyKey,
    pub(super) additional: Option<Amount>,
    pub(super) ttl: Option<Ttl>,
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

impl Extend {
    /// An extension of a reservation.
    ///
    /// # Errors
    /// When it would change nothing.
    pub fn new(
        reservation_id: IdempotencyKey,
        additional: Option<Amount>,
        ttl: Option<Ttl>,
    ) -> Result<Self, Invalid> {
        if additional.is_none() && ttl.is_none() {
            return Err(Invalid::field("ttl", "is required where additional_amount_micro_usd is 0"));
        }
        Ok(Self { reservation_id, additional, ttl })
    }

    /// How much more it is to hold.
    #[must_use]
    pub fn additional(&self) -> Option<Amount> {
        self.additional
    }

    /// How long its lease is to last from now on.
    #[must_use]
    pub fn ttl(&self) -> Option<Ttl> {
        self.ttl
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
