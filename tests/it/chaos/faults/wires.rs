//! Faults of the wires between the replicas and PostgreSQL.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::{Breakable, Kind, for_a_while};
use crate::support::wire::{Cut, Wire};

/// How long a COMMIT to be cut is waited for.
const COMMIT_PATIENCE: u32 = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The wires, one for each replica.
pub struct Wires(pub [Wire; 2]);

impl Breakable for Wires {
    const PAUSE_MAX: Duration = Duration::from_secs(1);

    async fn break_and_mend(&mut self, rng: &mut Rng) -> Option<Kind> {
        let wire = &self.0[rng.usize(..2)];
        match rng.u8(..16) {
            0..=5 => cut_commit(wire, Cut::Before).await.then_some(Kind::cut("wire cut before COMMIT")),
            6..=11 => cut_commit(wire, Cut::After).await.then_some(Kind::cut("wire cut after COMMIT")),
            12..=13 => {
                wire.cut_all();
                Some(Kind::cut("wire cut, all connections"))
            }
            14 => {
                wire.stall(true);
                sleep(for_a_while(rng, 100..=3_000)).await;
                wire.stall(false);
                Some(Kind::other("wire stalled"))
            }
            _ => {
                wire.delay(for_a_while(rng, 1..=30));
                sleep(for_a_while(rng, 100..=1_000)).await;
                wire.delay(Duration::ZERO);
                Some(Kind::other("wire slow"))
            }
        }
    }
}

/// Cuts the connection of the next COMMIT, if one comes.
async fn cut_commit(wire: &Wire, cut: Cut) -> bool {
    wire.cut_commit(cut);
    for _ in 0..COMMIT_PATIENCE {
        sleep(POLL_INTERVAL).await;
        if !wire.has_cut_to_come() {
            return true;
        }
    }
    !wire.is_uncut()
}
