//! Group commit: a bounded queue, a batch, one transaction, an answer for each caller.
//!
//! Each account belongs to one writer of its book, by the hash of its id. A writer takes everything that queued up during its last
//! commit and posts it as one batch: the load makes the batch, and no timer adds delay. An operation that is alone commits
//! immediately; under load, hundreds share the cost of one commit.
//!
//! * The transaction belongs to the writer, not to the call: a caller that disconnects cancels nothing that has started.
//!   An operation that has not started is dropped.
//! * The queue is bounded: a full queue refuses immediately. Accounts take turns, so a flooded account does not delay the
//!   others.
//! * If more leases have expired in an account than one transaction records, its operations go back to the front of its
//!   line until all are recorded; the rest of the batch is answered.
//! * A batch is one transaction in one book. Operations that name accounts of several books, and those that come behind them on
//!   their accounts, are posted after the others, in a transaction over these books.
//! * If the database rejects a batch, its operations are posted one by one, so that a bad one does not fail the others.

mod queue;

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Instant,
};

use futures_util::FutureExt as _;
use tokio::{sync::oneshot, task::JoinSet};
use tracing::Instrument as _;

use crate::{
    accounting::{AccountId, Command, Outcome},
    ledger::{Ledger, LedgerError, Writer},
    telemetry::{
        Metrics,
        spans::{self, Waiting},
    },
};
use queue::{Queue, QueueError};

/// Why an operation was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full. Nothing was written.
    #[error("the queue is full")]
    Full,
    /// The service is shutting down. Nothing was written.
    #[error("the service is shutting down")]
    Closed,
    /// The writer panicked. The operation may or may not have been applied.
    #[error("the writer failed")]
    WriterFailed,
    /// The book could not be written.
    #[error("the book could not be written")]
    Ledger(#[source] Arc<LedgerError>),
}

/// The committer's settings.
#[derive(Debug, Clone, Copy)]
pub struct CommitterSettings {
    /// The number of writers, and so of concurrent transactions; of a ledger with more books, one for each of them.
    pub writers: usize,
    /// The most operations that wait, in all queues together.
    pub queue_max: usize,
    /// The most operations in one transaction.
    pub batch_max: usize,
}

/// Hands operations to the writers.
#[derive(Debug, Clone)]
pub struct Committer {
    ledger: Ledger,
    queues: Queues,
    metrics: Metrics,
}

/// One for each writer, book by book: as many for each.
type Queues = Arc<[Arc<Queue<Job>>]>;

/// The writers' tasks, to be stopped and awaited.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<()>,
    queues: Queues,
}

/// The result of an operation; `None` if it must be posted again.
type Answer = Option<Result<Outcome, SubmitError>>;

#[derive(Debug)]
struct Job {
    command: Command,
    reply: oneshot::Sender<Result<Outcome, SubmitError>>,
    queued: Instant,
    waiting: Waiting,
}

impl Job {
    fn new(command: Command, reply: oneshot::Sender<Result<Outcome, SubmitError>>) -> Self {
        Self { command, reply, queued: Instant::now(), waiting: Waiting::begin() }
    }
}

impl Committer {
    /// Starts the writers.
    #[must_use]
    pub fn start(ledger: &Ledger, settings: CommitterSettings, metrics: &Metrics) -> (Self, Writers) {
        let mut tasks = JoinSet::new();
        let writers = settings.writers.div_ceil(ledger.book_count()) * ledger.book_count();
        let queues: Queues = (0..writers)
            .map(|_| {
                let queue = Arc::new(Queue::new(settings.queue_max.div_ceil(writers)));
                tasks.spawn(write(ledger.clone(), Arc::clone(&queue), settings.batch_max, metrics.clone()));
                queue
            })
            .collect();
        let (ledger, metrics) = (ledger.clone(), metrics.clone());
        (Self { ledger, queues: Arc::clone(&queues), metrics }, Writers { tasks, queues })
    }

    /// Applies an operation, and returns its answer once it is durable.
    ///
    /// # Errors
    /// When the queue is full, the service is shutting down, or the book could not be written.
    pub async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.enqueue(command)?.answer().await
    }

    /// Queues an operation, behind all that were queued before on its account.
    ///
    /// # Errors
    /// When the queue is full, or the service is shutting down.
    pub fn enqueue(&self, command: Command) -> Result<Submitted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let queue = &self.queues[self.writer_of(command.account_id())];
        let account_id = command.account_id().clone();
        queue.put(&account_id, Job::new(command, reply)).map_err(|error| match error {
            QueueError::Full => SubmitError::Full,
            QueueError::Closed => SubmitError::Closed,
        })?;
        self.metrics.queued();
        Ok(Submitted(answer))
    }

    /// The number of the writer of an account: one of those of its book.
    fn writer_of(&self, account_id: &AccountId) -> usize {
        let of_book = self.queues.len() / self.ledger.book_count();
        let mut hasher = DefaultHasher::new();
        account_id.hash(&mut hasher);
        let writer = usize::try_from(hasher.finish() % of_book as u64).unwrap_or(0); // fits: less than `of_book`
        self.ledger.book_number(account_id) * of_book + writer
    }
}

/// An operation in the queue. If this is dropped before it is taken, it is not carried out.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<Outcome, SubmitError>>);

impl Submitted {
    /// Its answer, once it is durable.
    ///
    /// # Errors
    /// When the book could not be written.
    pub async fn answer(self) -> Result<Outcome, SubmitError> {
        self.0.await.unwrap_or(Err(SubmitError::WriterFailed))
    }
}

impl Writers {
    /// Stops accepting operations, and returns when all accepted ones are answered.
    pub async fn finish(mut self) {
        for queue in self.queues.iter() {
            queue.close();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Takes what has queued up, posts it and answers, again and again, until the queue is closed and empty.
async fn write(ledger: Ledger, queue: Arc<Queue<Job>>, batch_max: usize, metrics: Metrics) {
    let writer = Writer::new(&ledger).measured_by(&metrics);
    loop {
        let jobs = queue.take(batch_max).await;
        if jobs.is_empty() {
            break;
        }
        let begin = Instant::now();
        for job in &jobs {
            metrics.dequeued(begin - job.queued);
        }
        let span = spans::batch(jobs.iter().map(|job| &job.waiting));
        let still_waited_for = jobs.into_iter().filter(|job| !job.reply.is_closed());
        let (commands, replies): (Vec<_>, Vec<_>) =
            still_waited_for.map(|job| (job.command, job.reply)).unzip();
        let commands: Arc<[Command]> = commands.into();
        // A panic fails this batch, not the writer: its callers find their reply channels closed.
        let answers = AssertUnwindSafe(post(&ledger, &writer, &commands).instrument(span))
            .catch_unwind()
            .await
            .unwrap_or_default();
        metrics.posted(commands.len(), begin.elapsed());
        let mut unanswered = Vec::new();
        for ((command, reply), answer) in commands.iter().zip(replies).zip(answers) {
            match answer {
                Some(answer) => drop(reply.send(answer)), // the caller may have disconnected
                None => unanswered.push(Job::new(command.clone(), reply)),
            }
        }
        for job in unanswered.into_iter().rev() {
            metrics.queued();
            queue.put_back(&job.command.account_id().clone(), job);
        }
    }
}

/// Posts commands: first those that stay in one book, then the others.
async fn post(ledger: &Ledger, writer: &Writer, commands: &Arc<[Command]>) -> Vec<Answer> {
    let Some(is_second) = second_ones(ledger, commands) else { return post_batch(writer, commands).await };
    let mut answers: Vec<Answer> = vec![None; commands.len()];
    let mut postponed: HashSet<&AccountId> = HashSet::new();
    for turn in [false, true] {
        let is_now =
            |place: &usize| is_second[*place] == turn && !postponed.contains(commands[*place].account_id());
        let places: Vec<usize> = (0..commands.len()).filter(is_now).collect();
        let batch: Arc<[Command]> = places.iter().map(|place| commands[*place].clone()).collect();
        for (place, answer) in places.into_iter().zip(post_batch(writer, &batch).await) {
            if answer.is_none() {
                postponed.insert(commands[place].account_id());
            }
            answers[place] = answer;
        }
    }
    answers
}

/// Of each command, whether it names accounts of several books, or stands behind one on its account that does; `None` if they are
/// all the same in this.
fn second_ones(ledger: &Ledger, commands: &[Command]) -> Option<Vec<bool>> {
    if ledger.book_count() == 1 {
        return None;
    }
    let mut across: HashSet<&AccountId> = HashSet::new();
    let is_second = commands.iter().map(|command| {
        let is_second = across.contains(command.account_id()) || ledger.is_across_books(command);
        if is_second {
            across.insert(command.account_id());
        }
        is_second
    });
    let is_second: Vec<bool> = is_second.collect();
    (is_second.contains(&true) && is_second.contains(&false)).then_some(is_second)
}

/// Posts commands as one batch, or one by one if the batch is rejected.
async fn post_batch(writer: &Writer, commands: &Arc<[Command]>) -> Vec<Answer> {
    match writer.post_some(Arc::clone(commands)).await {
        Ok(answers) => answers.into_iter().map(|answer| answer.map(Ok)).collect(),
        Err(LedgerError::Refused(_) | LedgerError::Contention(_) | LedgerError::Corrupt(_))
            if commands.len() > 1 =>
        {
            post_one_by_one(writer, commands).await
        }
        Err(error) => vec![Some(Err(SubmitError::Ledger(Arc::new(error)))); commands.len()],
    }
}

/// Posts commands in order, each in its own transaction. A database that is unavailable, an account that stays locked, or
/// one that is not ready yet is waited for once, not once per operation.
async fn post_one_by_one(writer: &Writer, commands: &[Command]) -> Vec<Answer> {
    let mut unavailable = None;
    let mut of_account: HashMap<&AccountId, Answer> = HashMap::new();
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let known = unavailable.as_ref().or_else(|| of_account.get(command.account_id()));
        if let Some(answer) = known {
            answers.push(answer.clone());
            continue;
        }
        let answer = post_one(writer, command).await;
        match &answer {
            Some(Err(SubmitError::Ledger(error))) => match **error {
                LedgerError::Unavailable(_) => unavailable = Some(answer.clone()),
                LedgerError::Contention(_) => {
                    of_account.insert(command.account_id(), answer.clone());
                }
                LedgerError::Overloaded | LedgerError::Refused(_) | LedgerError::Corrupt(_) => {}
            },
            None => {
                of_account.insert(command.account_id(), None);
            }
            Some(_) => {}
        }
        answers.push(answer);
    }
    answers
}

async fn post_one(writer: &Writer, command: &Command) -> Answer {
    match writer.post_some([command.clone()].into()).await {
        Ok(mut answers) => answers.pop().unwrap_or(None).map(Ok),
        Err(error) => Some(Err(SubmitError::Ledger(Arc::new(error)))),
    }
}
