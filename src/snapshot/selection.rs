//! Which entries are read.

use crate::{
    accounting::{AccountId, Timestamp},
    database::cursor::Bind,
    ledger::{rows, statements::entry_columns},
};

/// A selection of entries; all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only entries of these accounts; all accounts if empty.
    pub account_ids: Vec<AccountId>,
    /// Only entries that took effect at or after this time.
    pub from: Option<Timestamp>,
    /// Only entries that took effect before this time.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// The query for what of it is in a book, with those of its accounts that are there.
    pub(super) fn query(&self, account_ids: Vec<String>) -> (String, Vec<Bind>) {
        let (mut conditions, mut binds) = (vec!["true"], Vec::new());
        if !account_ids.is_empty() {
            conditions.push("e.account_id = ANY({})");
            binds.push(Bind::Texts(account_ids));
        }
        if let Some(from) = self.from {
            conditions.push("coalesce(e.effective_time, e.create_time) >= {}");
            binds.push(Bind::Time(rows::pg_timestamp(from)));
        }
        if let Some(until) = self.until {
            conditions.push("coalesce(e.effective_time, e.create_time) < {}");
            binds.push(Bind::Time(rows::pg_timestamp(until)));
        }
        let columns = entry_columns!();
        let conditions = conditions.join(" AND ");
        let query = format!(
            "SELECT {columns}, (SELECT o.entry_type::smallint FROM ledger_entries o \
                 WHERE o.account_id = e.account_id AND o.sequence = e.refunded_sequence) \
             FROM ledger_entries e WHERE {conditions} ORDER BY e.account_id, e.sequence"
        );
        (query, binds)
    }
}
