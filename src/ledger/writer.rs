//! The only transaction of the service: run in a session of the pool, and retried where that helps.
//!
//! # Round trips
//!
//! Statements are pipelined: each is sent without waiting for the answer to the one before, unless it needs that answer.
//!
//! | round trip                                                          | statements | when                       |
//! | ------------------------------------------------------------------- | ---------- | -------------------------- |
//! | BEGIN                                                               | 1          | always                     |
//! | open: make rows for accounts that have none                         | 1          | first time of an account   |
//! | lock: the accounts, sorted; read them and the clock                 | 1          | always                     |
//! | prior: entries, and other answers, under these keys                 | 2          | always                     |
//! | prior: payments; reservations; grants of accounts known to have any | 1 each     | if any                     |
//! | **and back**                                                        |            | always                     |
//! | lapsed: reservations with expired leases, **and back**              | 1          | if there may be any        |
//! | entries: those that refunds and replays point to, **and back**      | 1          | if any                     |
//! | legs: the entries of legs that are taken back or replayed, **and back** | 1      | if any                     |
//! | grants: those that the first statements did not read, **and back**  | 1          | if any                     |
//! | [`decide`]: pure; nothing has been written yet                      | 0          | always                     |
//! | write: entries and accounts; new grants; changed grants; reservations; refusals; payments; keys | 1 each | if any |
//! | close: accounts that got no entry                                   | 1          | if any                     |
//! | **and back**                                                        |            | unless only entries and grants |
//! | COMMIT, or ROLLBACK if nothing was to be written; **and back**      | 1          | always                     |
//!
//! That makes two round trips for any number of charges, three for reservations, and at most eight for any batch; a batch
//! with new accounts needs two more to find that out, and so does one that takes back from payees. A single operation is a
//! batch of one.
//!
//! COMMIT is sent right behind the entries, and the grants, before they are known to be written. That is safe because each
//! statement succeeds as a whole, or it fails and the server turns COMMIT into ROLLBACK; and because they are prepared, so none
//! is sent after the COMMIT.
//!
//! # Why it is correct
//!
//! * The lock of an account's row puts its operations in order. READ COMMITTED is enough: the locking statement
//!   itself reads the newest balances, and prior answers are read by a later statement, whose snapshot includes
//!   everything that was committed while it waited for the locks.
//! * A refund that takes back from payees names only the debit. Its payees are known when that has been read; if they are not
//!   locked yet, the transaction ends without a change, and the next run locks them with the others.
//! * Deadlocks cannot happen: every process opens accounts before it locks any, and opens accounts, locks accounts and
//!   inserts payments in sorted order.
//! * The unique indexes decide every race. The loser (of a race for the same payment in two accounts, say) runs again,
//!   and finds the winner's rows.
//! * Nothing is written until everything is decided, so a refusal has nothing to undo.
//! * An entry's sequence is the last one plus one, and unique in its account. A decision about a balance that has changed
//!   since cannot be written, even if all of the above failed.
//! * Nothing is decided unless the database's clock agrees with this machine's within a minute: times never go back, so a
//!   wrong one would stay.
//! * After a lost connection the transaction is run again: if the lost COMMIT did happen, its keys find the answers.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use diesel_async::AsyncPgConnection;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::{
    Ledger, LedgerError,
    clock::Reading,
    error::{Remedy, TransactionEnd, remedy, says_read_only},
    granted::Granted,
    load::{self, Loaded},
    save,
    unasked::{Unasked, is_of_expiry, is_of_lapse},
    work::{Locking, Work},
};
use crate::{
    accounting::{AccountId, Command, Limits, Outcome, decide},
    database::pool::{PATIENCE, PooledSession, Session},
    telemetry::{Metrics, spans},
};

/// The most runs of a transaction before its callers get an error.
const RUNS_MAX: u32 = 4;

/// What a transaction decided.
#[derive(Debug, Default)]
struct Decided {
    /// The answers to its commands.
    answers: Vec<Option<Outcome>>,
    /// How many ends of leases and of grants it recorded.
    expired: u64,
    /// What it moved that nobody asked for.
    unasked: Unasked,
}

/// Runs one transaction at a time: one that has not been answered keeps the next from starting.
#[derive(Clone, Debug)]
pub struct Writer {
    ledger: Ledger,
    turn: Arc<Semaphore>,
    metrics: Option<Metrics>,
}

impl Writer {
    /// A writer of this book.
    #[must_use]
    pub fn new(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), turn: Arc::new(Semaphore::new(1)), metrics: None }
    }

    /// The same, which counts the money that moves without being asked for: what the ends of leases charge, and what becomes of
    /// grants.
    #[must_use]
    pub fn measured_by(self, metrics: &Metrics) -> Self {
        Self { metrics: Some(metrics.clone()), ..self }
    }

    /// Answers commands in order, each independently, and makes their changes durable together: when this returns, every
    /// entry is on disk. It can be repeated after an error: commands that were applied are answered, the rest is applied.
    ///
    /// If more leases have expired in an account than one transaction records, commands on it get `None`: post them again;
    /// fewer expired leases remain each time.
    ///
    /// # Errors
    /// When the database is unavailable or has not answered an earlier transaction, when others hold the locks, or when it
    /// rejects a statement. In the last two cases nothing was written.
    pub async fn post_some(&self, commands: Arc<[Command]>) -> Result<Vec<Option<Outcome>>, LedgerError> {
        let account_ids: BTreeSet<&AccountId> = commands.iter().flat_map(Command::account_ids).collect();
        let account_ids = account_ids.into_iter().cloned().collect();
        let work = Work::new(account_ids, commands, Locking::Wait, &self.ledger.books.spread);
        Ok(self.carry_out(work).await?.answers)
    }

    /// Records expired leases and grants of accounts, up to a bound, and returns how many. Skips accounts that others have locked.
    /// Each book by itself.
    ///
    /// # Errors
    /// As [`Self::post_some`].
    pub async fn write_lapsed(&self, account_ids: BTreeSet<AccountId>) -> Result<u64, LedgerError> {
        let work = Work::new(account_ids, Arc::default(), Locking::Skip, &self.ledger.books.spread);
        let mut expired = 0;
        for work in work.by_book() {
            expired += self.carry_out(work).await?.expired;
        }
        Ok(expired)
    }

    /// Runs the transaction, and retries it where that helps.
    async fn carry_out(&self, mut work: Work) -> Result<Decided, LedgerError> {
        let (mut decided, mut runs) = (Decided::default(), 0);
        if work.parts.is_empty() {
            return Ok(decided);
        }
        loop {
            runs += 1;
            let run = self.run(work.clone(), decided).instrument(spans::transaction());
            let ended;
            (ended, decided) = run.await?;
            let error = match ended {
                Ok(()) => {
                    if let Some(metrics) = &self.metrics {
                        decided.unasked.measure(metrics);
                    }
                    return Ok(decided);
                }
                Err(TransactionEnd::NothingToWrite) => return Ok(decided),
                Err(TransactionEnd::AccountsMissing) if work.locking != Locking::Open => {
                    work.locking = Locking::Open;
                    continue;
                }
                Err(TransactionEnd::AccountsMissing) => {
                    return Err(LedgerError::Corrupt("accounts that can neither be found nor opened".into()));
                }
                Err(TransactionEnd::AccountsNeeded(more)) => {
                    work = work.with(more, &self.ledger.books.spread);
                    continue;
                }
                Err(TransactionEnd::Ledger(error)) => return Err(error),
                Err(TransactionEnd::Database(error)) => error,
            };
            match remedy(&error) {
                Remedy::RunAgain | Remedy::Reconnect if runs < RUNS_MAX => {
                    tracing::debug!(%error, runs, "running a transaction again");
                    tokio::time::sleep(pause(runs)).await;
                }
                Remedy::RunAgain | Remedy::Reconnect | Remedy::GiveUp | Remedy::Isolate => {
                    return Err(error.into());
                }
            }
        }
    }

    /// Runs the transaction once, in a session. Takes what the previous run decided, and returns what this one did.
    async fn run(
        &self,
        work: Work,
        mut decided: Decided,
    ) -> Result<(Result<(), TransactionEnd>, Decided), LedgerError> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| {
            LedgerError::Unavailable("an earlier transaction has not been answered yet".into())
        })?;
        let (limits, granted) = (self.ledger.limits, self.ledger.granted.clone());
        let parts = Arc::clone(&work.parts);
        let transaction = |mut session: PooledSession| async move {
            let _until_answered = turn;
            let ended = transact(&mut session, &work, (&limits, &granted), &mut decided).await;
            (ended, decided)
        };
        let sessions = self.ledger.books.sessions_for(&parts);
        let (ended, decided) = sessions.carry_out(PATIENCE, transaction).await?;
        if let Err(TransactionEnd::Database(error)) = &ended
            && says_read_only(error)
        {
            self.ledger.books.renew();
        }
        Ok((ended, decided))
    }
}

/// The transaction.
async fn transact(
    session: &mut Session,
    work: &Work,
    (limits, granted): (&Limits, &Granted),
    decided: &mut Decided,
) -> Result<(), TransactionEnd> {
    let asked = SystemTime::now();
    let body = async |connection: &AsyncPgConnection| {
        let Loaded { mut book, now, opened } = load::begin_and_load(connection, work, granted).await?;
        Reading::told_now(asked, now).must_agree()?;
        let mut answers = decide(&mut book, &work.commands, now, limits);
        granted.note(&book);
        own_what_was_committed(&mut answers, &decided.answers);
        decided.answers = answers;
        let changes = book.into_changes();
        let expiries = changes.entries.iter().filter(|(entry, _)| is_of_expiry(entry) || is_of_lapse(entry));
        decided.expired = expiries.count() as u64;
        decided.unasked = Unasked::of(&changes.entries);
        if changes.is_empty() {
            return Err(TransactionEnd::NothingToWrite);
        }
        Ok(save::write_and_commit(connection, changes, &opened, &work.parts).await?)
    };
    let mut ended = session.transaction(body).await;
    if let Err(TransactionEnd::Database(error)) = &mut ended {
        error.code = session.error_code();
    }
    ended
}

/// If a COMMIT happened but its answer was lost, the next run finds the entries of the previous one: for the caller they are
/// not replays. Only an entry that is equal in every field, the time to the microsecond included, counts as one's own.
fn own_what_was_committed(answers: &mut [Option<Outcome>], decided: &[Option<Outcome>]) {
    for (answer, before) in answers.iter_mut().zip(decided) {
        if let (
            Some(Outcome::Applied { entry, since, .. }),
            Some(Outcome::Applied { entry: own, since: None, .. }),
        ) = (answer, before)
            && *entry == *own
        {
            *since = None;
        }
    }
}

/// The pause before a transaction is run again: longer each time, and random, so that two do not meet again.
fn pause(runs: u32) -> Duration {
    Duration::from_millis(fastrand::u64(1..=5 * 4_u64.pow(runs)))
}
