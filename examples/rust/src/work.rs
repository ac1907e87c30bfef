//! Whether the work that an operation pays for is still to be done.

use crate::proto::{ReservationState, Since};

/// Whether to do the work that an operation pays for, by the `since` of its answer, which only a replay has. After a replay
/// only if nothing of the operation has been given back, and its reservation, if it is about one, is still open.
#[must_use]
pub fn work_is_due(since: Option<&Since>) -> bool {
    let Some(since) = since else { return true };
    let has_ended =
        since.reservation.as_ref().is_some_and(|reservation| reservation.state() != ReservationState::Open);
    since.undone_micro_usd == 0 && !has_ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Reservation;

    #[test]
    fn work_is_due_until_something_was_given_back() {
        assert!(work_is_due(None), "it was done now");
        assert!(work_is_due(Some(&Since::default())));
        assert!(!work_is_due(Some(&Since { undone_micro_usd: 1, ..Since::default() })));
    }

    #[test]
    fn work_is_due_while_the_reservation_is_open() {
        for (state, is_due) in [
            (ReservationState::Open, true),
            (ReservationState::Captured, false),
            (ReservationState::Released, false),
            (ReservationState::Expired, false),
        ] {
            let reservation = Some(Reservation { state: state.into(), ..Reservation::default() });
            assert_eq!(work_is_due(Some(&Since { reservation, ..Since::default() })), is_due, "{state:?}");
        }
    }
}
