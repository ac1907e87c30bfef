//! Reads of operations: how each was answered.

use std::sync::Arc;

use diesel::prelude::*;

use super::{
    Ledger, LedgerError,
    rows::{EntryRow, RefusalRow},
};
use crate::{
    accounting::{AccountId, Answer, IdempotencyKey},
    schema::tables::{external_replays, ledger_entries, refusals},
};

impl Ledger {
    /// The answer to an operation. `None` if its key has not been used.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn operation_get(
        &self,
        account_id: &AccountId,
        key: &IdempotencyKey,
    ) -> Result<Option<Answer>, LedgerError> {
        let entry = ledger_entries::table
            .filter(ledger_entries::account_id.eq(account_id.to_string()))
            .filter(ledger_entries::idempotency_key.eq(key.to_string()))
            .select(EntryRow::as_select());
        if let Some(row) = self.read_one(entry).await? {
            return Ok(Some(Answer::Applied(Arc::new(row.try_into()?))));
        }
        let key = (account_id.to_string(), key.to_string());
        let refusal = refusals::table.find(key.clone()).select(RefusalRow::as_select());
        if let Some(row) = self.read_one(refusal).await? {
            return Ok(Some(Answer::Refused(Arc::new(row.try_into()?))));
        }
        let replay = external_replays::table.find(key).select(external_replays::sequence);
        let Some(sequence) = self.read_one(replay).await? else { return Ok(None) };
        let entry = self.entry_get(account_id, sequence).await?;
        Ok(entry.map(|entry| Answer::Applied(Arc::new(entry))))
    }
}
