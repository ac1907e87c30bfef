//! Faults, all along: of the replicas, of PostgreSQL, and of the wires between them, each from a hand of its own, so that
//! they overlap, while no hand ever breaks a second thing before it has mended the first.

mod database;
mod replicas;
mod wires;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Mutex,
    time::{Duration, Instant},
};

use fastrand::Rng;

pub use database::Database;
pub use replicas::Replicas;
pub use wires::Wires;

/// What a fault counts as, beside its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Kill,
    Cut,
    Other,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub sort: Sort,
}

/// Something that faults happen to.
pub trait Breakable {
    /// How long it is left alone at most between two faults.
    const PAUSE_MAX: Duration;

    /// Breaks something and mends it again. Says what it was, or nothing if nothing could be broken.
    async fn break_and_mend(&mut self, rng: &mut Rng) -> Option<Kind>;
}

/// How many faults there were.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<BTreeMap<&'static str, (Sort, usize)>>,
}

/// Breaks and mends until a moment.
pub async fn inflict<T: Breakable>(mut on: T, mut rng: Rng, until: Instant, tally: &Tally) -> T {
    let pause_max = u64::try_from(T::PAUSE_MAX.as_millis()).unwrap();
    loop {
        let pause = Duration::from_millis(rng.u64(..=pause_max));
        if Instant::now() + pause >= until {
            return on;
        }
        tokio::time::sleep(pause).await;
        if let Some(kind) = on.break_and_mend(&mut rng).await {
            tally.count(kind);
        }
    }
}

impl Tally {
    fn count(&self, kind: Kind) {
        self.counts.lock().unwrap().entry(kind.name).or_insert((kind.sort, 0)).1 += 1;
    }

    /// How many there were of each kind.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        self.counts.lock().unwrap().iter().map(|(name, (_, count))| (*name, *count)).collect()
    }

    /// How many there were of a sort.
    pub fn total(&self, sort: Sort) -> usize {
        let counts = self.counts.lock().unwrap();
        counts.values().filter(|(its_sort, _)| *its_sort == sort).map(|(_, count)| count).sum()
    }
}

impl Kind {
    const fn kill(name: &'static str) -> Self {
        Self { name, sort: Sort::Kill }
    }

    const fn cut(name: &'static str) -> Self {
        Self { name, sort: Sort::Cut }
    }

    const fn other(name: &'static str) -> Self {
        Self { name, sort: Sort::Other }
    }
}

/// A time within bounds, in milliseconds: mostly one of the shorter, so that there is some progress, too.
fn for_a_while(rng: &mut Rng, millis: RangeInclusive<u64>) -> Duration {
    let [one, other] = [rng.u64(millis.clone()), rng.u64(millis)];
    Duration::from_millis(one.min(other))
}
