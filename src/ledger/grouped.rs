//! Reads that arrive together share a statement, as writes do. The load makes the group, and no timer adds delay: a read
//! that is alone goes at once, and those that come while all statements are under way wait for the next.
//!
//! * A read never sees less than what was answered before it was asked: it joins no statement that is under way.
//! * A statement runs in a task of its own: a caller that goes away cancels nothing of the others.
//! * The queue is bounded, and so is the time in it, as for a session of the pool.

use std::{
    collections::VecDeque,
    fmt::{self, Debug, Formatter},
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use diesel_async::{AsyncPgConnection, methods::LoadQuery};
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument as _;

use super::{LedgerError, read::retried};
use crate::{
    database::pool::{CHECKOUT_TIMEOUT, Connections, WAITING_MAX},
    telemetry::spans,
};

/// The most reads that share a statement.
const GROUP_MAX: usize = 256;

/// A statement that finds at most one thing for each of its keys. A row begins with the number of its key, from 1 on.
pub(super) trait Grouped<R>:
    LoadQuery<'static, AsyncPgConnection, (i64, R)> + Clone + Send + Sync + 'static
{
    /// What is asked for.
    type Key: Clone + Send + 'static;

    /// Asks for all of these.
    fn of(keys: Vec<Self::Key>) -> Self;
}

/// What a caller is told.
type Answer<R> = Result<Option<R>, LedgerError>;

/// The reads of one kind.
pub(super) struct Group<Q: Grouped<R>, R> {
    readers: Connections,
    state: Mutex<State<Q::Key, R>>,
}

struct State<K, R> {
    /// Those that wait, in the order of their numbers.
    waiting: VecDeque<Waiting<K, R>>,
    /// The number of the next that comes.
    next: u64,
    /// How many more statements may be under way.
    free: usize,
}

struct Waiting<K, R> {
    number: u64,
    key: K,
    reply: oneshot::Sender<Answer<R>>,
}

impl<Q: Grouped<R>, R: Send + 'static> Group<Q, R> {
    /// A group with up to so many statements at once.
    pub(super) fn new(readers: &Connections, statements_max: u32) -> Arc<Self> {
        let free = usize::try_from(statements_max).unwrap_or(usize::MAX);
        let state = State { waiting: VecDeque::new(), next: 0, free };
        Arc::new(Self { readers: readers.clone(), state: Mutex::new(state) })
    }

    /// Finds what a key names.
    pub(super) async fn find(self: &Arc<Self>, key: Q::Key) -> Answer<R> {
        self.wait_for(key).instrument(spans::read()).await
    }

    async fn wait_for(self: &Arc<Self>, key: Q::Key) -> Answer<R> {
        let (reply, mut answer) = oneshot::channel();
        let place = Place { group: self, number: self.line_up(key, reply)? };
        self.begin();
        let answer = match timeout(CHECKOUT_TIMEOUT, &mut answer).await {
            Ok(answer) => answer,
            Err(_) if self.leave(place.number) => return Err(self.readers.give_up().into()),
            Err(_) => answer.await,
        };
        answer.unwrap_or_else(|_| resume_unwind(Box::new("the task of a read panicked")))
    }

    fn line_up(&self, key: Q::Key, reply: oneshot::Sender<Answer<R>>) -> Result<u64, LedgerError> {
        let mut state = self.lock();
        if state.waiting.len() >= WAITING_MAX {
            return Err(LedgerError::Overloaded);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back(Waiting { number, key, reply });
        Ok(number)
    }

    /// Takes a caller out of the queue. Tells whether it was still in it.
    fn leave(&self, number: u64) -> bool {
        let waiting = &mut self.lock().waiting;
        let found = waiting.binary_search_by_key(&number, |waiting| waiting.number);
        found.is_ok_and(|place| waiting.remove(place).is_some())
    }

    /// Begins a statement for those that wait, if one more may be under way.
    fn begin(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.free == 0 || state.waiting.is_empty() {
            return;
        }
        state.free -= 1;
        let count = state.waiting.len().min(GROUP_MAX);
        let together: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        let turn = Turn(Arc::clone(self));
        tokio::spawn(async move {
            let group = Arc::clone(&turn.0);
            group.answer(together).await;
            drop(turn);
            group.begin();
        });
    }

    async fn answer(self: &Arc<Self>, together: Vec<Waiting<Q::Key, R>>) {
        let (keys, replies): (Vec<_>, Vec<_>) =
            together.into_iter().map(|waiting| (waiting.key, waiting.reply)).unzip();
        let answers: Vec<Answer<R>> = match self.read(keys.clone()).await {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(LedgerError::Refused(_)) if keys.len() > 1 => return self.answer_each(keys, replies),
            Err(error) => error.repeated(keys.len()).into_iter().map(Err).collect(),
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            let _ = reply.send(answer); // the caller may have disconnected
        }
    }

    /// Reads each by itself, so that only the one that is refused fails.
    fn answer_each(self: &Arc<Self>, keys: Vec<Q::Key>, replies: Vec<oneshot::Sender<Answer<R>>>) {
        for (key, reply) in keys.into_iter().zip(replies) {
            let group = Arc::clone(self);
            tokio::spawn(async move {
                let found = group.read(vec![key]).await;
                let _ = reply.send(found.map(|mut found| found.pop().flatten()));
            });
        }
    }

    /// Reads what keys name, in their order.
    async fn read(&self, keys: Vec<Q::Key>) -> Result<Vec<Option<R>>, LedgerError> {
        let mut found: Vec<Option<R>> = keys.iter().map(|_| None).collect();
        let statement = Q::of(keys);
        for (number, row) in retried(|| self.readers.query_here(statement.clone())).await? {
            let place = usize::try_from(number - 1).ok().and_then(|place| found.get_mut(place));
            *place.ok_or_else(|| LedgerError::Corrupt(format!("a row for key {number}")))? = Some(row);
        }
        Ok(found)
    }
}

impl<Q: Grouped<R>, R> Group<Q, R> {
    /// No code panics while it holds the lock; even then the state would be consistent.
    fn lock(&self) -> MutexGuard<'_, State<Q::Key, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Grouped<R>, R> Debug for Group<Q, R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("readers", &self.readers).finish_non_exhaustive()
    }
}

/// A caller's place in the queue, which is given up with the call.
struct Place<'a, Q: Grouped<R>, R: Send + 'static> {
    group: &'a Group<Q, R>,
    number: u64,
}

impl<Q: Grouped<R>, R: Send + 'static> Drop for Place<'_, Q, R> {
    fn drop(&mut self) {
        self.group.leave(self.number);
    }
}

/// A statement under way.
struct Turn<Q: Grouped<R>, R>(Arc<Group<Q, R>>);

impl<Q: Grouped<R>, R> Drop for Turn<Q, R> {
    fn drop(&mut self) {
        self.0.lock().free += 1;
    }
}
