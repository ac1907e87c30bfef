//! Takes the history of a replaced system into the book: exactly once, whatever is killed on the way, and again and again
//! until the other system writes no more.
//!
//! A run keeps no list of what is left to do. It compares, account by account, the source at one moment with what
//! `imported_accounts` says is in the book, and adds what is missing: so the first run, the one after a kill, and the one
//! that catches up are the same. Rows go in some thousands in a transaction, with the balances, the claims of payments, and
//! the line in `imported_accounts` that says how far the account is.
//!
//! Neither side is ever in memory as a whole: accounts come [`ACCOUNTS_MAX`] at a time, and rows in chunks.

use std::{collections::HashSet, panic::resume_unwind, pin::pin, slice, sync::Arc};

use futures_util::{TryStreamExt as _, future::try_join};
use tokio::sync::mpsc;

use super::{
    HistoryError,
    chunk::cut,
    progress::{ImportEvent, ImportTotals, Pending, Tell},
    rules::{Imported, Position},
    shelf::Shelf,
    source::{Rows, Source, SourceAccount},
};
use crate::{
    accounting::AccountId,
    database::DatabaseUrl,
    schema::{DatabaseUse, check_database, pending_migrations},
};

/// How many accounts are compared at once.
const ACCOUNTS_MAX: usize = 50_000;
/// How many chunks may wait to be written while more are read.
const CHUNKS_WAITING: usize = 1;

/// An import: the source as it stands at one moment, and the book, which nobody else imports into.
pub struct Import {
    source: Source,
    shelf: Shelf,
}

impl Import {
    /// Looks at both databases.
    ///
    /// # Errors
    /// When one of them is not what it should be, or another import is under way.
    pub async fn open(source_url: &DatabaseUrl, book_url: &DatabaseUrl) -> Result<Self, HistoryError> {
        check_database(book_url, DatabaseUse::Import).await.map_err(HistoryError::UnfitBook)?;
        let pending = pending_migrations(book_url).await?;
        if !pending.is_empty() {
            return Err(HistoryError::MigrationsPending(pending.join(", ")));
        }
        let shelf = Shelf::open(book_url).await?; // first, so that what another import writes is compared, too
        let source = Source::open(source_url).await?;
        Ok(Self { source, shelf })
    }

    /// About how many rows the source has, and how many are in the book.
    ///
    /// # Errors
    /// When one of the databases is away.
    pub async fn extent(&self) -> Result<(u64, u64), HistoryError> {
        Ok((self.source.rows_estimate().await?, self.shelf.totals().await?.rows.unsigned_abs()))
    }

    /// Adds all that is missing in the book, and returns all that is there then.
    ///
    /// # Errors
    /// When one of the databases fails on the way.
    pub async fn run(&mut self, tell: Tell<'_>) -> Result<ImportTotals, HistoryError> {
        let mut repeated = None;
        self.source.open_accounts().await?;
        loop {
            let accounts = self.source.next_accounts(ACCOUNTS_MAX).await?;
            let is_last = accounts.len() < ACCOUNTS_MAX;
            let mut pending = self.compare(accounts, tell).await?;
            if !pending.is_empty() {
                if repeated.is_none() {
                    repeated = Some(Arc::new(self.source.repeated_deposits().await?));
                }
                let repeated = repeated.get_or_insert_default();
                self.add_late(&mut pending, repeated, tell).await?;
                self.add_new(&mut pending, repeated, tell).await?;
                for account in &mut pending {
                    account.tell_if_incomplete(tell);
                }
            }
            if is_last {
                break;
            }
        }
        if repeated.is_some() {
            self.shelf.analyze().await?;
        }
        self.shelf.totals().await
    }

    /// The accounts that are not in the book as they are in the source, in the order of their ids.
    async fn compare(
        &self,
        accounts: Vec<SourceAccount>,
        tell: Tell<'_>,
    ) -> Result<Vec<Pending>, HistoryError> {
        let ids: Vec<&str> = accounts.iter().filter_map(|account| account.account_id.as_deref()).collect();
        let mut known = self.shelf.imported(&ids).await?;
        let mut pending = Vec::new();
        for source in accounts {
            let account_id = source.account_id.as_ref();
            let imported: Imported =
                account_id.and_then(|account_id| known.remove(account_id)).unwrap_or_default();
            match source.name() {
                Err(reason) => tell(ImportEvent::Found(source.left_out(source.rows, reason))),
                Ok(account_id) => {
                    let account = Pending { account_id, source, imported, is_left_out: false };
                    if !account.is_complete() || account.source.may_leave() != account.imported.withdrawable {
                        pending.push(account);
                    }
                }
            }
        }
        Ok(pending)
    }

    /// Adds the rows that were committed later than rows that come after them.
    async fn add_late(
        &mut self,
        pending: &mut [Pending],
        repeated: &Arc<HashSet<i64>>,
        tell: Tell<'_>,
    ) -> Result<(), HistoryError> {
        let after = self.source.count_after(&places(pending)).await?;
        for account in pending {
            let Some(last) = account.imported.last else { continue };
            let after = after.get(account.account_id.as_str()).copied().unwrap_or_default();
            if account.source.rows - after == account.imported.rows {
                continue;
            }
            let late = self.missing_ids(&account.account_id, last).await?;
            let rows = self.source.rows_by_id(&account.account_id, &late, repeated).await?;
            copy(&mut self.shelf, slice::from_mut(account), rows, tell).await?;
        }
        Ok(())
    }

    /// The numbers of an account's rows up to a place that are not in the book.
    async fn missing_ids(&self, account_id: &AccountId, last: Position) -> Result<Vec<i64>, HistoryError> {
        let (there, here) =
            try_join(self.source.ids_up_to(account_id, last), self.shelf.imported_ids(account_id)).await?;
        let (mut there, mut here) = (pin!(there), pin!(here));
        let mut known = here.try_next().await?;
        let mut missing = Vec::new();
        while let Some(id) = there.try_next().await? {
            while known.is_some_and(|known| known < id) {
                known = here.try_next().await?;
            }
            if known != Some(id) {
                missing.push(id);
            }
        }
        Ok(missing)
    }

    /// Adds the rows that come after all that is in the book: first to accounts of which there are some, then to the others.
    async fn add_new(
        &mut self,
        pending: &mut [Pending],
        repeated: &Arc<HashSet<i64>>,
        tell: Tell<'_>,
    ) -> Result<(), HistoryError> {
        pending.sort_by_key(|account| account.imported.last.is_none()); // stable: each half stays in order
        let begun = pending.partition_point(|account| account.imported.last.is_some());
        let (begun, fresh) = pending.split_at_mut(begun);
        if !begun.is_empty() {
            let rows = self.source.rows_after(&places(begun), repeated).await?;
            copy(&mut self.shelf, begun, rows, tell).await?;
        }
        if !fresh.is_empty() {
            let account_ids: Vec<&str> = fresh.iter().map(|account| account.account_id.as_str()).collect();
            let rows = self.source.rows(&account_ids, repeated).await?;
            copy(&mut self.shelf, fresh, rows, tell).await?;
        }
        Ok(())
    }
}

/// How far the accounts are that have begun.
fn places(pending: &[Pending]) -> Vec<(AccountId, Position)> {
    let place = |account: &Pending| Some((account.account_id.clone(), account.imported.last?));
    pending.iter().filter_map(place).collect()
}

/// Writes the rows of accounts, while more of them are read.
async fn copy(
    shelf: &mut Shelf,
    accounts: &mut [Pending],
    rows: Rows,
    tell: Tell<'_>,
) -> Result<(), HistoryError> {
    let account_ids = accounts.iter().map(|account| account.account_id.clone()).collect();
    let (sender, mut chunks) = mpsc::channel(CHUNKS_WAITING);
    let cutting = tokio::spawn(cut(account_ids, rows, sender)); // a task of its own: on a processor of its own
    while let Some(chunk) = chunks.recv().await {
        shelf.write(accounts, chunk, tell).await?;
    }
    cutting.await.unwrap_or_else(|ended| resume_unwind(ended.into_panic())) // nobody cancels it
}
