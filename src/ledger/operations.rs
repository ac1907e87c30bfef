//! Reads of operations: how each was answered, and what has happened since.

use std::sync::Arc;

use super::{Ledger, LedgerError, by_key::AppliedRow, rows};
use crate::accounting::{AccountId, Entry, IdempotencyKey, MicroUsd, Refusal, Reservation, Since};

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationView {
    /// It was applied, by this entry.
    Applied(Arc<Entry>, Since),
    /// It was refused.
    Refused(Arc<Refusal>),
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
        let key = (account_id.to_string(), key.to_string());
        if let Some(row) = self.by_key.applied.find(key.clone()).await? {
            return Ok(Some(row.try_into()?));
        }
        let Some(row) = self.by_key.refusals.find(key).await? else { return Ok(None) };
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
