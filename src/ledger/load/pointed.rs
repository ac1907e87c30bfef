//! The entries that a batch of commands points to: the answers that were other keys' entries, payments, what is undone, and legs.

use std::{collections::BTreeSet, sync::Arc};

use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::{
    accounting::{
        AccountId, Answer, Book, Command, Entry, ExternalId, Fingerprint, IdempotencyKey, Original, Payment,
        Recorded,
    },
    ledger::{
        LedgerError,
        error::TransactionEnd,
        rows::{self, EntryRow},
        statements::ReadEntries,
    },
};

/// An entry, and what has been undone of it.
pub(super) type PointedRow = (EntryRow, Vec<i64>);
pub(super) type PaymentRow = (String, String, i64);

/// References of earlier operations to entries, which are read by their sequences later.
#[derive(Default)]
pub(super) struct Pointers {
    pub(super) replays: Vec<Replay>,
    pub(super) payments: Vec<(ExternalId, Payment)>,
}

/// A key answered with the entry of another key.
pub(super) struct Replay {
    pub(super) account_id: AccountId,
    pub(super) key: IdempotencyKey,
    pub(super) fingerprint: Fingerprint,
    pub(super) sequence: i64,
}

pub(super) fn payment(
    (external_id, account_id, sequence): PaymentRow,
) -> Result<(ExternalId, Payment), LedgerError> {
    let external_id = ExternalId::parse("external_id", &external_id)?;
    let account_id = AccountId::parse("account_id", &account_id)?;
    Ok((external_id, Payment { account_id, sequence }))
}

/// Reads the entries that replays, payments and operations refer to, and adds all of them to the book; of reversals, also the
/// credits that these took back.
pub(super) async fn read_pointed_entries(
    connection: &AsyncPgConnection,
    commands: &[Command],
    pointers: Pointers,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    let replays = pointers.replays.iter().map(|replay| (replay.account_id.clone(), replay.sequence));
    let mut wanted: BTreeSet<(AccountId, i64)> = replays.collect();
    for (external_id, payment) in pointers.payments {
        wanted.insert((payment.account_id.clone(), payment.sequence));
        book.put_payment(external_id, payment);
    }
    wanted.extend(commands.iter().filter_map(|command| undone_by(command, book)));
    read_originals(connection, wanted, book).await?;
    for Replay { account_id, key, fingerprint, sequence } in pointers.replays {
        let Some(original) = book.original(&account_id, sequence) else {
            return Err(LedgerError::Corrupt(format!("a key answered with no entry: {key}")).into());
        };
        let answer = Answer::Applied(Arc::clone(&original.entry));
        book.put_answer(&account_id, key, Recorded { fingerprint, answer });
    }
    let credits = commands.iter().filter_map(|command| {
        let (account_id, sequence) = undone_by(command, book)?;
        let credit = book.original(&account_id, sequence)?.entry.reversed_sequence?;
        Some((account_id, credit))
    });
    read_originals(connection, credits.collect(), book).await
}

/// The entries of legs to read: of those that answer commands, and of the debits that commands take back from payees.
pub(super) fn legs_wanted(
    commands: &[Command],
    book: &Book,
) -> Result<BTreeSet<(AccountId, i64)>, TransactionEnd> {
    let (mut wanted, mut payees) = (BTreeSet::new(), BTreeSet::new());
    for command in commands {
        let answer = book.answer(command.account_id(), command.key()).map(|recorded| &recorded.answer);
        if let Some(Answer::Applied(entry)) = answer {
            wanted.extend(paid_legs(entry));
        }
        let debit = undone_by(command, book).filter(|_| command.references().takes_back);
        if let Some(debit) = debit.and_then(|(account_id, sequence)| book.original(&account_id, sequence)) {
            wanted.extend(paid_legs(&debit.entry));
            payees.extend(paid_legs(&debit.entry).map(|(account_id, _)| account_id));
        }
    }
    payees.retain(|payee| book.account(payee).is_none());
    if !payees.is_empty() {
        return Err(TransactionEnd::AccountsNeeded(payees));
    }
    Ok(wanted)
}

/// The entries of the legs of an entry.
fn paid_legs(entry: &Entry) -> impl Iterator<Item = (AccountId, i64)> {
    let paid = entry.legs.iter().filter(|leg| leg.sequence > 0);
    paid.map(|leg| (leg.account_id.clone(), leg.sequence))
}

/// The entry that a command undoes, if it is known by that name.
pub(super) fn undone_by(command: &Command, book: &Book) -> Option<(AccountId, i64)> {
    let sequence = book.sequence_of(command.account_id(), command.references().entry?)?;
    Some((command.account_id().clone(), sequence))
}

/// Reads entries by account and sequence, unless they are in the book. Only those of locked accounts are needed.
pub(super) async fn read_originals(
    connection: &AsyncPgConnection,
    mut wanted: BTreeSet<(AccountId, i64)>,
    book: &mut Book,
) -> Result<(), TransactionEnd> {
    wanted.retain(|(id, sequence)| book.account(id).is_some() && book.original(id, *sequence).is_none());
    if wanted.is_empty() {
        return Ok(());
    }
    let (account_ids, sequences) = wanted.iter().map(|(id, sequence)| (id.as_str(), *sequence)).unzip();
    let rows = ReadEntries { account_ids, sequences }.load::<PointedRow>(&mut &*connection).await?;
    for (row, undone) in rows {
        book.put_original(Original { entry: Arc::new(row.try_into()?), undone: rows::undone(&undone)? });
    }
    Ok(())
}
