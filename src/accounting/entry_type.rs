//! The types of entries, with the same names here, in SQL and in the proto.

use super::{Authority, MicroUsd};

/// A kind of credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CreditKind {
    /// A payment through Stripe, always with an external id: the Checkout session's.
    StripeDeposit,
    /// A payment by any other means.
    Deposit,
    /// Money earned by the account.
    Earning,
    /// A reward for a referral.
    ReferralReward,
    /// Credit that came with an invitation.
    InviteCredit,
    /// A fee of a platform: a leg of another account's charge.
    Fee,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryType {
    /// Money put in.
    Credit(CreditKind),
    /// Money taken immediately.
    Charge,
    /// Money given back of a debit.
    Refund,
    /// Money granted by an operator.
    AdminCredit,
    /// Money held.
    Reserve,
    /// Money taken from a hold.
    Capture,
    /// A hold freed by the caller.
    Release,
    /// A hold raised, or its lease renewed.
    Extend,
    /// A hold freed because its lease expired.
    Expire,
    /// A decision of an operator about the account.
    AccountChange,
    /// Money that left the account for good, such as a payout.
    Withdrawal,
    /// Money taken back of a credit.
    Reversal,
    /// Money of grants that have expired.
    GrantExpire,
}

impl EntryType {
    /// Every type, in the order of the numbers.
    pub const ALL: [Self; 18] = [
        Self::Credit(CreditKind::StripeDeposit),
        Self::Credit(CreditKind::Deposit),
        Self::Credit(CreditKind::Earning),
        Self::Credit(CreditKind::ReferralReward),
        Self::Credit(CreditKind::InviteCredit),
        Self::Charge,
        Self::Refund,
        Self::AdminCredit,
        Self::Reserve,
        Self::Capture,
        Self::Release,
        Self::Extend,
        Self::Expire,
        Self::AccountChange,
        Self::Withdrawal,
        Self::Reversal,
        Self::Credit(CreditKind::Fee),
        Self::GrantExpire,
    ];

    /// The number of the type, in SQL and in the proto.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Credit(CreditKind::StripeDeposit) => 1,
            Self::Credit(CreditKind::Deposit) => 2,
            Self::Credit(CreditKind::Earning) => 3,
            Self::Credit(CreditKind::ReferralReward) => 4,
            Self::Credit(CreditKind::InviteCredit) => 5,
            Self::Charge => 6,
            Self::Refund => 7,
            Self::AdminCredit => 8,
            Self::Reserve => 9,
            Self::Capture => 10,
            Self::Release => 11,
            Self::Extend => 12,
            Self::Expire => 13,
            Self::AccountChange => 14,
            Self::Withdrawal => 15,
            Self::Reversal => 16,
            Self::Credit(CreditKind::Fee) => 17,
            Self::GrantExpire => 18,
        }
    }

    /// The type with a number, or `None` if there is none.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|entry_type| entry_type.number() == number)
    }

    /// The name of the type, as in the proto without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credit(CreditKind::StripeDeposit) => "STRIPE_DEPOSIT",
            Self::Credit(CreditKind::Deposit) => "DEPOSIT",
            Self::Credit(CreditKind::Earning) => "EARNING",
            Self::Credit(CreditKind::ReferralReward) => "REFERRAL_REWARD",
            Self::Credit(CreditKind::InviteCredit) => "INVITE_CREDIT",
            Self::Charge => "CHARGE",
            Self::Refund => "REFUND",
            Self::AdminCredit => "ADMIN_CREDIT",
            Self::Reserve => "RESERVE",
            Self::Capture => "CAPTURE",
            Self::Release => "RELEASE",
            Self::Extend => "EXTEND",
            Self::Expire => "EXPIRE",
            Self::AccountChange => "ACCOUNT_CHANGE",
            Self::Withdrawal => "WITHDRAWAL",
            Self::Reversal => "REVERSAL",
            Self::Credit(CreditKind::Fee) => "FEE",
            Self::GrantExpire => "GRANT_EXPIRE",
        }
    }

    /// Whether an entry of this type took money that a refund can give back.
    #[must_use]
    pub fn is_refundable(self) -> bool {
        match self {
            Self::Charge | Self::Capture | Self::Withdrawal | Self::Reversal => true,
            Self::Credit(_)
            | Self::Refund
            | Self::AdminCredit
            | Self::Reserve
            | Self::Release
            | Self::Extend
            | Self::Expire
            | Self::AccountChange
            | Self::GrantExpire => false,
        }
    }

    /// Whose decision it is to undo an entry of this type: what an operator granted, an operator takes back.
    pub(super) fn authority(self) -> Authority {
        if self == Self::AdminCredit { Authority::Admin } else { Authority::Coordinator }
    }

    /// Whether an entry of this type added money that a reversal can take back.
    #[must_use]
    pub fn is_reversible(self) -> bool {
        match self {
            Self::Credit(_) | Self::AdminCredit => true,
            Self::Charge
            | Self::Refund
            | Self::Reserve
            | Self::Capture
            | Self::Release
            | Self::Extend
            | Self::Expire
            | Self::AccountChange
            | Self::Withdrawal
            | Self::Reversal
            | Self::GrantExpire => false,
        }
    }
}

impl CreditKind {
    /// How much of such a credit may leave the account again.
    #[must_use]
    pub fn withdrawable(self, amount: MicroUsd) -> MicroUsd {
        if self.is_withdrawable() { amount } else { MicroUsd::ZERO }
    }

    /// Whether credits of this kind may leave the account again.
    #[must_use]
    pub fn is_withdrawable(self) -> bool {
        match self {
            Self::Earning | Self::ReferralReward => true,
            Self::StripeDeposit | Self::Deposit | Self::InviteCredit | Self::Fee => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_one_to_one() {
        for (index, entry_type) in EntryType::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(entry_type.number()).unwrap(), index + 1);
            assert_eq!(EntryType::from_number(entry_type.number()), Some(entry_type));
        }
        assert_eq!(EntryType::from_number(0), None);
        assert_eq!(EntryType::from_number(19), None);
    }
}
