//! What a transaction moves that nobody asked for, and what it does to grants: for the metrics.

use std::sync::Arc;

use crate::{
    accounting::{Entry, EntryType, Fingerprint, GrantShare, IdempotencyKey, sum_of},
    telemetry::Metrics,
};

/// Sums in micro-USD over the entries of a transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked {
    /// What the ends of leases charged.
    captured: u64,
    /// What was credited until some time.
    granted: u64,
    /// What debits took of that.
    drawn: u64,
    /// What refunds brought back.
    unwound: u64,
    /// What became other money.
    converted: u64,
    /// What was not used in time.
    lapsed: u64,
}

impl Unasked {
    /// The sums over entries.
    pub(super) fn of(entries: &[(Arc<Entry>, Fingerprint)]) -> Self {
        let mut sums = Self::default();
        for (entry, _) in entries {
            sums.add(entry);
        }
        sums
    }

    fn add(&mut self, entry: &Entry) {
        let moves = &entry.grant_moves;
        if is_of_expiry(entry) {
            self.captured += entry.amount.get().unsigned_abs();
        }
        if entry.grant_expire_time.is_some() {
            self.granted += entry.amount.get().unsigned_abs();
        }
        self.drawn += micro_usd(&moves.draws);
        self.unwound += micro_usd(&moves.unwinds);
        self.converted += micro_usd(&moves.converted);
        self.lapsed += micro_usd(&moves.lapses);
    }

    /// Counts them.
    pub(super) fn measure(self, metrics: &Metrics) {
        let Self { captured, granted, drawn, unwound, converted, lapsed } = self;
        for (entry_type, sum) in [(EntryType::Capture, captured), (EntryType::GrantExpire, lapsed)] {
            if sum > 0 {
                metrics.moved(entry_type.name(), sum);
            }
        }
        let changes = [
            ("granted", granted),
            ("drawn", drawn),
            ("unwound", unwound),
            ("converted", converted),
            ("lapsed", lapsed),
        ];
        for (change, sum) in changes.into_iter().filter(|(_, sum)| *sum > 0) {
            metrics.grants_changed(change, sum);
        }
    }
}

/// Whether an entry records the end of a lease.
pub(super) fn is_of_expiry(entry: &Entry) -> bool {
    entry.idempotency_key.as_ref().is_some_and(IdempotencyKey::is_of_expiry)
}

/// Whether an entry records the end of grants.
pub(super) fn is_of_lapse(entry: &Entry) -> bool {
    entry.idempotency_key.as_ref().is_some_and(IdempotencyKey::is_of_lapse)
}

fn micro_usd(shares: &[GrantShare]) -> u64 {
    sum_of(shares).get().unsigned_abs()
}
