//! What may be done to an account. Each operation has a file that describes it: its fields, what it refers to, and its rule.

mod admin_credit;
mod capture;
mod charge;
mod credit;
mod expire;
mod extend;
mod refund;
mod release;
mod reserve;
mod reverse;
mod set_account;
mod withdraw;

pub use admin_credit::AdminCredit;
pub use capture::Capture;
pub use charge::Charge;
pub use credit::Credit;
pub use expire::Expire;
pub use extend::Extend;
pub use refund::Refund;
pub use release::Release;
pub use reserve::Reserve;
pub use reverse::Reverse;
pub use set_account::SetAccount;
pub use withdraw::Withdraw;

use super::{
    Authority, Book, EntryName, ExternalIds, Fingerprint, IdempotencyKey, Legs, Limits, RefusalReason, Ttl,
    envelope::Envelope,
    method::Method,
    verdict::{Situation, Verdict},
};

/// What to do to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds money.
    Credit(Credit),
    /// Takes money immediately.
    Charge(Charge),
    /// Gives back all or part of a debit.
    Refund(Refund),
    /// Grants money by decision of an operator.
    AdminCredit(AdminCredit),
    /// Holds money; the key becomes the reservation's id.
    Reserve(Reserve),
    /// Charges what was used of a reservation.
    Capture(Capture),
    /// Frees what a reservation holds.
    Release(Release),
    /// Raises what a reservation holds, or renews its lease.
    Extend(Extend),
    /// Changes what is possible in the account, by decision of an operator.
    SetAccount(SetAccount),
    /// Takes back all or part of a credit.
    Reverse(Reverse),
    /// Takes money that leaves the account for good.
    Withdraw(Withdraw),
    /// Records that a reservation's lease has expired. The service's own.
    Expire(Expire),
}

/// What an operation refers to beside its account: what has to be read before it can be judged.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says by itself what has to be read")]
pub struct References<'a> {
    /// The entry that it undoes.
    pub entry: Option<&'a EntryName>,
    /// The reservation that it changes or ends.
    pub reservation_id: Option<&'a IdempotencyKey>,
    /// Whether it is a credit that expires.
    pub opens_grant: bool,
    /// Whether it opens a reservation, under its own key.
    pub opens_reservation: bool,
    /// The names of its payment in other systems.
    pub external_ids: Option<&'a ExternalIds>,
    /// Whether it closes the account, which must have no open reservation.
    pub closes_account: bool,
    /// The lease that the caller asks for.
    pub ttl: Option<Ttl>,
    /// The legs that it pays.
    pub legs: Option<&'a Legs>,
    /// Whether it takes back from the payees of the entry that it undoes.
    pub takes_back: bool,
}

/// Everything in which one operation differs from another.
pub(super) trait Describe {
    /// The method that asks for it.
    fn method(&self) -> Method;

    /// Adds its fields to a fingerprint. The pattern names every field, so that a new one cannot be forgotten.
    fn fields(&self, fingerprint: Fingerprint) -> Fingerprint;

    /// What it refers to.
    fn references(&self) -> References<'_> {
        References::default()
    }

    /// Whose decision it is, if its method does not say so: of what undoes an entry, the entry does. `None` also if there is
    /// no such entry.
    fn authority(&self, _: &Book, _: &Envelope) -> Option<Authority> {
        None
    }

    /// Why a configured limit forbids it.
    fn forbidden_by(&self, _: &Limits) -> Option<RefusalReason> {
        None
    }

    /// The rule: what it does to its account, or why not. Its key is new, and no limit forbids it.
    fn judge(&self, situation: &Situation<'_>) -> Verdict;
}

impl Operation {
    /// Its description.
    pub(super) fn describe(&self) -> &dyn Describe {
        match self {
            Self::Credit(credit) => credit,
            Self::Charge(charge) => charge,
            Self::Refund(refund) => refund,
            Self::AdminCredit(grant) => grant,
            Self::Reserve(reserve) => reserve,
            Self::Capture(capture) => capture,
            Self::Release(release) => release,
            Self::Extend(extend) => extend,
            Self::SetAccount(change) => change,
            Self::Reverse(reverse) => reverse,
            Self::Withdraw(withdraw) => withdraw,
            Self::Expire(expire) => expire,
        }
    }
}
