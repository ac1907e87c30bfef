//! The methods that move or hold money, by number and name.

/// A method. Its number stands in fingerprints, and is never used again for another method.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Method {
    Credit = 1,
    Charge = 2,
    Refund = 3,
    AdminCredit = 4,
    Reserve = 5,
    Capture = 6,
    Release = 7,
    ExtendReservation = 8,
    /// The service's own.
    Expire = 9,
    SetAccount = 10,
    Reverse = 11,
    Withdraw = 12,
    /// The service's own.
    Lapse = 13,
}

/// The names of the methods in the proto, in the order of the numbers.
const NAMES: [&str; 13] = [
    "Credit",
    "Charge",
    "Refund",
    "AdminCredit",
    "Reserve",
    "Capture",
    "Release",
    "ExtendReservation",
    "expiry",
    "SetAccount",
    "Reverse",
    "Withdraw",
    "lapse",
];

/// The name of the method with a number; "unknown" if a later version has added it.
pub(super) fn method_name(number: u8) -> &'static str {
    let index = number.checked_sub(1).map(usize::from);
    index.and_then(|index| NAMES.get(index)).unwrap_or(&"unknown")
}
