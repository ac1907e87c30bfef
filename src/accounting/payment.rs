//! Payments: whether an operation is another delivery of one that is known by its ids in other systems.

use std::sync::Arc;

use super::{
    Entry, EntryType, ExternalIds, MicroUsd, RefusalReason,
    verdict::{Situation, Verdict},
};

/// What an operation asks for in the name of a payment: another delivery of it asks for the same.
pub(super) struct Paid {
    /// What its entry would record.
    pub(super) entry_type: EntryType,
    /// How much it asks for, whether or not that can be collected.
    pub(super) amount: MicroUsd,
    /// The credit that it takes back.
    pub(super) reversed_sequence: Option<i64>,
}

impl Paid {
    /// What differs in the entry of a payment. Credits of all kinds are of one method.
    fn conflict(&self, entry: &Entry) -> Option<&'static str> {
        let is_same_method = entry.entry_type == self.entry_type
            || (entry.entry_type.is_reversible() && self.entry_type.is_reversible());
        if !is_same_method {
            return Some("method");
        }
        if entry.reversed_sequence != self.reversed_sequence {
            return Some("credit");
        }
        (entry.requested() != self.amount).then_some("amount_micro_usd")
    }
}

impl Entry {
    /// What its operation asked for: what was moved, and what could not be collected.
    fn requested(&self) -> MicroUsd {
        MicroUsd::new(self.amount.get().saturating_abs().saturating_add(self.uncollected.get()))
    }
}

impl Situation<'_> {
    /// The verdict on another delivery of a payment: the same method on the same account, for the same amount. An id that is
    /// known otherwise is a conflict. `None` if no id is known.
    pub(super) fn paid_before(&self, external_ids: &ExternalIds, paid: &Paid) -> Option<Verdict> {
        let mut found: Option<&Arc<Entry>> = None;
        for external_id in external_ids.iter() {
            let Some(payment) = self.book.payment(external_id) else { continue };
            let named = self.book.original(&payment.account_id, payment.sequence);
            let conflict = match (named.map(|original| &original.entry), found) {
                (None, _) => Some("account_id"), // only the entries of locked accounts are in the book
                (Some(entry), _) if entry.account_id != *self.account_id() => Some("account_id"),
                (Some(entry), Some(other)) if entry.sequence != other.sequence => Some("external_ids"),
                (Some(entry), _) => {
                    found = Some(entry);
                    paid.conflict(entry)
                }
            };
            if let Some(conflict) = conflict {
                let external_id = external_id.to_string();
                return Some(Verdict::Refuse(RefusalReason::ExternalIdConflict { external_id, conflict }));
            }
        }
        found.map(|entry| Verdict::PaidBefore(Arc::clone(entry)))
    }
}
