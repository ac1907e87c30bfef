//! Reads of operations: how each was answered, and what has happened since.

use std::sync::Arc;

use diesel::{
    data_types::PgTimestamp,
    prelude::*,
    sql_types::{BigInt, Nullable, Text, Timestamptz},
};

use super::{
    Ledger, LedgerError,
    read::read,
    rows::{self, EntryColumns, EntryRow, RefusalRow, ReservationColumns, ReservationRow},
    statements::{entry_columns, refunded, reservation_columns},
};
use crate::{
    accounting::{AccountId, Entry, IdempotencyKey, MicroUsd, Refusal, Reservation, Since},
    schema::tables::refusals,
};

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationView {
    /// It was applied, by this entry.
    Applied(Arc<Entry>, Since),
    /// It was refused.
    Refused(Arc<Refusal>),
}

/// An entry, the sum of its refunds, its reservation as written, and the account's time.
type AppliedColumns = (EntryColumns, BigInt, Nullable<ReservationColumns>, Timestamptz);
type AppliedRow = (EntryRow, i64, Option<ReservationRow>, PgTimestamp);

read! {
    /// The entry that answers a key: written under it, or under another key for the same payment.
    ReadApplied {
        account_id: String,
        key: String,
    } -> AppliedColumns,
    [account_id => Text, key => Text],
    concat!(
        "SELECT ", entry_columns!(), ", ", refunded!(), ", ", reservation_columns!(), ", \
             greatest(statement_timestamp(), a.update_time) \
         FROM (SELECT {}::text AS account_id, {}::text AS key) w JOIN accounts a ON a.account_id = w.account_id \
         JOIN ledger_entries e ON e.account_id = w.account_id AND e.sequence = coalesce(\
             (SELECT k.sequence FROM ledger_entries k WHERE k.account_id = w.account_id AND k.idempotency_key = w.key), \
             (SELECT x.sequence FROM external_replays x WHERE x.account_id = w.account_id AND x.idempotency_key = w.key)) \
         LEFT JOIN reservations v ON v.account_id = e.account_id AND v.reservation_id = e.reservation_id"
    )
}

impl Ledger {
    /// The answer to an operation. `None` if its key has not been used.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn operation_get(
        &self,
        account_id: &AccountId,
        key: &IdempotencyKey,
    ) -> Result<Option<OperationView>, LedgerError> {
        let (account_id, key) = (account_id.to_string(), key.to_string());
        let applied = ReadApplied { account_id: account_id.clone(), key: key.clone() };
        if let Some(row) = self.read_one::<_, AppliedRow>(applied).await? {
            return Ok(Some(row.try_into()?));
        }
        let refusal = refusals::table.find((account_id, key)).select(RefusalRow::as_select());
        let Some(row) = self.read_one(refusal).await? else { return Ok(None) };
        Ok(Some(OperationView::Refused(Arc::new(row.try_into()?))))
    }
}

impl TryFrom<AppliedRow> for OperationView {
    type Error = LedgerError;

    fn try_from((entry, refunded, reservation, now): AppliedRow) -> Result<Self, LedgerError> {
        let read_time = rows::timestamp(now);
        let reservation =
            reservation.map(Reservation::try_from).transpose()?.map(|found| found.at(read_time));
        let since = Since { read_time, undone: MicroUsd::new(refunded), reservation };
        Ok(Self::Applied(Arc::new(entry.try_into()?), since))
    }
}
