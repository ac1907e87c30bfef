//! Which accounts have grants, as far as this process has seen. Their grants are read with the first statements of a transaction;
//! those of others when their locked rows tell of any. So it may be wrong, and costs a round trip then.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::accounting::{AccountId, Book};

/// The most accounts that are remembered. They are forgotten together.
const ACCOUNTS_MAX: usize = 100_000;

/// The accounts that had grants when they were last locked.
#[derive(Clone, Debug, Default)]
pub(super) struct Granted(Arc<Mutex<HashSet<AccountId>>>);

impl Granted {
    /// Those among some accounts.
    pub(super) fn among(&self, account_ids: &[AccountId]) -> HashSet<AccountId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return HashSet::new();
        }
        account_ids.iter().filter(|id| known.contains(*id)).cloned().collect()
    }

    /// Takes note of how the accounts of a transaction stand.
    pub(super) fn note(&self, book: &Book) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (account_id, account) in book.accounts() {
            if !account.has_grants {
                known.remove(account_id);
            } else if !known.contains(account_id) {
                if known.len() >= ACCOUNTS_MAX {
                    known.clear();
                }
                known.insert(account_id.clone());
            }
        }
    }
}
