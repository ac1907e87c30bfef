//! The identifiers that callers choose: of accounts, operations and payments. Parsed once, at the edge.

use std::{fmt, sync::Arc};

use super::{EntryType, Invalid, Problem};

/// The prefix of the service's own keys, such as `billing/expire/<reservation>`.
const RESERVED_KEY_PREFIX: &str = "billing/";
/// What the key of an entry that records an expiry begins with.
const EXPIRY_KEY_PREFIX: &str = "billing/expire/";
/// The beginning of the keys of entries that record that grants have expired.
const LAPSE_KEY_PREFIX: &str = "billing/lapse/";

/// The names of methods, as far as they are not those of entry types.
const METHOD_WORDS: [&str; 8] = [
    "credit",
    "extend_reservation",
    "extendreservation",
    "admincredit",
    "setaccount",
    "set_account",
    "reverse",
    "withdraw",
];

/// Words that cannot identify one operation, because many operations used them as references; in addition to the names of
/// methods and entry types. Compared case-insensitively.
const GENERIC_KEYS: [&str; 24] = [
    "admin_reward",
    "charge_refund",
    "debit",
    "default",
    "erasure_forfeit",
    "idempotency_key",
    "invite",
    "key",
    "migrate:in",
    "migrate:out",
    "migration",
    "none",
    "null",
    "overage",
    "payout",
    "platform_fee",
    "provider_floor_draw",
    "reservation",
    "reservation_extra_refund",
    "reservation_refund",
    "stripe_payout",
    "stripe",
    "undefined",
    "unknown",
];

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $length_max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The maximum length in bytes.
            pub const LENGTH_MAX: usize = $length_max;

            /// Parses the identifier in `field`.
            ///
            /// # Errors
            /// When it is empty, too long, or has a character that is not visible ASCII.
            pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
                match visible_ascii(text, Self::LENGTH_MAX) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(problem) => Err(Invalid::field(field, problem)),
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier! {
    /// The caller's opaque id of an account: 1..=128 visible ASCII characters.
    AccountId, 128
}
identifier! {
    /// The key of one operation on one account, which never expires: 1..=255 visible ASCII characters for a caller's key, up
    /// to 270 for the service's own.
    IdempotencyKey, 270
}
identifier! {
    /// A payment's id in another system: 1..=255 visible ASCII characters.
    ExternalId, 255
}
identifier! {
    /// The name of a caller, from its credentials: 1..=64 visible ASCII characters.
    CallerName, 64
}

impl IdempotencyKey {
    /// The maximum length of a caller's key. The service's own keys contain a caller's.
    pub const CALLERS_LENGTH_MAX: usize = 255;

    /// The key of the entry that records the expiry of a reservation.
    pub(super) fn of_expiry(reservation_id: &Self) -> Self {
        Self(format!("{EXPIRY_KEY_PREFIX}{reservation_id}").into())
    }

    /// Whether it is the key of the entry that records the expiry of a reservation.
    #[must_use]
    pub fn is_of_expiry(&self) -> bool {
        self.as_str().starts_with(EXPIRY_KEY_PREFIX)
    }

    /// The key of the entry with a sequence, which records that grants have expired.
    pub(super) fn of_lapse(sequence: i64) -> Self {
        Self(format!("{LAPSE_KEY_PREFIX}{sequence}").into())
    }

    /// Whether it is the key of an entry that records that grants have expired.
    #[must_use]
    pub fn is_of_lapse(&self) -> bool {
        self.as_str().starts_with(LAPSE_KEY_PREFIX)
    }

    /// The key of the `number`th leg of a payer's entry, in the payee's account.
    pub(super) fn of_leg(payer: &AccountId, sequence: i64, number: usize) -> Self {
        Self(format!("{RESERVED_KEY_PREFIX}leg/{sequence}/{number}/{payer}").into())
    }

    /// Parses the id of a reservation: the key under which a caller reserved.
    ///
    /// # Errors
    /// When no caller can have used it.
    pub fn parse_of_reservation(text: &str) -> Result<Self, Invalid> {
        match visible_ascii(text, Self::CALLERS_LENGTH_MAX) {
            Ok(()) => Ok(Self(text.into())),
            Err(problem) => Err(Invalid::field("reservation_id", problem)),
        }
    }

    /// Parses the key of a caller's operation.
    ///
    /// # Errors
    /// When it is missing, malformed, or one of the service's own.
    pub fn parse_of_operation(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem| Invalid { field: "idempotency_key", problem };
        if text.is_empty() {
            return Err(invalid(Problem::KeyRequired));
        }
        visible_ascii(text, Self::CALLERS_LENGTH_MAX).map_err(|why| invalid(Problem::KeyMalformed(why)))?;
        if text.starts_with(RESERVED_KEY_PREFIX) {
            let why = format!("must not begin with {RESERVED_KEY_PREFIX}: those keys are the service's own");
            return Err(invalid(Problem::KeyMalformed(why)));
        }
        Ok(Self(text.into()))
    }

    /// Checks that the key can identify one operation on `account_id`. Later versions may refuse more words, so this is
    /// checked after the lookup of the key.
    ///
    /// # Errors
    /// When it is a word that many operations share: the second one would be taken for a replay of the first.
    pub fn must_be_specific(&self, account_id: &AccountId) -> Result<(), Invalid> {
        let text = self.as_str();
        if !is_generic(text, account_id) {
            return Ok(());
        }
        let problem = Problem::KeyGeneric(format!(
            "{text:?} is shared by many operations: send the name of this one, such as \
             \"refund-<id of the job>\", and put {text:?} into reference"
        ));
        Err(Invalid { field: "idempotency_key", problem })
    }
}

/// Whether a key is a word, or derived from the account alone, that the replaced system used for many operations.
fn is_generic(key: &str, account_id: &AccountId) -> bool {
    let word = key.to_ascii_lowercase();
    let word = word.strip_prefix("entry_type_").unwrap_or(&word);
    GENERIC_KEYS.contains(&word)
        || METHOD_WORDS.contains(&word)
        || EntryType::ALL.iter().any(|entry_type| entry_type.name().eq_ignore_ascii_case(word))
        || word == account_id.as_str().to_ascii_lowercase()
        || key.strip_prefix("reserve:") == Some(account_id.as_str())
}

fn visible_ascii(text: &str, length_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("is required".into());
    }
    if text.len() > length_max {
        return Err(format!("must be at most {length_max} characters long, not {}", text.len()));
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        None => Ok(()),
        Some(c) => Err(format!("must be visible ASCII characters without spaces, but has {c:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<IdempotencyKey, Problem> {
        let account = AccountId::parse("account_id", "acme").unwrap();
        let key = IdempotencyKey::parse_of_operation(text);
        let specific = key.and_then(|key| key.must_be_specific(&account).map(|()| key));
        specific.map_err(|invalid| {
            assert_eq!(invalid.field, "idempotency_key");
            invalid.problem
        })
    }

    #[test]
    fn a_key_is_required() {
        assert_eq!(key(""), Err(Problem::KeyRequired));
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        let long = "k".repeat(255);
        for good in ["k", "stripe-cs_a1", "job:42/refund", long.as_str(), "~!\"#"] {
            assert_eq!(key(good).unwrap().as_str(), good);
        }
        let too_long = "k".repeat(256);
        for bad in [" ", "a b", "a\t", "a\0", "clé", "ｋ", "a\u{200b}", too_long.as_str(), "a\n"] {
            assert!(matches!(key(bad), Err(Problem::KeyMalformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_key_shared_by_many_operations_is_refused() {
        let generic = [
            "reservation_refund",
            "admin_credit",
            "refund",
            "Refund",
            "ENTRY_TYPE_CHARGE",
            "stripe_deposit",
            "credit",
            "reserve:acme",
            "migrate:in",
            "acme",
        ];
        for bad in generic {
            assert!(matches!(key(bad), Err(Problem::KeyGeneric(_))), "{bad:?}");
        }
        for good in ["refund-job-42", "reservation_refund:42", "reserve:other", "admin_credit/ticket-7"] {
            assert!(key(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_keys_of_the_service_itself_are_refused() {
        assert!(matches!(key("billing/expire/r1"), Err(Problem::KeyMalformed(_))));
    }
}
