//! Loads the part of the book that commands refer to: first the locks, then everything else.

mod grants;
mod pointed;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use diesel::{data_types::PgTimestamp, result::QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    LedgerError,
    error::TransactionEnd,
    granted::Granted,
    rows::{self, AccountRow, RefusalRow, ReservationRow},
    statements::{
        CountOpen, LockAccounts, LockIdleAccounts, OpenAccounts, ReadKeyedEntries, ReadLapsed,
        ReadOtherAnswers, ReadPayments, ReadReservations,
    },
    work::{Locking, Part, Work},
};
use crate::{
    accounting::{
        AccountId, Answer, Book, Command, EntryName, ExternalId, ExternalIds, Fingerprint, IdempotencyKey,
        Original, Reservation, Timestamp,
    },
    database::pipeline::{execute, in_one_go},
};
use grants::{GrantsWanted, put_grants, read_grants};
use pointed::{
    PaymentRow, PointedRow, Pointers, Replay, legs_wanted, payment, read_originals, read_pointed_entries,
};

/// An account, and the time when it was locked.
pub(super) type LockedRow = (AccountRow, PgTimestamp);
type ReplayRow = (Vec<u8>, i64);
type OpenRow = (String, i64);
type AnswerRow = (String, String, Option<RefusalRow>, Option<ReplayRow>);

/// The most expired leases that one transaction reads and records, over all its accounts; but at least one of each account.
const LAPSED_MAX: usize = 1_000;

/// What a transaction has loaded.
pub(super) struct Loaded {
    /// What the commands refer to.
    pub(super) book: Book,
    /// The database's time, read under the locks.
    pub(super) now: Timestamp,
    /// The accounts of each part that had no row.
    pub(super) opened: Vec<Vec<String>>,
}

/// What was read of a part with its locks.
struct LockedPart {
    /// The database's time.
    now: Timestamp,
    /// The accounts that had no row.
    opened: Vec<String>,
    /// What is to be read next.
    pointers: Pointers,
    /// The grants that were read.
    grants: GrantsWanted,
}

/// Begins the transaction, locks accounts and reads everything that commands on them refer to.
///
/// Book by book: in each, missing accounts are inserted before any is locked, so that no transaction waits for a new account while
/// it holds a lock that comes later.
pub(super) async fn begin_and_load(
    connection: &AsyncPgConnection,
    work: &Work,
    granted: &Granted,
) -> Result<Loaded, TransactionEnd> {
    let (mut book, mut locked) = (Book::default(), Vec::new());
    for part in work.parts.iter() {
        let begin = if locked.is_empty() { "BEGIN" } else { "" };
        let begin = [begin, part.turn().unwrap_or_default().as_str()].join(";");
        locked.push(lock_and_read(connection, &begin, part, work.locking, granted, &mut book).await?);
    }
    let Some(now) = locked.iter().map(|part| part.now).max() else {
        return Err(TransactionEnd::NothingToWrite);
    };
    for (part, locked) in work.parts.iter().zip(&mut locked) {
        turn_to(connection, part).await?;
        read_lapsed(connection, part, now, &mut book).await?;
        let pointers = mem::take(&mut locked.pointers);
        read_pointed_entries(connection, &part.commands, pointers, &mut book).await?;
    }
    let legs = legs_wanted(&work.commands, &book)?;
    for (part, locked) in work.parts.iter().zip(&locked) {
        let legs: BTreeSet<_> = legs.iter().filter(|(payee, _)| part.has(payee)).cloned().collect();
        let grants = locked.grants.what_is_missing(part, &book);
        if legs.is_empty() && grants.is_empty() {
            continue;
        }
        turn_to(connection, part).await?;
        read_originals(connection, legs, &mut book).await?;
        put_grants(read_grants(connection, &grants).await?, &mut book)?;
    }
    Ok(Loaded { book, now, opened: locked.into_iter().map(|part| part.opened).collect() })
}

/// Turns a transaction over several books to the book of a part.
async fn turn_to(connection: &AsyncPgConnection, part: &Part) -> QueryResult<()> {
    match part.turn() {
        Some(turn) => execute(connection, &turn).await,
        None => Ok(()),
    }
}

/// Locks the accounts of a part, and reads what its commands name, in one go.
async fn lock_and_read(
    connection: &AsyncPgConnection,
    begin: &str,
    part: &Part,
    locking: Locking,
    granted: &Granted,
    book: &mut Book,
) -> Result<LockedPart, TransactionEnd> {
    let commands = &*part.commands;
    let expected = GrantsWanted::at_first(&part.account_ids, commands, granted);
    let account_ids: Vec<&str> = part.account_ids.iter().map(AccountId::as_str).collect();
    let ((), opened, locked, entries, answers, payments, reservations, grants, open) = in_one_go!(
        execute(connection, begin),
        open(connection, account_ids.clone(), locking),
        lock(connection, account_ids.clone(), locking),
        read_keyed_entries(connection, commands),
        read_other_answers(connection, commands),
        read_payments(connection, commands),
        read_reservations(connection, commands),
        read_grants(connection, &expected),
        count_open(connection, commands),
    )?;
    let mut pointers = Pointers::default();
    if locking != Locking::Skip && locked.len() < account_ids.len() {
        return Err(TransactionEnd::AccountsMissing);
    }
    let now = put_accounts(locked, book)?;
    for row in entries {
        put_keyed_entry(row, book)?;
    }
    for row in answers {
        put_other_answer(row, book, &mut pointers)?;
    }
    for row in payments {
        pointers.payments.push(payment(row)?);
    }
    for row in reservations {
        book.put_reservation(row.try_into()?);
    }
    put_grants(grants, book)?;
    for (account_id, count) in open {
        let account_id = AccountId::parse("account_id", &account_id).map_err(LedgerError::from)?;
        book.put_open_reservations(&account_id, count);
    }
    Ok(LockedPart { now, opened, pointers, grants: expected })
}

async fn open(
    mut connection: &AsyncPgConnection,
    account_ids: Vec<&str>,
    locking: Locking,
) -> QueryResult<Vec<String>> {
    match locking {
        Locking::Open => OpenAccounts { account_ids }.load(&mut connection).await,
        Locking::Wait | Locking::Skip => Ok(Vec::new()),
    }
}

async fn lock(
    mut connection: &AsyncPgConnection,
    account_ids: Vec<&str>,
    locking: Locking,
) -> QueryResult<Vec<LockedRow>> {
    match locking {
        Locking::Wait | Locking::Open => LockAccounts { account_ids }.load(&mut connection).await,
        Locking::Skip => LockIdleAccounts { account_ids }.load(&mut connection).await,
    }
}

async fn read_keyed_entries(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<PointedRow>> {
    let (account_ids, keys): (Vec<_>, Vec<_>) = keys(commands).unzip();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    ReadKeyedEntries { account_ids, keys }.load(&mut connection).await
}

async fn read_other_answers(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<AnswerRow>> {
    let (account_ids, keys): (Vec<_>, Vec<_>) = keys(commands).unzip();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    ReadOtherAnswers { account_ids, keys }.load(&mut connection).await
}

/// The keys of commands, and the keys of the entries that they undo.
fn keys(commands: &[Command]) -> impl Iterator<Item = (&str, &str)> {
    commands.iter().flat_map(|command| {
        let undone_key = match command.references().entry {
            Some(EntryName::Key(key)) => Some(key),
            Some(EntryName::Sequence(_) | EntryName::ExternalId(_)) | None => None,
        };
        [Some(command.key()), undone_key]
            .into_iter()
            .flatten()
            .map(|key| (command.account_id().as_str(), key.as_str()))
    })
}

async fn read_payments(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<PaymentRow>> {
    let own = commands.iter().filter_map(|command| command.references().external_ids);
    let undone = commands.iter().filter_map(|command| match command.references().entry? {
        EntryName::ExternalId(external_id) => Some(external_id),
        EntryName::Sequence(_) | EntryName::Key(_) => None,
    });
    let all = own.flat_map(ExternalIds::iter).chain(undone);
    let external_ids: Vec<_> = all.map(ExternalId::as_str).collect();
    if external_ids.is_empty() {
        return Ok(Vec::new());
    }
    ReadPayments { external_ids }.load(&mut connection).await
}

async fn read_reservations(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<ReservationRow>> {
    let (account_ids, reservation_ids): (Vec<_>, Vec<_>) = commands
        .iter()
        .filter_map(|command| {
            Some((command.account_id().as_str(), command.references().reservation_id?.as_str()))
        })
        .unzip();
    if reservation_ids.is_empty() {
        return Ok(Vec::new());
    }
    ReadReservations { account_ids, reservation_ids }.load(&mut connection).await
}

async fn count_open(mut connection: &AsyncPgConnection, commands: &[Command]) -> QueryResult<Vec<OpenRow>> {
    let closing = commands.iter().filter(|command| command.references().closes_account);
    let account_ids: Vec<_> = closing.map(|command| command.account_id().as_str()).collect();
    if account_ids.is_empty() {
        return Ok(Vec::new());
    }
    CountOpen { account_ids }.load(&mut connection).await
}

/// Adds the accounts to the book, and returns the time.
fn put_accounts(rows: Vec<LockedRow>, book: &mut Book) -> Result<Timestamp, TransactionEnd> {
    let Some(now) = rows.iter().map(|(_, now)| rows::timestamp(*now)).max() else {
        return Err(TransactionEnd::NothingToWrite); // others have locked all of them
    };
    for (row, _) in rows {
        let (account_id, account) = row.try_into()?;
        book.put_account(account_id, account);
    }
    Ok(now)
}

fn put_keyed_entry((row, undone): PointedRow, book: &mut Book) -> Result<(), LedgerError> {
    let recorded = row.recorded()?;
    if let Answer::Applied(entry) = &recorded.answer
        && let Some(key) = entry.idempotency_key.clone()
    {
        let account_id = entry.account_id.clone();
        book.put_original(Original { entry: Arc::clone(entry), undone: rows::undone(&undone)? });
        book.put_answer(&account_id, key, recorded);
    }
    Ok(())
}

fn put_other_answer(row: AnswerRow, book: &mut Book, pointers: &mut Pointers) -> Result<(), LedgerError> {
    let (account_id, key, refusal, replay) = row;
    let account_id = AccountId::parse("account_id", &account_id)?;
    let key = IdempotencyKey::parse("idempotency_key", &key)?;
    if let Some(refusal) = refusal {
        book.put_answer(&account_id, key, refusal.recorded()?);
    } else if let Some((fingerprint, sequence)) = replay {
        let fingerprint = Fingerprint::recorded(fingerprint);
        pointers.replays.push(Replay { account_id, key, fingerprint, sequence });
    }
    Ok(())
}

/// An account that may have expired leases.
struct Due {
    /// The account's time.
    time: Timestamp,
    /// How many more expired leases the book takes.
    room: usize,
    /// The earliest expiry among the other leases.
    next: Option<Timestamp>,
}

/// Reads the reservations of a part with expired leases. Each account gets an equal share, so that none delays the others.
async fn read_lapsed(
    connection: &AsyncPgConnection,
    part: &Part,
    now: Timestamp,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    let mut due: BTreeMap<AccountId, Due> = book
        .accounts()
        .filter(|(id, account)| account.may_have_lapsed(now) && part.has(id))
        .map(|(id, account)| (id.clone(), Due { time: account.time(now), room: 0, next: None }))
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    let share = (LAPSED_MAX / due.len()).max(1);
    for due in due.values_mut() {
        due.room = share;
    }
    let (account_ids, times) =
        due.iter().map(|(id, due)| (id.as_str(), rows::pg_timestamp(due.time))).unzip();
    // One more than the share shows whether there are more.
    let limits = vec![i64::try_from(share + 1).unwrap_or(i64::MAX); due.len()];
    let rows = ReadLapsed { account_ids, times, limits }.load::<ReservationRow>(&mut &*connection).await?;
    let reservations = rows.into_iter().map(Reservation::try_from);
    let mut reservations = reservations.collect::<Result<Vec<_>, LedgerError>>()?;
    reservations.sort_unstable_by_key(|reservation| (reservation.status.expire_time, reservation.sequence));
    for reservation in reservations {
        let Some(due) = due.get_mut(&reservation.account_id) else { continue };
        if due.room > 0 && reservation.status.expire_time <= due.time {
            due.room -= 1;
            book.put_lapsed(reservation);
        } else {
            due.next.get_or_insert(reservation.status.expire_time);
        }
    }
    for (account_id, due) in &due {
        book.put_next_expire_time(account_id, due.next);
    }
    Ok(())
}
