//! Refusals for business reasons.

use super::{AccountId, Balance, EntryType, Grants, Metadata, MicroUsd, ReservationState, Timestamp};

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// The account has less available than the operation takes.
    InsufficientFunds {
        /// What is available.
        available: MicroUsd,
        /// What is held of what is posted.
        held: MicroUsd,
        /// What is required.
        required: MicroUsd,
    },
    /// The refund is more than what is left of the debit.
    RefundExceedsCharge {
        /// What is left of it.
        refundable: MicroUsd,
    },
    /// The entry to be refunded took no money.
    NotRefundable {
        /// What it is.
        entry_type: EntryType,
    },
    /// The reversal is more than what is left of the credit.
    ReversalExceedsCredit {
        /// What is left of it.
        reversible: MicroUsd,
    },
    /// The entry to be reversed added no money.
    NotReversible {
        /// What it is.
        entry_type: EntryType,
    },
    /// The account has less that may leave it than the withdrawal takes.
    NotWithdrawable {
        /// What may leave it.
        withdrawable: MicroUsd,
    },
    /// The payment is known, from another account or with another amount; or its ids are known as different payments.
    ExternalIdConflict {
        /// The id that is known.
        external_id: String,
        /// What differs: `account_id`, `method`, `credit`, `amount_micro_usd` or `external_ids`. Never the other account's
        /// name.
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
        /// The sequence of the entry that ended it.
        sequence: Option<i64>,
    },
    /// The reservation has ended because its lease expired.
    ReservationExpired,
    /// The account would owe more than the configured limit.
    DebtLimit {
        /// The limit.
        limit: MicroUsd,
    },
    /// An operator has frozen the account: it spends nothing new.
    AccountFrozen,
    /// An operator has closed the account.
    AccountClosed,
    /// An operator has closed the account of a payee.
    PayeeClosed {
        /// The payee.
        account_id: AccountId,
    },
    /// The account cannot be closed while reservations are open, even if they hold nothing.
    ReservationsOpen {
        /// What they hold.
        held: MicroUsd,
    },
    /// The account cannot be closed: what is to be forfeited is not what is posted.
    ForfeitMismatch {
        /// What is posted.
        posted: MicroUsd,
    },
    /// The credit would have expired already.
    GrantExpired,
    /// The account has as many grants ahead of their expiry as it may have.
    TooManyGrants,
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
    /// The figures of the message, for programs, and `refused_time`.
    pub metadata: Metadata,
    /// When it was first refused.
    pub create_time: Timestamp,
}

impl RefusalReason {
    /// Fails if a balance has less available than is required.
    pub(super) fn unless_covered(balance: Balance, required: MicroUsd) -> Result<(), Self> {
        let (available, held) = (balance.available(), balance.held());
        if required > available { Err(Self::InsufficientFunds { available, held, required }) } else { Ok(()) }
    }

    /// The refusal for this reason.
    pub(super) fn refusal(&self, account_id: &AccountId, now: Timestamp) -> Refusal {
        let refused_time = ("refused_time".to_owned(), now.to_string());
        Refusal {
            account_id: account_id.clone(),
            reason: self.name().to_owned(),
            message: self.message(),
            metadata: self.metadata().into_iter().chain([refused_time]).collect(),
            create_time: now,
        }
    }

    const NAMES: [&str; 19] = [
        "INSUFFICIENT_FUNDS",
        "REFUND_EXCEEDS_CHARGE",
        "NOT_REFUNDABLE",
        "REVERSAL_EXCEEDS_CREDIT",
        "NOT_REVERSIBLE",
        "NOT_WITHDRAWABLE",
        "EXTERNAL_ID_CONFLICT",
        "BALANCE_OVERFLOW",
        "ADMIN_CREDIT_LIMIT",
        "CAPTURE_EXCEEDS_RESERVATION",
        "RESERVATION_CLOSED",
        "RESERVATION_EXPIRED",
        "DEBT_LIMIT",
        "ACCOUNT_FROZEN",
        "ACCOUNT_CLOSED",
        "RESERVATIONS_OPEN",
        "FORFEIT_MISMATCH",
        "GRANT_EXPIRED",
        "TOO_MANY_GRANTS",
    ];

    /// The name of the reason, as in the proto's table of errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsufficientFunds { .. } => "INSUFFICIENT_FUNDS",
            Self::RefundExceedsCharge { .. } => "REFUND_EXCEEDS_CHARGE",
            Self::NotRefundable { .. } => "NOT_REFUNDABLE",
            Self::ReversalExceedsCredit { .. } => "REVERSAL_EXCEEDS_CREDIT",
            Self::NotReversible { .. } => "NOT_REVERSIBLE",
            Self::NotWithdrawable { .. } => "NOT_WITHDRAWABLE",
            Self::ExternalIdConflict { .. } => "EXTERNAL_ID_CONFLICT",
            Self::BalanceOverflow => "BALANCE_OVERFLOW",
            Self::AdminCreditLimit { .. } => "ADMIN_CREDIT_LIMIT",
            Self::CaptureExceedsReservation { .. } => "CAPTURE_EXCEEDS_RESERVATION",
            Self::ReservationClosed { .. } => "RESERVATION_CLOSED",
            Self::ReservationExpired => "RESERVATION_EXPIRED",
            Self::DebtLimit { .. } => "DEBT_LIMIT",
            Self::AccountFrozen => "ACCOUNT_FROZEN",
            Self::AccountClosed | Self::PayeeClosed { .. } => "ACCOUNT_CLOSED",
            Self::ReservationsOpen { .. } => "RESERVATIONS_OPEN",
            Self::ForfeitMismatch { .. } => "FORFEIT_MISMATCH",
            Self::GrantExpired => "GRANT_EXPIRED",
            Self::TooManyGrants => "TOO_MANY_GRANTS",
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
            Self::InsufficientFunds { available, held: _, required } => {
                format!("the account has {available} micro-USD available, and {required} are required")
            }
            Self::RefundExceedsCharge { refundable } => {
                format!("{refundable} micro-USD of the debit are left to refund")
            }
            Self::NotRefundable { entry_type } => {
                format!(
                    "only a charge, a capture, a withdrawal or a reversal can be refunded, not a {}",
                    entry_type.name()
                )
            }
            Self::ReversalExceedsCredit { reversible } => {
                format!("{reversible} micro-USD of the credit are left to reverse")
            }
            Self::NotReversible { entry_type } => {
                format!("only a credit can be reversed, not a {}", entry_type.name())
            }
            Self::NotWithdrawable { withdrawable } => {
                format!("{withdrawable} micro-USD of the account can be withdrawn")
            }
            Self::ExternalIdConflict { external_id, conflict } => {
                format!("the payment {external_id} is known with another {conflict}")
            }
            Self::BalanceOverflow => "the balance would become too large to be counted".into(),
            Self::AdminCreditLimit { limit } => {
                format!("an operator may grant at most {limit} micro-USD at once")
            }
            Self::CaptureExceedsReservation { held } => {
                format!("the reservation holds {held} micro-USD, and the shortfall policy is to reject")
            }
            Self::ReservationClosed { state, sequence: _ } => {
                format!("the reservation has ended: {}", state.name())
            }
            Self::ReservationExpired => "the reservation's lease has run out".into(),
            Self::DebtLimit { limit } => format!("the account may owe at most {limit} micro-USD"),
            Self::AccountFrozen => "the account is frozen: it spends nothing new".into(),
            Self::AccountClosed => "the account is closed".into(),
            Self::PayeeClosed { account_id } => format!("the account {account_id} of a leg is closed"),
            Self::ReservationsOpen { held } => {
                format!("the account has open reservations, which hold {held} micro-USD")
            }
            Self::ForfeitMismatch { posted } => {
                format!("the account has {posted} micro-USD posted: forfeit exactly that to close it")
            }
            Self::GrantExpired => "the credit would have expired already".into(),
            Self::TooManyGrants => {
                format!("the account has {} grants that have not expired: no more fit", Grants::AHEAD_MAX)
            }
        }
    }

    /// The figures of the message, for programs. A refusal has them, and the time of the first answer.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let named = |notes: &[(&str, &dyn ToString)]| {
            notes.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
        };
        match self {
            Self::InsufficientFunds { available, held, required } => named(&[
                ("available_micro_usd", available),
                ("held_micro_usd", held),
                ("required_micro_usd", required),
            ]),
            Self::PayeeClosed { account_id } => named(&[("payee_account_id", account_id)]),
            Self::RefundExceedsCharge { refundable } => named(&[("refundable_micro_usd", refundable)]),
            Self::NotRefundable { entry_type } | Self::NotReversible { entry_type } => {
                named(&[("entry_type", &entry_type.name())])
            }
            Self::ReversalExceedsCredit { reversible } => named(&[("reversible_micro_usd", reversible)]),
            Self::NotWithdrawable { withdrawable } => named(&[("withdrawable_micro_usd", withdrawable)]),
            Self::ExternalIdConflict { external_id, conflict } => {
                named(&[("external_id", external_id), ("conflict", conflict)])
            }
            Self::BalanceOverflow
            | Self::ReservationExpired
            | Self::AccountFrozen
            | Self::AccountClosed
            | Self::GrantExpired => named(&[]),
            Self::TooManyGrants => named(&[("limit", &Grants::AHEAD_MAX)]),
            Self::AdminCreditLimit { limit } | Self::DebtLimit { limit } => {
                named(&[("limit_micro_usd", limit)])
            }
            Self::CaptureExceedsReservation { held } | Self::ReservationsOpen { held } => {
                named(&[("held_micro_usd", held)])
            }
            Self::ReservationClosed { state, sequence: Some(sequence) } => {
                named(&[("state", &state.name()), ("sequence", sequence)])
            }
            Self::ReservationClosed { state, sequence: None } => named(&[("state", &state.name())]),
            Self::ForfeitMismatch { posted } => named(&[("posted_micro_usd", posted)]),
        }
    }
}
