//! The rules: what may happen to an account, and what is answered. Pure: no async, no SQL, no protobuf, no clock.
//!
//! The words, one for each thing, here as in the proto, in SQL and in the docs:
//!
//! | word        | meaning                                                                                     |
//! | ----------- | ------------------------------------------------------------------------------------------- |
//! | account     | a prepaid balance, named by the caller's opaque [`AccountId`]                               |
//! | posted      | the sum of all entries' amounts, in [`MicroUsd`]                                            |
//! | held        | the sum of open, unexpired reservations                                                     |
//! | available   | posted - held: what can be charged or reserved                                              |
//! | withdrawable| the part of available that was earned and may leave; other money is spent first             |
//! | grant       | a credit that expires: spent before other money, and never withdrawable: [`Grant`]           |
//! | entry       | one immutable row of the journal, numbered by `sequence` 1, 2, 3 … without gaps: [`Entry`]  |
//! | operation   | one mutating call under one [`IdempotencyKey`]: a [`Command`] carries it                    |
//! | refusal     | an operation answered "no" for a business reason, remembered under its key: [`Refusal`]     |
//! | replay      | a call whose key has been answered before; it gets the same answer, and moves nothing       |
//! | reservation | money held for work in progress: open, then captured, released or expired: [`Reservation`]  |
//! | reference   | free text for people; repeats freely; never used for deduplication                          |
//! | external id | a payment's name in another system: names one entry, over all accounts: [`ExternalId`]     |
//!
//! Read [`decide()`] first: it is the whole business in one function. A [`Book`] is what it reads and writes.

mod account;
mod account_settings;
mod authority;
mod balance;
mod book;
mod changes;
mod command;
mod decide;
mod entry;
mod entry_name;
mod entry_type;
mod envelope;
mod expiry_policy;
mod external_ids;
mod fingerprint;
mod grant;
mod grants;
mod identifier;
mod invalid;
mod leg;
mod limits;
mod method;
mod money;
mod movement;
mod note;
mod operation;
mod original;
mod payment;
mod posting;
mod refusal;
mod reservation;
mod shortfall;
mod since;
mod timestamp;
mod verdict;

pub use account::Account;
pub use account_settings::{AccountSettings, AccountState};
pub use authority::{Authorities, Authority};
pub use balance::Balance;
pub use book::Book;
pub use changes::{Answer, Changes, ExternalReplay, Payment, Recorded, Refused};
pub use command::Command;
pub use decide::{Outcome, decide, expire_lapsed};
pub use entry::{Entry, PaidLeg, ReservationAfter, Source};
pub use entry_name::EntryName;
pub use entry_type::{CreditKind, EntryType};
pub use expiry_policy::ExpiryPolicy;
pub use external_ids::ExternalIds;
pub use fingerprint::{Fingerprint, KeyReused};
pub use grant::{Grant, GrantMoves, GrantShare, GrantTotals, add_share, sum_of};
pub use grants::Grants;
pub use identifier::{AccountId, CallerName, ExternalId, IdempotencyKey};
pub use invalid::{Invalid, Problem};
pub use leg::{Leg, LegKind, Legs, LegsPolicy};
pub use limits::Limits;
pub use money::{Amount, MicroUsd, Usd};
pub use note::{Actor, Metadata, Note, Reason, Reference};
pub use operation::{
    AdminCredit, Capture, Charge, Credit, Expire, Extend, Operation, References, Refund, Release, Reserve,
    Reverse, SetAccount, Withdraw,
};
pub use original::{Original, Undone};
pub use refusal::{Refusal, RefusalReason};
pub use reservation::{Reservation, ReservationState, ReservationStatus};
pub use shortfall::ShortfallPolicy;
pub use since::Since;
pub use timestamp::{Timestamp, Ttl};
pub use verdict::NotFound;
