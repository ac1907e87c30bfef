//! Reads the part of the book that some commands name: locks first, then everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use diesel::{data_types::PgTimestamp, result::QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    LedgerError, TransactionEnd,
    pipeline::{execute, in_one_go},
    rows::{self, EntryRow, RefusalRow, ReservationRow},
    statements::{
        LockAccounts, OpenAccounts, ReadEntries, ReadKeyedEntries, ReadLapsed, ReadOtherAnswers,
        ReadPayments, ReadReservations,
    },
};
use crate::accounting::{
    Account, AccountId, Answer, Book, Charge, ChargeName, Command, CreditKind, EntryType, ExternalCredit,
    ExternalId, Fingerprint, IdempotencyKey, MicroUsd, Recorded, Reservation, Timestamp,
};

type LockedRow = (String, i64, i64, i64, PgTimestamp, Option<PgTimestamp>, PgTimestamp);
type ReplayRow = (Vec<u8>, i64);
type PaymentRow = (i16, String, String, i64);
type AnswerRow = (String, String, Option<RefusalRow>, Option<ReplayRow>);

/// The accounts of commands, in the order of their ids.
fn account_ids(commands: &[Command]) -> Vec<&str> {
    let ids: BTreeSet<&str> = commands.iter().map(|command| command.account_id().as_str()).collect();
    ids.into_iter().collect()
}

/// Begins the transaction, locks the accounts of commands and reads all that the commands name. Returns the database's
/// time, read under the locks.
///
/// Accounts are opened, if asked for, before any is locked: nothing waits for another's new account while it holds one.
pub(super) async fn begin_and_load(
    connection: &AsyncPgConnection,
    commands: &[Command],
    open_accounts: bool,
) -> Result<(Book, Timestamp), TransactionEnd> {
    let account_ids = account_ids(commands);
    let ((), (), locked, entries, answers, payments, reservations) = in_one_go!(
        execute(connection, "BEGIN"),
        open(connection, account_ids.clone(), open_accounts),
        lock(connection, account_ids.clone()),
        read_keyed_entries(connection, commands),
        read_other_answers(connection, commands),
        read_payments(connection, commands),
        read_reservations(connection, commands),
    )?;
    let mut book = Book::default();
    let mut pointers = Pointers::default();
    let now = put_accounts(locked, account_ids.len(), &mut book)?;
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
    read_lapsed(connection, commands, now, &mut book).await?;
    read_pointed_entries(connection, commands, pointers, &mut book).await?;
    Ok((book, now))
}

async fn open(mut connection: &AsyncPgConnection, account_ids: Vec<&str>, wanted: bool) -> QueryResult<()> {
    if wanted {
        OpenAccounts { account_ids }.load::<i64>(&mut connection).await?;
    }
    Ok(())
}

async fn lock(mut connection: &AsyncPgConnection, account_ids: Vec<&str>) -> QueryResult<Vec<LockedRow>> {
    LockAccounts { account_ids }.load(&mut connection).await
}

async fn read_keyed_entries(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<EntryRow>> {
    let (account_ids, keys) = keys(commands).unzip();
    ReadKeyedEntries { account_ids, keys }.load(&mut connection).await
}

async fn read_other_answers(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<AnswerRow>> {
    let (account_ids, keys) = keys(commands).unzip();
    ReadOtherAnswers { account_ids, keys }.load(&mut connection).await
}

/// The keys of commands, and those by which they name charges.
fn keys(commands: &[Command]) -> impl Iterator<Item = (&str, &str)> {
    commands.iter().flat_map(|command| {
        let charge_key = match command.refunded() {
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
    let (credit_types, external_ids): (Vec<_>, Vec<_>) = commands
        .iter()
        .filter_map(Command::external_payment)
        .map(|(kind, external_id)| (EntryType::Credit(kind).number(), external_id.as_str()))
        .unzip();
    if external_ids.is_empty() {
        return Ok(Vec::new());
    }
    ReadPayments { credit_types, external_ids }.load(&mut connection).await
}

async fn read_reservations(
    mut connection: &AsyncPgConnection,
    commands: &[Command],
) -> QueryResult<Vec<ReservationRow>> {
    let (account_ids, reservation_ids): (Vec<_>, Vec<_>) = commands
        .iter()
        .filter_map(|command| Some((command.account_id().as_str(), command.reservation_id()?.as_str())))
        .unzip();
    if reservation_ids.is_empty() {
        return Ok(Vec::new());
    }
    ReadReservations { account_ids, reservation_ids }.load(&mut connection).await
}

fn put_accounts(rows: Vec<LockedRow>, wanted: usize, book: &mut Book) -> Result<Timestamp, TransactionEnd> {
    let now = rows.iter().map(|row| rows::timestamp(row.6)).max();
    let Some(now) = now.filter(|_| rows.len() == wanted) else {
        return Err(TransactionEnd::AccountsMissing);
    };
    for (account_id, posted, held, last_sequence, update_time, next_expire_time, _) in rows {
        let account = Account {
            balance: rows::balance(posted, held)?,
            last_sequence,
            update_time: rows::timestamp(update_time),
            next_expire_time: next_expire_time.map(rows::timestamp),
        };
        book.put_account(AccountId::parse("account_id", &account_id).map_err(LedgerError::from)?, account);
    }
    Ok(now)
}

/// What earlier operations point to: entries of the same accounts, yet to be read by their sequences.
#[derive(Default)]
struct Pointers {
    replays: Vec<Replay>,
    payments: Vec<Payment>,
}

/// A key answered with the entry of another key.
struct Replay {
    account_id: AccountId,
    key: IdempotencyKey,
    fingerprint: Fingerprint,
    sequence: i64,
}

/// A payment credited before.
struct Payment {
    kind: CreditKind,
    external_id: ExternalId,
    account_id: AccountId,
    sequence: i64,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = LedgerError;

    fn try_from((entry_type, external_id, account_id, sequence): PaymentRow) -> Result<Self, LedgerError> {
        let Some(EntryType::Credit(kind)) = EntryType::from_number(entry_type) else {
            return Err(LedgerError::Corrupt(format!("an external credit of type {entry_type}")));
        };
        let external_id = ExternalId::parse("external_id", &external_id)?;
        let account_id = AccountId::parse("account_id", &account_id)?;
        Ok(Self { kind, external_id, account_id, sequence })
    }
}

fn put_keyed_entry(row: EntryRow, book: &mut Book) -> Result<(), LedgerError> {
    let recorded = row.recorded()?;
    if let Answer::Applied(entry) = &recorded.answer
        && let Some(key) = entry.idempotency_key.clone()
    {
        let account_id = entry.account_id.clone();
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

/// Reads the reservations whose leases have run out, of the accounts that may have some.
async fn read_lapsed(
    connection: &AsyncPgConnection,
    commands: &[Command],
    now: Timestamp,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    let times: BTreeMap<&AccountId, Timestamp> = commands
        .iter()
        .filter_map(|command| {
            let account = book.account(command.account_id())?;
            let time = account.time(now);
            account.next_expire_time.is_some_and(|next| next <= time).then_some((command.account_id(), time))
        })
        .collect();
    if times.is_empty() {
        return Ok(());
    }
    let (account_ids, binds) =
        times.iter().map(|(id, time)| (id.as_str(), rows::pg_timestamp(*time))).unzip();
    for account_id in times.keys() {
        book.put_next_expire_time(account_id, None);
    }
    for row in (ReadLapsed { account_ids, times: binds }).load::<ReservationRow>(&mut &*connection).await? {
        let reservation = Reservation::try_from(row)?;
        if reservation.status.expire_time > times[&reservation.account_id] {
            book.put_next_expire_time(&reservation.account_id, Some(reservation.status.expire_time));
        }
        book.put_reservation(reservation);
    }
    Ok(())
}

/// Reads the entries that refunds, replays and payments point to, and puts all three into the book.
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
            book.put_charge(Charge { entry: Arc::new(row.try_into()?), refunded: MicroUsd::new(refunded) });
        }
    }
    for Replay { account_id, key, fingerprint, sequence } in pointers.replays {
        let Some(charge) = book.charge(&account_id, sequence) else {
            return Err(LedgerError::Corrupt(format!("a key answered with no entry: {key}")).into());
        };
        let answer = Answer::Applied(Arc::clone(&charge.entry));
        book.put_answer(&account_id, key, Recorded { fingerprint, answer });
    }
    for Payment { kind, external_id, account_id, sequence } in pointers.payments {
        let entry = book.charge(&account_id, sequence).map(|charge| Arc::clone(&charge.entry));
        book.put_external_credit(kind, external_id, ExternalCredit { account_id, sequence, entry });
    }
    Ok(())
}

/// The entries to read, by account and sequence. Only of accounts which are locked: nobody else's are needed.
fn pointed_entries(commands: &[Command], pointers: &Pointers, book: &Book) -> BTreeSet<(AccountId, i64)> {
    let replays = pointers.replays.iter().map(|replay| (replay.account_id.clone(), replay.sequence));
    let payments = pointers.payments.iter().map(|payment| (payment.account_id.clone(), payment.sequence));
    let charges = commands.iter().filter_map(|command| {
        let sequence = match command.refunded()? {
            ChargeName::Sequence(sequence) => *sequence,
            ChargeName::Key(key) => match &book.answer(command.account_id(), key)?.answer {
                Answer::Applied(entry) => entry.sequence,
                Answer::Refused(_) => return None,
            },
        };
        Some((command.account_id().clone(), sequence))
    });
    replays.chain(payments).chain(charges).filter(|(id, _)| book.account(id).is_some()).collect()
}
