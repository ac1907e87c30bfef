//! Loads the part of the book that commands refer to: first the locks, then everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use diesel::{data_types::PgTimestamp, result::QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    LedgerError,
    error::TransactionEnd,
    rows::{self, AccountRow, EntryRow, RefusalRow, ReservationRow},
    statements::{
        CountOpen, LockAccounts, LockIdleAccounts, OpenAccounts, ReadEntries, ReadKeyedEntries, ReadLapsed,
        ReadOtherAnswers, ReadPayments, ReadReservations,
    },
};
use crate::{
    accounting::{
        AccountId, Answer, Book, ChargeName, Command, ExternalId, ExternalIds, Fingerprint, IdempotencyKey,
        MicroUsd, Original, Payment, Recorded, Reservation, Timestamp,
    },
    database::pipeline::{execute, in_one_go},
};

type LockedRow = (AccountRow, PgTimestamp);
type ReplayRow = (Vec<u8>, i64);
type PaymentRow = (String, String, i64);
type OpenRow = (String, i64);
type AnswerRow = (String, String, Option<RefusalRow>, Option<ReplayRow>);

/// The most expired leases that one transaction reads and records, over all its accounts; but at least one of each account.
const LAPSED_MAX: usize = 1_000;

/// How to lock accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// Wait for locks of others. Every account must have a row.
    Wait,
    /// The same, but insert the missing rows first.
    Open,
    /// Skip accounts that others have locked, and those without a row.
    Skip,
}

/// The work of a transaction.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// The accounts, each once, in the order of their ids.
    pub(super) account_ids: Arc<[AccountId]>,
    /// The commands.
    pub(super) commands: Arc<[Command]>,
    /// How to lock accounts.
    pub(super) locking: Locking,
}

/// What a transaction has loaded.
pub(super) struct Loaded {
    /// What the commands refer to.
    pub(super) book: Book,
    /// The database's time, read under the locks.
    pub(super) now: Timestamp,
    /// The accounts that had no row.
    pub(super) opened: Vec<String>,
}

/// Begins the transaction, locks accounts and reads everything that commands on them refer to.
///
/// Missing accounts are inserted before any is locked, so that no transaction waits for a new account while it holds a lock.
pub(super) async fn begin_and_load(
    connection: &AsyncPgConnection,
    work: &Work,
) -> Result<Loaded, TransactionEnd> {
    let (commands, locking) = (&*work.commands, work.locking);
    let account_ids: Vec<&str> = work.account_ids.iter().map(AccountId::as_str).collect();
    let ((), opened, locked, entries, answers, payments, reservations, open) = in_one_go!(
        execute(connection, "BEGIN"),
        open(connection, account_ids.clone(), locking),
        lock(connection, account_ids.clone(), locking),
        read_keyed_entries(connection, commands),
        read_other_answers(connection, commands),
        read_payments(connection, commands),
        read_reservations(connection, commands),
        count_open(connection, commands),
    )?;
    let mut book = Book::default();
    let mut pointers = Pointers::default();
    if locking != Locking::Skip && locked.len() < account_ids.len() {
        return Err(TransactionEnd::AccountsMissing);
    }
    let now = put_accounts(locked, &mut book)?;
    for row in entries {
        put_keyed_entry(row, &mut book)?;
    }
    for row in answers {
        put_other_answer(row, &mut book, &mut pointers)?;
    }
    for row in payments {
        pointers.payments.push(row.try_into()?);
    }
    for row in reservations {
        book.put_reservation(row.try_into()?);
    }
    for (account_id, count) in open {
        let account_id = AccountId::parse("account_id", &account_id).map_err(LedgerError::from)?;
        book.put_open_reservations(&account_id, count);
    }
    read_lapsed(connection, now, &mut book).await?;
    read_pointed_entries(connection, commands, pointers, &mut book).await?;
    Ok(Loaded { book, now, opened })
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
) -> QueryResult<Vec<(EntryRow, i64)>> {
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

/// The keys of commands, and the keys of the charges that they refer to.
fn keys(commands: &[Command]) -> impl Iterator<Item = (&str, &str)> {
    commands.iter().flat_map(|command| {
        let charge_key = match command.references().charge {
            Some(ChargeName::Key(key)) => Some(key),
            Some(ChargeName::Sequence(_)) | None => None,
        };
        [Some(command.key()), charge_key]
            .into_iter()
            .flatten()
            .map(|key| (command.account_id().as_str(), key.as_str()))
    })
}

async fn read_payments(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<PaymentRow>> {
    let named = commands.iter().filter_map(|command| command.references().external_ids);
    let external_ids: Vec<_> = named.flat_map(ExternalIds::iter).map(ExternalId::as_str).collect();
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

/// References of earlier operations to entries, which are read by their sequences later.
#[derive(Default)]
struct Pointers {
    replays: Vec<Replay>,
    payments: Vec<PaymentPointer>,
}

/// A key answered with the entry of another key.
struct Replay {
    account_id: AccountId,
    key: IdempotencyKey,
    fingerprint: Fingerprint,
    sequence: i64,
}

/// A name of a payment that is known.
struct PaymentPointer {
    external_id: ExternalId,
    account_id: AccountId,
    sequence: i64,
}

impl TryFrom<PaymentRow> for PaymentPointer {
    type Error = LedgerError;

    fn try_from((external_id, account_id, sequence): PaymentRow) -> Result<Self, LedgerError> {
        let external_id = ExternalId::parse("external_id", &external_id)?;
        Ok(Self { external_id, account_id: AccountId::parse("account_id", &account_id)?, sequence })
    }
}

fn put_keyed_entry((row, refunded): (EntryRow, i64), book: &mut Book) -> Result<(), LedgerError> {
    let recorded = row.recorded()?;
    if let Answer::Applied(entry) = &recorded.answer
        && let Some(key) = entry.idempotency_key.clone()
    {
        let account_id = entry.account_id.clone();
        book.put_original(Original { entry: Arc::clone(entry), refunded: MicroUsd::new(refunded) });
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

/// Reads the reservations with expired leases. Each account gets an equal share, so that none delays the others.
async fn read_lapsed(
    connection: &AsyncPgConnection,
    now: Timestamp,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    let mut due: BTreeMap<AccountId, Due> = book
        .accounts()
        .filter(|(_, account)| account.may_have_lapsed(now))
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

/// Reads the entries that refunds, replays and payments refer to, and adds all three to the book.
async fn read_pointed_entries(
    connection: &AsyncPgConnection,
    commands: &[Command],
    pointers: Pointers,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    let wanted = pointed_entries(commands, &pointers, book);
    if !wanted.is_empty() {
        let (account_ids, sequences) = wanted.iter().map(|(id, sequence)| (id.as_str(), *sequence)).unzip();
        let rows = ReadEntries { account_ids, sequences }.load::<(EntryRow, i64)>(&mut &*connection).await?;
        for (row, refunded) in rows {
            book.put_original(Original {
                entry: Arc::new(row.try_into()?),
                refunded: MicroUsd::new(refunded),
            });
        }
    }
    for Replay { account_id, key, fingerprint, sequence } in pointers.replays {
        let Some(original) = book.original(&account_id, sequence) else {
            return Err(LedgerError::Corrupt(format!("a key answered with no entry: {key}")).into());
        };
        let answer = Answer::Applied(Arc::clone(&original.entry));
        book.put_answer(&account_id, key, Recorded { fingerprint, answer });
    }
    for PaymentPointer { external_id, account_id, sequence } in pointers.payments {
        let entry = book.original(&account_id, sequence).map(|original| Arc::clone(&original.entry));
        book.put_payment(external_id, Payment { account_id, sequence, entry });
    }
    Ok(())
}

/// The entries to read, by account and sequence. Only entries of locked accounts are needed.
fn pointed_entries(commands: &[Command], pointers: &Pointers, book: &Book) -> BTreeSet<(AccountId, i64)> {
    let replays = pointers.replays.iter().map(|replay| (replay.account_id.clone(), replay.sequence));
    let payments = pointers.payments.iter().map(|payment| (payment.account_id.clone(), payment.sequence));
    let charges = commands.iter().filter_map(|command| {
        let sequence = command.references().charge?.sequence(book, command.account_id())?;
        Some((command.account_id().clone(), sequence))
    });
    let wanted = replays.chain(payments).chain(charges);
    wanted
        .filter(|(id, sequence)| book.account(id).is_some() && book.original(id, *sequence).is_none())
        .collect()
}
