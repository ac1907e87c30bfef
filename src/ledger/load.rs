//! Reads the part of the book that some commands name: locks first, then everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use diesel::data_types::PgTimestamp;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    LedgerError, TransactionEnd,
    pipeline::{execute, in_one_go},
    rows::{self, EntryRow, RefusalRow, ReservationRow},
    statements::{LockAccounts, OpenAccounts, ReadEntries, ReadLapsed, ReadPrior},
};
use crate::accounting::{
    Account, AccountId, Answer, Book, Charge, ChargeName, Command, CreditKind, EntryType, ExternalCredit,
    ExternalId, Fingerprint, IdempotencyKey, MicroUsd, Recorded, Reservation, Timestamp,
};

type LockedRow = (String, i64, i64, i64, PgTimestamp, Option<PgTimestamp>, PgTimestamp);
type ReplayRow = (Vec<u8>, i64);
type ExternalRow = (i16, String, String, i64);
type PriorRow = (
    String,
    String,
    Option<EntryRow>,
    Option<RefusalRow>,
    Option<ReplayRow>,
    Option<ExternalRow>,
    Option<ReservationRow>,
);

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
    let ((), _, locked, prior) = in_one_go!(
        execute(connection, "BEGIN"),
        async {
            let account_ids = if open_accounts { account_ids.clone() } else { return Ok(Vec::new()) };
            OpenAccounts { account_ids }.load::<i64>(&mut &*connection).await
        },
        async {
            LockAccounts { account_ids: account_ids.clone() }.load::<LockedRow>(&mut &*connection).await
        },
        async { wanted(commands).load::<PriorRow>(&mut &*connection).await },
    )?;
    let mut book = Book::default();
    let now = put_accounts(locked, account_ids.len(), &mut book)?;
    let mut pointers = Pointers::default();
    for row in prior {
        put_prior(row, &mut book, &mut pointers)?;
    }
    read_lapsed(connection, commands, now, &mut book).await?;
    read_pointed_entries(connection, commands, pointers, &mut book).await?;
    Ok((book, now))
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

/// What commands name.
fn wanted(commands: &[Command]) -> ReadPrior<'_> {
    let mut prior = ReadPrior::default();
    for command in commands {
        prior.want(command.account_id(), command.key(), command.external_payment(), command.reservation_id());
        if let Some(ChargeName::Key(charge_key)) = command.refunded() {
            prior.want(command.account_id(), charge_key, None, None);
        }
    }
    prior
}

impl<'a> ReadPrior<'a> {
    fn want(
        &mut self,
        account_id: &'a AccountId,
        key: &'a IdempotencyKey,
        payment: Option<(CreditKind, &'a ExternalId)>,
        reservation_id: Option<&'a IdempotencyKey>,
    ) {
        self.account_ids.push(account_id.as_str());
        self.keys.push(key.as_str());
        self.credit_types.push(payment.map(|(kind, _)| EntryType::Credit(kind).number()));
        self.external_ids.push(payment.map(|(_, external_id)| external_id.as_str()));
        self.reservation_ids.push(reservation_id.map(IdempotencyKey::as_str));
    }
}

fn put_prior(row: PriorRow, book: &mut Book, pointers: &mut Pointers) -> Result<(), LedgerError> {
    let (account_id, key, entry, refusal, replay, payment, reservation) = row;
    if let Some(reservation) = reservation {
        book.put_reservation(reservation.try_into()?);
    }
    let account_id = AccountId::parse("account_id", &account_id)?;
    let key = IdempotencyKey::parse("idempotency_key", &key)?;
    if let Some(entry) = entry {
        book.put_answer(&account_id, key, entry.recorded()?);
    } else if let Some(refusal) = refusal {
        book.put_answer(&account_id, key, refusal.recorded()?);
    } else if let Some((fingerprint, sequence)) = replay {
        let fingerprint = Fingerprint::recorded(fingerprint);
        pointers.replays.push(Replay { account_id, key, fingerprint, sequence });
    }
    if let Some((entry_type, external_id, account_id, sequence)) = payment {
        let Some(EntryType::Credit(kind)) = EntryType::from_number(entry_type) else {
            return Err(LedgerError::Corrupt(format!("an external credit of type {entry_type}")));
        };
        let external_id = ExternalId::parse("external_id", &external_id)?;
        let account_id = AccountId::parse("account_id", &account_id)?;
        pointers.payments.push(Payment { kind, external_id, account_id, sequence });
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
