//! What the contract's numbers are called on a page.

use crate::grpc::proto::{AccountState, EntryType, ExpiryPolicy, ReservationState};

/// The name of a type of entries; of one that is newer than this program, its number.
pub(super) fn entry_type(number: i32) -> String {
    EntryType::try_from(number)
        .map_or_else(|_| format!("type {number}"), |known| name_of_type(known).to_owned())
}

/// The name of a known type.
pub(super) fn name_of_type(entry_type: EntryType) -> &'static str {
    match entry_type {
        EntryType::Unspecified => "all types",
        EntryType::StripeDeposit => "Stripe deposit",
        EntryType::Deposit => "deposit",
        EntryType::Earning => "earning",
        EntryType::ReferralReward => "referral reward",
        EntryType::InviteCredit => "invite credit",
        EntryType::Charge => "charge",
        EntryType::Refund => "refund",
        EntryType::AdminCredit => "grant",
        EntryType::Reserve => "reservation",
        EntryType::Capture => "capture",
        EntryType::Release => "release",
        EntryType::Extend => "extension",
        EntryType::Expire => "expiry",
        EntryType::AccountChange => "account change",
        EntryType::Withdrawal => "withdrawal",
        EntryType::Reversal => "reversal",
        EntryType::Fee => "fee",
        EntryType::GrantExpire => "expiry of grants",
    }
}

/// The types by the name that the contract gives them, for a form.
pub(super) fn types() -> impl Iterator<Item = EntryType> {
    (1..).map_while(|number| EntryType::try_from(number).ok())
}

/// The name of an account's state.
pub(super) fn account_state(number: i32) -> String {
    AccountState::try_from(number).map_or_else(
        |_| format!("state {number}"),
        |state| {
            match state {
                AccountState::Unspecified => "unchanged",
                AccountState::Active => "active",
                AccountState::Frozen => "frozen",
                AccountState::Closed => "closed",
            }
            .to_owned()
        },
    )
}

/// The name of a reservation's state.
pub(super) fn reservation_state(number: i32) -> String {
    ReservationState::try_from(number)
        .map_or_else(|_| format!("state {number}"), |state| name_of_reservation_state(state).to_owned())
}

/// The name of a known state.
pub(super) fn name_of_reservation_state(state: ReservationState) -> &'static str {
    match state {
        ReservationState::Unspecified => "all states",
        ReservationState::Open => "open",
        ReservationState::Captured => "captured",
        ReservationState::Released => "released",
        ReservationState::Expired => "expired",
    }
}

/// What becomes of a hold at the end of its lease.
pub(super) fn expiry_policy(number: i32) -> &'static str {
    match ExpiryPolicy::try_from(number) {
        Ok(ExpiryPolicy::Unspecified | ExpiryPolicy::Release) => "freed",
        Ok(ExpiryPolicy::Capture) => "charged",
        Err(_) => "not known to this console",
    }
}
