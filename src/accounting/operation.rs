//! What a caller may ask to be done to an account.

use super::{Actor, Amount, CreditKind, ExternalId, IdempotencyKey, Invalid, Reason, Ttl};

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

/// What becomes of the part of a capture that the reservation does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OveragePolicy {
    /// The capture is refused.
    #[default]
    Reject,
    /// What the account has available is charged; the rest is reported as uncollected.
    CollectAvailable,
    /// What is available may go below zero, down to the configured limit.
    AllowDebt,
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
