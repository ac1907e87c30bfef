//! What had been told by a moment.

use std::collections::BTreeMap;

use super::super::history::{Moment, Operation, Records};

/// The highest sequence that had been told, of each account, with each moment at which it rose.
pub(super) struct Newest<'a>(BTreeMap<&'a str, Vec<(Moment, i64)>>);

impl<'a> Newest<'a> {
    /// All that was told: also of legs, to those who paid them.
    pub(super) fn of(records: &'a Records) -> Self {
        let mut newest: BTreeMap<&str, Vec<(Moment, i64)>> = BTreeMap::new();
        for (attempt, told) in records.operations.values().flat_map(Operation::standing) {
            for entry in told.entry().into_iter().chain(told.leg_entries()) {
                let of_account = newest.entry(&entry.account_id).or_default();
                of_account.push((attempt.settled, entry.sequence));
            }
        }
        for told in newest.values_mut() {
            rise(told);
        }
        Self(newest)
    }

    /// The highest sequence in an account that had been told by a moment.
    pub(super) fn by(&self, account: &str, moment: Moment) -> i64 {
        let told = self.0.get(account).map_or(&[][..], Vec::as_slice);
        let count = told.partition_point(|(settled, _)| *settled < moment);
        told[..count].last().map_or(0, |(_, sequence)| *sequence)
    }
}

/// Orders them by their moments, each with the highest sequence up to it.
fn rise(told: &mut [(Moment, i64)]) {
    told.sort_unstable();
    let mut highest = 0;
    for (_, sequence) in told {
        highest = highest.max(*sequence);
        *sequence = highest;
    }
}
