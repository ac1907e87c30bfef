//! Copies a ledger with one book into one with several, while the old one serves.
//!
//! A pass compares, account by account, the old ledger at one moment with what is in the new one, and copies what is missing: so the
//! first pass, the one after a kill, and the one that catches up are the same. Passes follow each other until one finds little; then the
//! last one holds the writers of the old ledger back, copies the rest, and closes the old ledger for good.
//!
//! Each book is copied by itself, all at once. Rows go as they are, by COPY: no entry, sequence, key or answer is made anew.

mod book;
mod error;
mod old;
mod table;

use std::time::Instant;

use futures_util::future::try_join_all;

use crate::{
    database::{
        DatabaseUrl,
        connect::{Purpose, connect_without_diesel},
    },
    ledger::LedgerError,
    schema::{Books, DatabaseUse, check_database, pending_migrations},
};
pub use book::Copied;
use book::NewBook;
pub use error::SplitError;
use old::OldLedger;
use table::{ANSWERS, PAYMENTS, Table};

/// A pass that copies no more entries than this is followed by the last one.
const LITTLE: u64 = 5_000;
/// The most passes before the last one: if the old ledger is written faster than it can be copied, waiting does not help.
const PASSES_MAX: usize = 20;

/// What is told while a ledger is copied.
#[derive(Debug)]
pub enum SplitEvent {
    /// A pass is done: its number, from 1 on, what it copied, and in how many milliseconds.
    Pass(usize, Copied, u128),
    /// The old ledger was closed; its writers were held back for so many milliseconds.
    Closed(u128),
}

/// A copy under way.
pub struct Split {
    old_url: DatabaseUrl,
    new: Books,
}

impl Split {
    /// Looks at both ledgers.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub async fn open(old_url: &DatabaseUrl, new_url: &DatabaseUrl) -> Result<Self, SplitError> {
        check_database(old_url, DatabaseUse::Read).await.map_err(SplitError::UnfitOld)?;
        check_database(new_url, DatabaseUse::Import).await.map_err(SplitError::UnfitNew)?;
        let pending = pending_migrations(new_url).await?;
        if !pending.is_empty() {
            return Err(SplitError::MigrationsPending(pending.join(", ")));
        }
        let (old, new) = (Books::find(old_url).await?, Books::find(new_url).await?);
        if old.count() != 1 || new.count() == 1 {
            return Err(SplitError::BookCounts { old: old.count(), new: new.count() });
        }
        Ok(Self { old_url: old_url.clone(), new })
    }

    /// Copies until little is missing. With `close` it then closes the old ledger, and copies the rest.
    ///
    /// # Errors
    /// When one of the ledgers fails on the way, or the copy is not what it should be.
    pub async fn run(&self, close: bool, tell: &mut dyn FnMut(SplitEvent)) -> Result<(), SplitError> {
        let mut since = None;
        for number in 1..=PASSES_MAX {
            let began = Instant::now();
            let old = OldLedger::open(&self.old_url).await?;
            let next_since = old.time().await?;
            let copied = self.pass(&old, since.as_deref()).await?;
            tell(SplitEvent::Pass(number, copied, began.elapsed().as_millis()));
            since = Some(next_since);
            if copied.entries <= LITTLE {
                break;
            }
        }
        if close {
            let began = Instant::now();
            let old = OldLedger::hold_back(&self.old_url).await?;
            self.pass(&old, since.as_deref()).await?;
            old.close().await?;
            tell(SplitEvent::Closed(began.elapsed().as_millis()));
            self.compare(&OldLedger::open(&self.old_url).await?).await?;
        }
        Ok(())
    }

    /// Copies what is missing of the old ledger as it stands at one moment. What nobody changes is copied from a time on, or all of it.
    async fn pass(&self, old: &OldLedger, since: Option<&str>) -> Result<Copied, SplitError> {
        let books = (0..self.new.count()).map(|number| self.copy_book(old, number, since));
        let copied = try_join_all(books).await?.into_iter().fold(Copied::default(), Copied::and);
        let payments = self.copy_payments(old).await?;
        Ok(Copied { others: copied.others + payments, ..copied })
    }

    async fn copy_book(
        &self,
        old: &OldLedger,
        number: usize,
        since: Option<&str>,
    ) -> Result<Copied, SplitError> {
        let new = NewBook::open(&self.new, number).await?;
        let old = old.session().await?;
        let mut copied = new.copy_accounts(&old).await?;
        for table in &ANSWERS {
            copied.others += new.copy_rows(&old, table, since).await?;
        }
        Ok(copied)
    }

    async fn copy_payments(&self, old: &OldLedger) -> Result<u64, SplitError> {
        let new = NewBook::open_any(&self.new).await?;
        new.copy_rows(&old.session().await?, &PAYMENTS, None).await
    }

    /// Compares how many rows there are, and what their amounts come to.
    async fn compare(&self, old: &OldLedger) -> Result<(), SplitError> {
        let old = old.session().await?;
        for table in Table::ALL {
            let expected = old.figures(table).await?;
            let mut found = Vec::new();
            for url in if table.is_global { std::slice::from_ref(self.new.any()) } else { self.new.urls() } {
                let client = connect_without_diesel(url, Purpose::Look).await;
                let client =
                    client.map_err(|error| SplitError::New(LedgerError::Unavailable(error.into())))?;
                found.push(
                    table::figures(&client, table).await.map_err(|error| SplitError::New(error.into()))?,
                );
            }
            let found = found.into_iter().reduce(|a, b| (a.0 + b.0, a.1 + b.1)).unwrap_or_default();
            if found != expected {
                let name = table.name;
                return Err(SplitError::Differs(format!("{name} has {expected:?} there and {found:?} here")));
            }
        }
        Ok(())
    }
}
