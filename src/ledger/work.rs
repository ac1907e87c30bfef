//! What a transaction is to do, by the books that it does it in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    accounting::{AccountId, Command},
    schema::Books,
};

/// How to lock accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// Wait for locks of others. Every account must have a row.
    Wait,
    /// The same, but insert the missing rows first.
    Open,
    /// Skip accounts that others have locked, and those without a row.
    Skip,
}

/// The work of a transaction.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// The commands.
    pub(super) commands: Arc<[Command]>,
    /// What of it falls to each book: one part, mostly. In the order of the books.
    pub(super) parts: Arc<[Part]>,
    /// How to lock accounts.
    pub(super) locking: Locking,
}

/// What falls to one book.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The number of the book.
    pub(super) book: usize,
    /// Where its tables are looked for, if the transaction is in other books, too.
    pub(super) search_path: Option<String>,
    /// The accounts, each once, in the order of their ids.
    pub(super) account_ids: Vec<AccountId>,
    /// The commands on them.
    pub(super) commands: Arc<[Command]>,
}

impl Work {
    /// Work on accounts, by commands that name no others.
    pub(super) fn new(
        account_ids: BTreeSet<AccountId>,
        commands: Arc<[Command]>,
        locking: Locking,
        books: &Books,
    ) -> Self {
        let parts = parts(account_ids, &commands, books).into();
        Self { commands, parts, locking }
    }

    /// The same work, each part by itself.
    pub(super) fn by_book(self) -> Vec<Self> {
        let Self { commands, parts, locking } = self;
        let alone = |part: &Part| Part { search_path: None, ..part.clone() };
        let work = |part| Self { commands: Arc::clone(&commands), parts: [alone(part)].into(), locking };
        parts.iter().map(work).collect()
    }

    /// The same work, with more accounts.
    pub(super) fn with(self, more: BTreeSet<AccountId>, books: &Books) -> Self {
        let account_ids = self.parts.iter().flat_map(|part| &part.account_ids).cloned().chain(more).collect();
        Self::new(account_ids, self.commands, self.locking, books)
    }
}

/// The parts of work on accounts by commands.
fn parts(account_ids: BTreeSet<AccountId>, commands: &Arc<[Command]>, books: &Books) -> Vec<Part> {
    let book_of = |account_id: &AccountId| books.number_of(account_id.as_str());
    let mut by_book: BTreeMap<usize, Vec<AccountId>> = BTreeMap::new();
    for account_id in account_ids {
        by_book.entry(book_of(&account_id)).or_default().push(account_id);
    }
    let is_only = by_book.len() == 1;
    let part = |(book, account_ids)| {
        if is_only {
            return Part { book, search_path: None, account_ids, commands: Arc::clone(commands) };
        }
        let own = commands.iter().filter(|command| book_of(command.account_id()) == book).cloned();
        let search_path = books.search_path(book).map(str::to_owned);
        Part { book, search_path, account_ids, commands: own.collect() }
    };
    by_book.into_iter().map(part).collect()
}

impl Part {
    /// Whether it is about an account.
    pub(super) fn has(&self, account_id: &AccountId) -> bool {
        self.account_ids.binary_search(account_id).is_ok()
    }

    /// The statement that turns a transaction over several books to this one.
    pub(super) fn turn(&self) -> Option<String> {
        let search_path = self.search_path.as_ref()?;
        Some(format!("SET LOCAL search_path = {search_path}"))
    }
}
