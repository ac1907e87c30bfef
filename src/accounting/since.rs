//! What has happened since an operation was applied.

use super::{MicroUsd, Reservation, Timestamp};

/// What has happened since an entry was written: a replay repeats the entry, and tells beside it what is true now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// When this was true, by the database's clock.
    pub read_time: Timestamp,
    /// Of a debit, the sum of its refunds; of a credit, the sum of its reversals, less what was given back of these.
    pub undone: MicroUsd,
    /// The reservation that the entry concerns, as it stands at [`Self::read_time`].
    pub reservation: Option<Reservation>,
}
