//! Reads of operations: how each was answered, and what has happened since.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Ledger, LedgerError, rows};
use crate::accounting::{AccountId, Entry, IdempotencyKey, Refusal, Reservation, Since};

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are the larger one")]
pub enum OperationView {
    /// It was applied.
    Applied {
        /// The entry that was written.
        entry: Arc<Entry>,
        /// What has happened since.
        since: Since,
        /// The entries of its legs, in the accounts of others.
        leg_entries: Vec<Arc<Entry>>,
    },
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
        if let Some((entry, undone, reservation, now)) =
            self.book(account_id).by_key.applied.find(key.clone()).await?
        {
            let entry: Arc<Entry> = Arc::new(entry.try_into()?);
            let read_time = rows::timestamp(now);
            let reservation =
                reservation.map(Reservation::try_from).transpose()?.map(|found| found.at(read_time));
            let since = Since { read_time, undone: rows::undone(&undone)?.amount, reservation };
            let leg_entries = self.leg_entries(&entry).await?;
            return Ok(Some(OperationView::Applied { entry, since, leg_entries }));
        }
        let Some(row) = self.book(account_id).by_key.refusals.find(key).await? else { return Ok(None) };
        Ok(Some(OperationView::Refused(Arc::new(row.try_into()?))))
    }

    /// The entries of the legs of an entry, as far as they moved something.
    async fn leg_entries(&self, entry: &Entry) -> Result<Vec<Arc<Entry>>, LedgerError> {
        let paid = entry.legs.iter().filter(|leg| leg.sequence > 0);
        let read = paid.map(|leg| self.entry_get(&leg.account_id, leg.sequence));
        Ok(try_join_all(read).await?.into_iter().flatten().map(Arc::new).collect())
    }
}
