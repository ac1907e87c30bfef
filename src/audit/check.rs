//! The checks, and the differences that they find.

use std::fmt;

use serde::Serialize;

use crate::json::text;

/// Declares the checks, each with what must hold.
macro_rules! checks {
    ($($check:ident $name:literal $rule:literal,)+) => {
        /// What is checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Check {
            $(#[doc = $rule] #[serde(rename = $name)] $check,)+
        }

        impl Check {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$check,)+];

            /// The check's name, which never changes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$check => $name,)+ }
            }

            /// What must hold.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$check => $rule,)+ }
            }
        }
    };
}

checks! {
    AccountMissing "ACCOUNT_MISSING" "What has entries, reservations or grants has a row in accounts.",
    AccountWithoutEntries "ACCOUNT_WITHOUT_ENTRIES" "An account without entries has no money, holds nothing and counts no entry.",
    AccountPosted "ACCOUNT_POSTED" "What is posted in an account is the sum of its entries' amounts.",
    AccountHeld "ACCOUNT_HELD" "What an account holds is the sum of what its entries added to that.",
    AccountLastSequence "ACCOUNT_LAST_SEQUENCE" "An account's last sequence is that of its newest entry.",
    AccountCreateTime "ACCOUNT_CREATE_TIME" "An account began when its first entry was written.",
    AccountUpdateTime "ACCOUNT_UPDATE_TIME" "An account was last changed when its newest entry was written.",
    AccountSettings "ACCOUNT_SETTINGS" "The state and the debt limit of an account are what its newest change says.",
    AccountWithdrawable "ACCOUNT_WITHDRAWABLE" "What may leave an account is what its newest entry left of that.",
    AccountGranted "ACCOUNT_GRANTED" "What is granted in an account is what its newest entry left of that; nothing is said of it where nothing remains of a grant.",
    AccountNextExpireTime "ACCOUNT_NEXT_EXPIRE_TIME" "No lease of an open reservation runs out, and no grant expires that is not pinned as a whole, before the account looks for any.",
    EntrySequence "ENTRY_SEQUENCE" "The entries of an account are numbered 1, 2, 3 without gaps.",
    EntryPostedAfter "ENTRY_POSTED_AFTER" "What is posted after an entry is what was before it and its amount.",
    EntryHeldAfter "ENTRY_HELD_AFTER" "What is held after an entry is what was before it and what it added to that, and never below zero.",
    EntryWithdrawable "ENTRY_WITHDRAWABLE" "What may leave an account after an entry follows from what could before, from the entry, and from what it undoes.",
    EntryTime "ENTRY_TIME" "No entry was written, or took effect, before the one before it.",
    EntryType "ENTRY_TYPE" "An entry is of one of the 18 types.",
    EntrySign "ENTRY_SIGN" "An entry's amounts have the signs of its type. History without a key may have others.",
    EntryFacts "ENTRY_FACTS" "An entry has the facts of its type, and no part of a fact. History without a key may lack some.",
    EntryOverdrawn "ENTRY_OVERDRAWN" "Nothing but a charge, a capture or a reversal, or history without a key, takes what is available below zero.",
    RefundCharge "REFUND_CHARGE" "A refund gives back an earlier debit of the same account.",
    RefundSum "REFUND_SUM" "All refunds of a debit together are at most its amount.",
    ReversalCredit "REVERSAL_CREDIT" "A reversal takes back an earlier credit of the same account, and its refund restores that credit.",
    ReversalSum "REVERSAL_SUM" "All reversals of a credit, less what refunds gave back of them, are at least nothing and at most its amount.",
    LegsFunded "LEGS_FUNDED" "The legs of a debit come to at most what is funded of it, and that to at most its amount; a refund takes from them.",
    LegsPaid "LEGS_PAID" "Every leg that an entry lists is an entry of that amount in the payee's account, or moved nothing.",
    LegSource "LEG_SOURCE" "An entry that is a leg is listed by its payer's, and a fee is always one.",
    EntryGrantMoves "ENTRY_GRANT_MOVES" "What an entry draws, brings back, makes other money, ends or pins is of grants that it or an earlier entry credits, and fits its type and its amount.",
    EntryGranted "ENTRY_GRANTED" "What is granted after an entry is what is not pinned of the grants that have not expired when it takes effect.",
    EntryLapsed "ENTRY_LAPSED" "What lapses because of an entry is what is not pinned of the grants that have expired when it takes effect.",
    LapseBehind "LAPSE_BEHIND" "What lapses because of an entry does so in the next one, which takes effect at the same time.",
    GrantLapse "GRANT_LAPSE" "The end of grants takes exactly what lapses of them, when they expire or right behind what brought it back.",
    GrantParts "GRANT_PARTS" "After every entry, what is pinned of a grant is a part of what remains, that is a part of its amount, and no more is unpinned than has neither lapsed nor been reversed.",
    GrantsCovered "GRANTS_COVERED" "No more is granted after an entry than is available.",
    GrantMissing "GRANT_MISSING" "A credit that expires has a row in grants.",
    GrantWithoutCredit "GRANT_WITHOUT_CREDIT" "A grant is a credit that expires.",
    GrantAmount "GRANT_AMOUNT" "The amount of a grant is that of its credit.",
    GrantExpireTime "GRANT_EXPIRE_TIME" "A grant expires when its credit says.",
    GrantRemaining "GRANT_REMAINING" "What remains of a grant is its amount and what entries brought back into it, less what they drew, made other money and ended.",
    GrantPinned "GRANT_PINNED" "What is pinned of a grant is what entries pinned of it.",
    GrantLapsed "GRANT_LAPSED" "What has lapsed of a grant is what entries ended of it.",
    GrantReversed "GRANT_REVERSED" "What is reversed of a grant is what reversals of its credit took, less what refunds gave back of them.",
    KeyAnswers "KEY_ANSWERS" "A key has one answer: an entry, a refusal, or the entry of an earlier key.",
    PaymentUnclaimed "PAYMENT_UNCLAIMED" "Every name of a payment that an entry gives is in payments. History without a key may repeat payments.",
    PaymentClaim "PAYMENT_CLAIM" "A name in payments points to an entry of a payment, which gives it, or which another key was answered with.",
    ReplayEntry "REPLAY_ENTRY" "A key answered with the entry of an earlier key points to an entry of a payment.",
    ReservationMissing "RESERVATION_MISSING" "A reservation that entries tell of has a row in reservations.",
    ReservationWithoutEntries "RESERVATION_WITHOUT_ENTRIES" "A reservation was opened by an entry.",
    ReservationStep "RESERVATION_STEP" "Each entry of a reservation follows from the one before it; the first one opened it under its name.",
    ReservationState "RESERVATION_STATE" "A reservation is in the state that its newest entry says.",
    ReservationHeld "RESERVATION_HELD" "A reservation holds what its newest entry says, and nothing once it has ended.",
    ReservationCaptured "RESERVATION_CAPTURED" "What was captured of a reservation is what its newest entry says.",
    ReservationSequence "RESERVATION_SEQUENCE" "A reservation names the entry that opened it.",
    ReservationCreateTime "RESERVATION_CREATE_TIME" "A reservation was made when the entry that opened it was.",
    ReservationExpireTime "RESERVATION_EXPIRE_TIME" "A reservation's lease runs out when its newest entry says.",
    ReservationCloseTime "RESERVATION_CLOSE_TIME" "A reservation ended when its newest entry says.",
    ReservationExpiryPolicy "RESERVATION_EXPIRY_POLICY" "What becomes of a reservation at the end of its lease is what its newest entry says.",
    ReservationCloseSequence "RESERVATION_CLOSE_SEQUENCE" "A reservation names the entry that ended it.",
    ReservationPins "RESERVATION_PINS" "What a reservation pins of grants is what its entries pinned, and at most what it holds.",
    ReservationLapse "RESERVATION_LAPSE" "The end of a lease does what the expiry policy says, and takes effect then; any other entry does when it is written.",
    ReservationsHold "RESERVATIONS_HOLD" "What the entries of an account left held is what its open reservations hold.",
    ReservationsPin "RESERVATIONS_PIN" "What the entries of an account left pinned of a grant is what its open reservations pin of it.",
}

/// A place in an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The account itself.
    Account,
    /// The entry with a sequence.
    Sequence(#[serde(serialize_with = "text")] i64),
    /// A key.
    IdempotencyKey(String),
    /// A payment.
    ExternalId(String),
    /// A reservation.
    ReservationId(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::Sequence(sequence) => write!(f, "entry {sequence}"),
            Self::IdempotencyKey(key) => write!(f, "key {key}"),
            Self::ExternalId(external_id) => write!(f, "payment {external_id}"),
            Self::ReservationId(reservation_id) => write!(f, "reservation {reservation_id}"),
        }
    }
}

/// A contradiction within the book.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Difference {
    /// The check that failed.
    pub check: Check,
    /// The account.
    pub account_id: String,
    /// The place in the account.
    pub place: Place,
    /// The value that follows from the rest of the book.
    pub expected: String,
    /// The value found.
    pub found: String,
}

/// Reports the differences of one account.
pub(super) struct Findings<'a> {
    pub(super) account_id: &'a str,
    pub(super) report: &'a mut dyn FnMut(Difference),
}

impl Findings<'_> {
    pub(super) fn report(
        &mut self,
        check: Check,
        place: Place,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) {
        (self.report)(Difference {
            check,
            account_id: self.account_id.to_owned(),
            place,
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    pub(super) fn compare<T: PartialEq + fmt::Display>(
        &mut self,
        check: Check,
        place: impl FnOnce() -> Place,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.report(check, place(), expected, found);
        }
    }
}
