//! What is wrong with the wire now, and where it is to be cut next.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::watch;

use super::Request;

/// On which side of a request the wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The request never reaches the server.
    Before,
    /// The server carries it out, and its answer is lost.
    After,
}

/// Which request's connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that is so many further ones away: 0 for the next.
    After(usize),
    /// The next COMMIT.
    Commit,
}

/// What holds for all connections at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    /// How long each answer takes on its way.
    pub(super) answer_delay: Duration,
    /// Whether nothing is forwarded, though connections stay.
    pub(super) is_stalled: bool,
    /// How often all connections have been cut.
    pub(super) hang_ups: usize,
}

/// What the connections of a proxy share.
pub(super) struct Trouble {
    conditions: watch::Sender<Conditions>,
    plan: Mutex<Plan>,
}

/// What is to come, and what has come.
pub(super) struct Plan {
    connections: usize,
    pub(super) cut: Option<(Which, Cut)>,
    /// How long everything stalls once the next COMMIT is through.
    pub(super) stall_at_commit: Option<Duration>,
    /// The requests so far, where somebody wants to see them.
    pub(super) seen: Option<Vec<Request>>,
}

impl Trouble {
    pub(super) fn new(conditions: Conditions, keeps_requests: bool) -> Self {
        let plan =
            Plan { connections: 0, cut: None, stall_at_commit: None, seen: keeps_requests.then(Vec::new) };
        Self { conditions: watch::Sender::new(conditions), plan: Mutex::new(plan) }
    }

    pub(super) fn conditions(&self) -> watch::Receiver<Conditions> {
        self.conditions.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    /// Stalls everything, and no longer than this.
    pub(super) fn stall_for(this: &Arc<Self>, duration: Duration) {
        this.change(|conditions| conditions.is_stalled = true);
        let this = Arc::clone(this);
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            this.change(|conditions| conditions.is_stalled = false);
        });
    }

    pub(super) fn take_planned_stall(&self) -> Option<Duration> {
        self.plan().stall_at_commit.take()
    }

    pub(super) fn count_connection(&self) -> usize {
        let mut plan = self.plan();
        plan.connections += 1;
        plan.connections
    }

    /// Whether the connection of a request that comes now is cut.
    pub(super) fn cut_of(&self, request: Request) -> Option<Cut> {
        let mut plan = self.plan();
        let is_commit = request.sql.as_deref() == Some("COMMIT");
        if let Some(seen) = &mut plan.seen {
            seen.push(request);
        }
        match plan.cut.as_mut()? {
            (Which::After(0), _) => {}
            (Which::Commit, _) if is_commit => {}
            (Which::After(others), _) => {
                *others -= 1;
                return None;
            }
            (Which::Commit, _) => return None,
        }
        plan.cut.take().map(|(_, cut)| cut)
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }
}
