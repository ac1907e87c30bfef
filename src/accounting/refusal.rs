//! Refusals for business reasons.

use super::{AccountId, EntryType, Metadata, MicroUsd, ReservationState, Timestamp};

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// The account has less available than the operation takes.
    InsufficientFunds {
        /// What is available.
        available: MicroUsd,
        /// What is required.
        required: MicroUsd,
    },
    /// The refund is more than what is left of the charge.
    RefundExceedsCharge {
        /// What is left of it.
        refundable: MicroUsd,
    },
    /// The entry to be refunded took no money.
    NotRefundable {
        /// What it is.
        entry_type: EntryType,
    },
    /// The payment was credited before, to another account or with another amount.
    ExternalIdConflict {
        /// The payment's id.
        external_id: String,
        /// Which of the two differs: `account_id` or `amount_micro_usd`. Never the other account's name.
        conflict: &'static str,
    },
    /// The balance would overflow int64.
    BalanceOverflow,
    /// The grant is above the configured cap.
    AdminCreditLimit {
        /// The cap.
        limit: MicroUsd,
    },
    /// The capture is more than the reservation holds.
    CaptureExceedsReservation {
        /// What it holds.
        held: MicroUsd,
    },
    /// The reservation has been captured or released already.
    ReservationClosed {
        /// Its state.
        state: ReservationState,
    },
    /// The reservation has ended because its lease expired.
    ReservationExpired,
    /// The account would owe more than the configured limit.
    DebtLimit {
        /// The limit.
        limit: MicroUsd,
    },
}

/// The answer to a refused operation. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The account.
    pub account_id: AccountId,
    /// The name of the reason.
    pub reason: String,
    /// The message, for people.
    pub message: String,
    /// The figures of the message, for programs.
    pub metadata: Metadata,
    /// When it was first refused.
    pub create_time: Timestamp,
}

impl RefusalReason {
    /// The refusal for this reason.
    pub(super) fn refusal(&self, account_id: &AccountId, now: Timestamp) -> Refusal {
        Refusal {
            account_id: account_id.clone(),
            reason: self.name().to_owned(),
            message: self.message(),
            metadata: self.metadata(),
            create_time: now,
        }
    }

    const NAMES: [&str; 10] = [
        "INSUFFICIENT_FUNDS",
        "REFUND_EXCEEDS_CHARGE",
        "NOT_REFUNDABLE",
        "EXTERNAL_ID_CONFLICT",
        "BALANCE_OVERFLOW",
        "ADMIN_CREDIT_LIMIT",
        "CAPTURE_EXCEEDS_RESERVATION",
        "RESERVATION_CLOSED",
        "RESERVATION_EXPIRED",
        "DEBT_LIMIT",
    ];

    /// The name of the reason, as in the proto's table of errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsufficientFunds { .. } => "INSUFFICIENT_FUNDS",
            Self::RefundExceedsCharge { .. } => "REFUND_EXCEEDS_CHARGE",
            Self::NotRefundable { .. } => "NOT_REFUNDABLE",
            Self::ExternalIdConflict { .. } => "EXTERNAL_ID_CONFLICT",
            Self::BalanceOverflow => "BALANCE_OVERFLOW",
            Self::AdminCreditLimit { .. } => "ADMIN_CREDIT_LIMIT",
            Self::CaptureExceedsReservation { .. } => "CAPTURE_EXCEEDS_RESERVATION",
            Self::ReservationClosed { .. } => "RESERVATION_CLOSED",
            Self::ReservationExpired => "RESERVATION_EXPIRED",
            Self::DebtLimit { .. } => "DEBT_LIMIT",
        }
    }

    /// A name that this version knows, if the text is one.
    #[must_use]
    pub fn known_name(text: &str) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|name| *name == text)
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::InsufficientFunds { available, required } => {
                format!("the account has {available} micro-USD available, and {required} are required")
            }
            Self::RefundExceedsCharge { refundable } => {
                format!("{refundable} micro-USD of the charge are left to refund")
            }
            Self::NotRefundable { entry_type } => {
                format!("only a charge or a capture can be refunded, not a {}", entry_type.name())
            }
            Self::ExternalIdConflict { external_id, conflict } => {
                format!("the payment {external_id} was credited before with another {conflict}")
            }
            Self::BalanceOverflow => "the balance would become too large to be counted".into(),
            Self::AdminCreditLimit { limit } => {
                format!("an operator may grant at most {limit} micro-USD at once")
            }
            Self::CaptureExceedsReservation { held } => {
                format!("the reservation holds {held} micro-USD, and its overage policy is to reject")
            }
            Self::ReservationClosed { state } => format!("the reservation has ended: {}", state.name()),
            Self::ReservationExpired => "the reservation's lease has run out".into(),
            Self::DebtLimit { limit } => format!("the account may owe at most {limit} micro-USD"),
        }
    }

    /// The figures of the message, for programs.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let named = |notes: &[(&str, &dyn ToString)]| {
            notes.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
        };
        match self {
            Self::InsufficientFunds { available, required } => {
                named(&[("available_micro_usd", available), ("required_micro_usd", required)])
            }
            Self::RefundExceedsCharge { refundable } => named(&[("refundable_micro_usd", refundable)]),
            Self::NotRefundable { entry_type } => named(&[("entry_type", &entry_type.name())]),
            Self::ExternalIdConflict { external_id, conflict } => {
                named(&[("external_id", external_id), ("conflict", conflict)])
            }
            Self::BalanceOverflow | Self::ReservationExpired => named(&[]),
            Self::AdminCreditLimit { limit } | Self::DebtLimit { limit } => {
                named(&[("limit_micro_usd", limit)])
            }
            Self::CaptureExceedsReservation { held } => named(&[("held_micro_usd", held)]),
            Self::ReservationClosed { state } => named(&[("state", &state.name())]),
        }
    }
}
