//! The queue of a writer: bounded, first in first out within an account, round robin between accounts.
//!
//! A flooded account delays only itself. An operation on any other account is in the next batch; and as no account may fill
//! more than half of the queue, there is room for it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::accounting::AccountId;

/// The jobs that wait, by account.
#[derive(Debug)]
pub(super) struct Queue<Job> {
    state: Mutex<State<Job>>,
    /// Notifies the consumer of new jobs.
    arrived: Notify,
    length_max: usize,
}

/// Why a job was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueError {
    /// The queue, or the account's share of it, is full.
    Full,
    /// The queue is closed.
    Closed,
}

#[derive(Debug)]
struct State<Job> {
    /// The line of each account that has any jobs.
    lines: HashMap<AccountId, VecDeque<Job>>,
    /// The accounts with waiting jobs, in the order of their turns.
    turns: VecDeque<AccountId>,
    length: usize,
    is_closed: bool,
}

impl<Job> Queue<Job> {
    /// An empty queue for up to `length_max` jobs, at most half of them for one account.
    pub(super) fn new(length_max: usize) -> Self {
        let state = State { lines: HashMap::new(), turns: VecDeque::new(), length: 0, is_closed: false };
        Self { state: Mutex::new(state), arrived: Notify::new(), length_max }
    }

    /// Puts a job at the end of its account's line.
    pub(super) fn put(&self, account_id: &AccountId, job: Job) -> Result<(), QueueError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(QueueError::Closed);
        }
        if state.length >= self.length_max {
            return Err(QueueError::Full);
        }
        let line = state.line(account_id);
        if line.len() >= self.length_max.div_ceil(2) {
            return Err(QueueError::Full);
        }
        line.push_back(job);
        state.length += 1;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts a job back to the front of its account's line.
    pub(super) fn put_back(&self, account_id: &AccountId, job: Job) {
        let mut state = self.lock();
        state.line(account_id).push_front(job);
        state.length += 1;
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes up to `max` jobs, one of each account in turn, as soon as there are any. There must be one consumer only.
    /// Returns none when the queue is closed and empty.
    pub(super) async fn take(&self, max: usize) -> Vec<Job> {
        loop {
            {
                let mut state = self.lock();
                if state.length > 0 || state.is_closed {
                    return state.take(max);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Closes the queue. Waiting jobs can still be taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// No code panics while it holds the lock; even then the lines would be consistent.
    fn lock(&self) -> MutexGuard<'_, State<Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Job> State<Job> {
    /// The line of an account. A new line gets its turn after all others.
    fn line(&mut self, account_id: &AccountId) -> &mut VecDeque<Job> {
        if !self.lines.contains_key(account_id) {
            self.turns.push_back(account_id.clone());
        }
        self.lines.entry(account_id.clone()).or_default()
    }

    fn take(&mut self, max: usize) -> Vec<Job> {
        let mut taken = Vec::with_capacity(self.length.min(max));
        while taken.len() < max
            && let Some(account_id) = self.turns.pop_front()
        {
            let Some(line) = self.lines.get_mut(&account_id) else { continue };
            taken.extend(line.pop_front());
            if line.is_empty() {
                self.lines.remove(&account_id);
            } else {
                self.turns.push_back(account_id);
            }
        }
        self.length -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountId {
        AccountId::parse("account_id", name).unwrap()
    }

    /// A queue with jobs, each named by its account's letter and a number.
    fn queue(length_max: usize, jobs: &[&'static str]) -> Queue<&'static str> {
        let queue = Queue::new(length_max);
        for job in jobs {
            queue.put(&account(&job[..1]), *job).unwrap();
        }
        queue
    }

    #[tokio::test]
    async fn each_account_is_served_in_its_turn_and_in_order() {
        let queue = queue(100, &["a1", "a2", "a3", "a4", "b1", "a5", "c1", "b2"]);
        assert_eq!(queue.take(4).await, ["a1", "b1", "c1", "a2"]);
        queue.put(&account("d"), "d1").unwrap();
        assert_eq!(queue.take(100).await, ["b2", "a3", "d1", "a4", "a5"]);
    }

    #[tokio::test]
    async fn what_is_put_back_is_taken_before_what_came_later_and_after_the_turns_of_others() {
        let queue = queue(4, &["a1", "a2", "b1"]);
        assert_eq!(queue.take(2).await, ["a1", "b1"]);
        queue.put(&account("c"), "c1").unwrap();
        queue.put_back(&account("b"), "b1");
        queue.put_back(&account("a"), "a1");
        assert_eq!(queue.take(100).await, ["a1", "c1", "b1", "a2"]);
    }

    #[test]
    fn a_full_queue_refuses_and_one_account_fills_only_half_of_it() {
        let queue = queue(4, &["a1", "a2"]);
        assert_eq!(queue.put(&account("a"), "a3"), Err(QueueError::Full));
        queue.put(&account("b"), "b1").unwrap();
        queue.put(&account("c"), "c1").unwrap();
        assert_eq!(queue.put(&account("d"), "d1"), Err(QueueError::Full));
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_in_and_gives_out_what_it_has() {
        let queue = queue(4, &["a1", "b1"]);
        queue.close();
        assert_eq!(queue.put(&account("a"), "a2"), Err(QueueError::Closed));
        assert_eq!(queue.take(1).await, ["a1"]);
        assert_eq!(queue.take(1).await, ["b1"]);
        assert!(queue.take(1).await.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_is_put_in_is_taken_out_once_by_one_who_waits_for_it() {
        let queue = std::sync::Arc::new(Queue::new(1_000_000));
        let mut putting = tokio::task::JoinSet::new();
        for writer in 0..8_u32 {
            let queue = std::sync::Arc::clone(&queue);
            putting.spawn(async move {
                for n in 0..5_000_u32 {
                    queue.put(&account(&format!("account-{}", n % 7)), (writer, n)).unwrap();
                    if n % 100 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let taking = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move {
                let mut taken = Vec::new();
                while taken.len() < 40_000 {
                    taken.extend(queue.take(64).await);
                }
                taken
            }
        });
        putting.join_all().await;
        let mut taken = taking.await.unwrap();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 40_000);
    }
}
