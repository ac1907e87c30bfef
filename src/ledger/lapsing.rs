//! What has expired in an account that has grants and is not recorded yet: it is read with the account, and the rules tell what
//! it comes to. Of an account without grants SQL can tell that itself: what its leases held is free, or charged.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{LedgerError, grant_rows};
use crate::accounting::{
    Account, AccountId, Balance, Book, Entry, ExpiryPolicy, Grant, Grants, IdempotencyKey, MicroUsd, Note,
    Reservation, ReservationState, ReservationStatus, Timestamp, expire_lapsed,
};

/// The leases and the grants of an account a that has grants, if any may have expired by a time; for [`Lapsing`].
macro_rules! lapsing {
    ($time:literal) => {
        concat!(
            "CASE WHEN a.next_expire_time <= ",
            $time,
            " AND (a.facts).granted_micro_usd IS NOT NULL THEN jsonb_build_object(\
                 'leases', (SELECT coalesce(jsonb_agg(jsonb_build_array(v.reservation_id, v.sequence, v.amount_micro_usd, \
                         v.captured_micro_usd, (extract(epoch FROM v.expire_time) * 1000000)::bigint, v.expiry_policy, \
                         coalesce(v.pins, '[]'::jsonb))), '[]'::jsonb) \
                     FROM reservations v \
                     WHERE v.account_id = a.account_id AND v.state = 1 AND v.expire_time <= ",
            $time,
            "), 'grants', (SELECT coalesce(jsonb_agg(jsonb_build_array(g.sequence, g.amount_micro_usd, \
                         g.remaining_micro_usd, g.pinned_micro_usd, g.lapsed_micro_usd, g.reversed_micro_usd, \
                         (extract(epoch FROM g.expire_time) * 1000000)::bigint)), '[]'::jsonb) \
                     FROM grants g WHERE g.account_id = a.account_id AND g.is_open)) END"
        )
    };
}

pub(super) use lapsing;

/// The leases and the grants of an account, of which some may have expired.
#[derive(Deserialize)]
pub(super) struct Lapsing {
    leases: Vec<Lease>,
    grants: Vec<GrantJson>,
}

/// The id, the opening entry, what is held and captured, the end in microseconds, the policy, and what is pinned.
#[derive(Clone, Deserialize)]
struct Lease(String, i64, i64, i64, i64, i16, Value);

/// The sequence, the amount, what remains, is pinned, has lapsed and is reversed, and the end in microseconds.
#[derive(Clone, Copy, Deserialize)]
struct GrantJson(i64, i64, i64, i64, i64, i64, i64);

/// An account after all that has expired by a time.
pub(super) struct Lapsed {
    pub(super) balance: Balance,
    pub(super) grants: Grants,
    /// What will be recorded.
    pub(super) entries: Vec<Arc<Entry>>,
}

impl Lapsing {
    /// From the column that [`lapsing`] selects.
    pub(super) fn read(value: Value) -> Result<Self, LedgerError> {
        serde_json::from_value(value)
            .map_err(|error| LedgerError::Corrupt(format!("leases and grants that cannot be read: {error}")))
    }

    /// What the account comes to by a time. `balance` is that after its newest entry.
    pub(super) fn by(
        &self,
        time: Timestamp,
        account_id: &AccountId,
        balance: Balance,
    ) -> Result<Lapsed, LedgerError> {
        let mut book = Book::default();
        // Nothing else of the account has a say in it, and what has expired has expired after the newest entry.
        let account = Account {
            balance,
            last_sequence: 1,
            update_time: Timestamp::FIRST,
            next_expire_time: None,
            has_grants: true,
            settings: crate::accounting::AccountSettings::default(),
        };
        book.put_account(account_id.clone(), account);
        for grant in &self.grants {
            book.put_grant(account_id, grant.to_grant());
        }
        for lease in &self.leases {
            let lease = lease.to_reservation(account_id)?;
            if lease.status.expire_time <= time {
                book.put_lapsed(lease);
            }
        }
        expire_lapsed(&mut book, time);
        let balance = book.account(account_id).map_or(balance, |account| account.balance);
        let grants = book.grants(account_id).clone();
        let entries = book.into_changes().entries.into_iter().map(|(entry, _)| entry).collect();
        Ok(Lapsed { balance, grants, entries })
    }
}

impl GrantJson {
    fn to_grant(self) -> Grant {
        let Self(sequence, amount, remaining, pinned, lapsed, reversed, expire_micros) = self;
        Grant {
            sequence,
            amount: MicroUsd::new(amount),
            remaining: MicroUsd::new(remaining),
            pinned: MicroUsd::new(pinned),
            lapsed: MicroUsd::new(lapsed),
            reversed: MicroUsd::new(reversed),
            expire_time: Timestamp::from_unix_micros(expire_micros),
        }
    }
}

impl Lease {
    fn to_reservation(&self, account_id: &AccountId) -> Result<Reservation, LedgerError> {
        let Self(id, sequence, held, captured, expire_micros, policy, pins) = self.clone();
        let no_policy = || LedgerError::Corrupt(format!("an expiry policy {policy}"));
        Ok(Reservation {
            account_id: account_id.clone(),
            reservation_id: IdempotencyKey::parse_of_reservation(&id)?,
            sequence,
            create_time: Timestamp::FIRST,
            note: Note::default(),
            status: ReservationStatus {
                state: ReservationState::Open,
                held: MicroUsd::new(held),
                captured: MicroUsd::new(captured),
                expire_time: Timestamp::from_unix_micros(expire_micros),
                expiry_policy: ExpiryPolicy::from_number(policy).ok_or_else(no_policy)?,
                close_time: None,
            },
            pins: grant_rows::shares(pins)?,
            close_sequence: None,
        })
    }
}
