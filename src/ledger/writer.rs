//! One who writes: the only transaction of the service, run in a session of the pool, and again where that helps.
//!
//! # Round trips
//!
//! A statement goes out with the one before it, without waiting for its answer, unless it needs that answer:
//!
//! | round trip                                                          | statements | when                       |
//! | ------------------------------------------------------------------- | ---------- | -------------------------- |
//! | BEGIN                                                               | 1          | always                     |
//! | open: make rows for accounts that have none                         | 1          | first time of an account   |
//! | lock: the accounts, sorted; read them and the clock                 | 1          | always                     |
//! | prior: entries, and other answers, under these keys                 | 2          | always                     |
//! | prior: payments; reservations                                       | 1 each     | if any is named            |
//! | **and back**                                                        |            | always                     |
//! | lapsed: reservations whose leases ran out, **and back**             | 1          | if there may be any        |
//! | entries: those that refunds and replays point to, **and back**      | 1          | if any                     |
//! | [`decide`]: pure; nothing has been written yet                      | 0          | always                     |
//! | write: entries and accounts; reservations; refusals; payments; keys | 1 each     | if any                     |
//! | close: accounts that were opened in vain                            | 1          | if any                     |
//! | **and back**                                                        |            | unless only entries        |
//! | COMMIT, or ROLLBACK if nothing was to be written; **and back**      | 1          | always                     |
//!
//! Two for any number of charges, three for reservations, and at most seven for any batch of whatever is in it: for one
//! with new accounts, two to find that out. A single operation is a batch of one.
//!
//! COMMIT goes out behind the entries before it is known that they could be written. That is safe because they and
//! the balances are one statement: it is carried out whole, or it fails and the server turns COMMIT into ROLLBACK.
//!
//! # Why it is right
//!
//! * An account's operations are put in order by the lock of its row. READ COMMITTED is enough: the locking statement
//!   itself reads the newest balances, and the prior answers are read by a later statement, whose snapshot has all
//!   that was committed while the locks were waited for.
//! * Deadlocks cannot happen: accounts are opened before any is locked; opened, locked and credited for payments in
//!   sorted order, in every process.
//! * The unique indexes are the last word. Who loses a race (the same payment in two accounts, say) runs again, and
//!   finds the winner's rows.
//! * Nothing is written until all is decided, so a refusal has nothing to undo.
//! * The number of an entry is that of the last one and one more, and is unique in its account. Whatever was decided about
//!   a balance that has changed since cannot be written, even if all of the above failed.
//! * Nothing is decided at a time that this machine's clock does not confirm within a minute: times never go back, so a wrong
//!   one would stay.
//! * After a lost connection the transaction is simply run again: if the lost COMMIT did happen, its keys answer.

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
    load::{self, Loaded, Locking, Work},
    save,
};
use crate::{
    accounting::{AccountId, Command, Entry, EntryType, Limits, Outcome, decide},
    database::pool::{PATIENCE, PooledSession, Session},
    telemetry::spans,
};

/// How often a transaction is run at most, before its callers are told.
const RUNS_MAX: u32 = 4;

/// What a transaction decided.
#[derive(Debug, Default)]
struct Decided {
    /// The answers to its commands.
    answers: Vec<Option<Outcome>>,
    /// How many leases it wrote down as having run out.
    expired: u64,
}

/// One who writes. A transaction that has not been answered keeps it from beginning another.
#[derive(Clone, Debug)]
pub struct Writer {
    ledger: Ledger,
    turn: Arc<Semaphore>,
}

impl Writer {
    /// One who writes into this book.
    #[must_use]
    pub fn new(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Answers commands in order, each by itself, and makes their changes durable together: when this returns, every
    /// entry is on disk. Run again after an error, it answers what was done already, and does the rest.
    ///
    /// Commands on accounts in which more leases have run out than one transaction writes down are not answered yet: they are
    /// to be posted again, and each time there are fewer of those leases.
    ///
    /// # Errors
    /// When the database is away or has not answered an earlier transaction, when others keep the locks, or when it refuses a
    /// statement. In the last two cases nothing has happened.
    pub async fn post_some(&self, commands: Arc<[Command]>) -> Result<Vec<Option<Outcome>>, LedgerError> {
        let account_ids: BTreeSet<&AccountId> = commands.iter().map(Command::account_id).collect();
        let account_ids = account_ids.into_iter().cloned().collect();
        Ok(self.carry_out(Work { account_ids, commands, locking: Locking::Wait }).await?.answers)
    }

    /// Writes down which leases have run out in those of some accounts that nobody else is at work on, up to a bound, and
    /// returns how many.
    ///
    /// # Errors
    /// As [`Self::post_some`].
    pub async fn write_lapsed(&self, account_ids: BTreeSet<AccountId>) -> Result<u64, LedgerError> {
        let account_ids = account_ids.into_iter().collect();
        let work = Work { account_ids, commands: Arc::default(), locking: Locking::Skip };
        Ok(self.carry_out(work).await?.expired)
    }

    /// Runs the transaction, and again where that helps.
    async fn carry_out(&self, mut work: Work) -> Result<Decided, LedgerError> {
        let (mut decided, mut runs) = (Decided::default(), 0);
        if work.account_ids.is_empty() {
            return Ok(decided);
        }
        loop {
            runs += 1;
            let run = self.run(work.clone(), decided).instrument(spans::transaction());
            let ended;
            (ended, decided) = run.await?;
            let error = match ended {
                Ok(()) | Err(TransactionEnd::NothingToWrite) => return Ok(decided),
                Err(TransactionEnd::AccountsMissing) if work.locking != Locking::Open => {
                    work.locking = Locking::Open;
                    continue;
                }
                Err(TransactionEnd::AccountsMissing) => {
                    return Err(LedgerError::Corrupt("accounts that can neither be found nor opened".into()));
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

    /// Runs the transaction in a session. `decided` holds what the run before it decided, if there was one, and then what this
    /// one did.
    async fn run(
        &self,
        work: Work,
        mut decided: Decided,
    ) -> Result<(Result<(), TransactionEnd>, Decided), LedgerError> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| {
            LedgerError::Unavailable("an earlier transaction has not been answered yet".into())
        })?;
        let limits = self.ledger.limits;
        let transaction = |mut session: PooledSession| async move {
            let _until_answered = turn;
            let ended = transact(&mut session, &work, &limits, &mut decided).await;
            (ended, decided)
        };
        let (ended, decided) = self.ledger.writers.carry_out(PATIENCE, transaction).await?;
        if let Err(TransactionEnd::Database(error)) = &ended
            && says_read_only(error)
        {
            self.ledger.writers.renew();
        }
        Ok((ended, decided))
    }
}

/// The transaction.
async fn transact(
    session: &mut Session,
    work: &Work,
    limits: &Limits,
    decided: &mut Decided,
) -> Result<(), TransactionEnd> {
    let asked = SystemTime::now();
    let body = async |connection: &AsyncPgConnection| {
        let Loaded { mut book, now, opened } = load::begin_and_load(connection, work).await?;
        Reading::told_now(asked, now).must_agree()?;
        let mut answers = decide(&mut book, &work.commands, now, limits);
        own_what_was_committed(&mut answers, &decided.answers);
        decided.answers = answers;
        let changes = book.into_changes();
        let is_expiry = |(entry, _): &&(Arc<Entry>, _)| entry.entry_type == EntryType::Expire;
        decided.expired = changes.entries.iter().filter(is_expiry).count() as u64;
        if changes.is_empty() {
            return Err(TransactionEnd::NothingToWrite);
        }
        let is_in_use = |id: &&String| changes.accounts.iter().any(|(used, _)| used.as_str() == *id);
        let opened_in_vain = opened.iter().filter(|id| !is_in_use(id)).map(String::as_str).collect();
        Ok(save::write_and_commit(connection, &changes, opened_in_vain).await?)
    };
    let mut ended = session.transaction(body).await;
    if let Err(TransactionEnd::Database(error)) = &mut ended {
        error.code = session.error_code();
    }
    ended
}

/// Where the answer to a COMMIT was lost and it did happen, the next run finds this program's own entries: to the caller
/// they are no replays. Only an entry equal in all, the time to the microsecond included, is such a one.
fn own_what_was_committed(answers: &mut [Option<Outcome>], decided: &[Option<Outcome>]) {
    for (answer, before) in answers.iter_mut().zip(decided) {
        if let (
            Some(Outcome::Applied { entry, replayed, .. }),
            Some(Outcome::Applied { entry: own, replayed: false, .. }),
        ) = (answer, before)
            && *entry == *own
        {
            *replayed = false;
        }
    }
}

/// How long to wait before a transaction is run again: longer each time, and never the same for two.
fn pause(runs: u32) -> Duration {
    Duration::from_millis(fastrand::u64(1..=5 * 4_u64.pow(runs)))
}
