//! Entries as they are read, and what a page of them refers to in other books: the legs that its entries list, and the payers'
//! entries of its legs.

use diesel::{
    data_types::PgTimestamp,
    sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde_json::Value;

use super::{session::Session, sources::paid_by_other};
use crate::{
    database::cursor::{Bind, Sql},
    ledger::LedgerError,
};

/// The columns of an entry, as its query selects them.
pub(super) type EntryColumns = (
    (Text, BigInt, SmallInt, BigInt, BigInt, BigInt, BigInt, Timestamptz, Nullable<BigInt>),
    (Nullable<Array<Text>>, Timestamptz, BigInt, Nullable<SmallInt>, Nullable<BigInt>),
    (Bool, Bool, Bool, Bool),
    (Integer, Bool, Nullable<SmallInt>, Bool),
    (Nullable<BigInt>, BigInt, BigInt, Nullable<Array<BigInt>>),
    (Nullable<Array<BigInt>>, Nullable<BigInt>, Bool, Nullable<BigInt>),
    (Nullable<Timestamptz>, Nullable<Jsonb>, BigInt, BigInt),
    (Nullable<Jsonb>, Nullable<Text>, Nullable<BigInt>),
);

/// An entry, as it is read.
pub(super) type EntryRow = (
    (String, i64, i16, i64, i64, i64, i64, PgTimestamp, Option<i64>),
    (Option<Vec<String>>, PgTimestamp, i64, Option<i16>, Option<i64>),
    (bool, bool, bool, bool),
    (i32, bool, Option<i16>, bool),
    (Option<i64>, i64, i64, Option<Vec<i64>>),
    (Option<Vec<i64>>, Option<i64>, bool, Option<i64>),
    (Option<PgTimestamp>, Option<Value>, i64, i64),
    (Option<Value>, Option<String>, Option<i64>),
);

/// The legs e that entries list, by the numbers of these entries: those that are there.
const LEGS: &str = "\
    SELECT e.number FROM unnest({}, {}, {}, {}, {}, {}) \
        AS e(account_id, sequence, amount_micro_usd, source_account_id, source_sequence, number) \
    JOIN ledger_entries p ON p.account_id = e.account_id AND p.sequence = e.sequence \
        AND p.amount_micro_usd = e.amount_micro_usd \
        AND p.source_account_id = e.source_account_id AND p.source_sequence = e.source_sequence";

/// What payers' entries have paid to their legs e, by the numbers of these.
const PAID: &str = concat!(
    "SELECT e.number, ",
    paid_by_other!(),
    " FROM unnest({}, {}, {}, {}, {}) AS e(account_id, sequence, source_account_id, source_sequence, number)"
);

/// Completes the rows of a page of a book with what stands in others. Leaves the session turned to its own.
pub(super) async fn look_up(session: &mut Session, rows: &mut [EntryRow]) -> Result<(), LedgerError> {
    let own = session.book;
    for book in 0..session.books.count() {
        if book == own {
            continue;
        }
        let (legs, sources) = wanted_of(book, session, rows);
        if legs.numbers.is_empty() && sources.numbers.is_empty() {
            continue;
        }
        session.turn_to(book).await?;
        if !legs.numbers.is_empty() {
            for number in session.load::<_, i64>(Sql::<BigInt>::new(LEGS, legs.binds())).await? {
                if let Some([_, found, _]) = row(rows, number).and_then(|row| row.5.0.as_deref_mut()) {
                    *found += 1;
                }
            }
        }
        if sources.numbers.is_empty() {
            continue;
        }
        let paid = Sql::<(BigInt, Nullable<BigInt>)>::new(PAID, sources.binds());
        for (number, paid) in session.load::<_, (i64, Option<i64>)>(paid).await? {
            if let Some(row) = row(rows, number) {
                row.5.3 = paid;
            }
        }
    }
    if session.book == own { Ok(()) } else { session.turn_to(own).await }
}

/// What a page wants of a book: the legs that it lists, and the payers' entries of its own.
fn wanted_of(book: usize, session: &Session, rows: &[EntryRow]) -> (Wanted, Wanted) {
    let is_there = |account_id: &str| session.books.number_of(account_id) == book;
    (legs_in(rows, is_there), sources_in(rows, is_there))
}

fn row(rows: &mut [EntryRow], number: i64) -> Option<&mut EntryRow> {
    rows.get_mut(usize::try_from(number).ok()?)
}

/// Legs, the entries that are to list them, and the numbers of the rows that ask for them.
#[derive(Default)]
struct Wanted {
    account_ids: Vec<String>,
    sequences: Vec<i64>,
    /// Only of legs that are looked for.
    amounts: Vec<i64>,
    source_account_ids: Vec<String>,
    source_sequences: Vec<i64>,
    numbers: Vec<i64>,
}

impl Wanted {
    fn push(&mut self, leg: (&str, i64), source: (&str, i64), number: usize) {
        self.account_ids.push(leg.0.to_owned());
        self.sequences.push(leg.1);
        self.source_account_ids.push(source.0.to_owned());
        self.source_sequences.push(source.1);
        self.numbers.push(i64::try_from(number).unwrap_or(i64::MAX)); // of a page
    }

    fn binds(self) -> Vec<Bind> {
        let amounts = Some(self.amounts).filter(|amounts| !amounts.is_empty()).map(Bind::Numbers);
        let mut binds = vec![Bind::Texts(self.account_ids), Bind::Numbers(self.sequences)];
        binds.extend(amounts);
        let source = [Bind::Texts(self.source_account_ids), Bind::Numbers(self.source_sequences)];
        binds.extend(source);
        binds.push(Bind::Numbers(self.numbers));
        binds
    }
}

/// The legs of a page whose accounts are in a book.
fn legs_in(rows: &[EntryRow], is_there: impl Fn(&str) -> bool) -> Wanted {
    let mut wanted = Wanted::default();
    for (number, row) in rows.iter().enumerate() {
        let (account_id, sequence) = (&row.0.0, row.0.1);
        for leg in row.7.0.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let number_at = |name: &str| leg[name].as_i64();
            if let (Some(payee), Some(of_payee), Some(amount)) =
                (leg["account_id"].as_str(), number_at("sequence"), number_at("amount_micro_usd"))
                && of_payee > 0
                && is_there(payee)
            {
                wanted.push((payee, of_payee), (account_id, sequence), number);
                wanted.amounts.push(amount);
            }
        }
    }
    wanted
}

/// The legs of a page whose payers are in a book.
fn sources_in(rows: &[EntryRow], is_there: impl Fn(&str) -> bool) -> Wanted {
    let mut wanted = Wanted::default();
    for (number, row) in rows.iter().enumerate() {
        if let (Some(source_account_id), Some(source_sequence)) = (&row.7.1, row.7.2)
            && is_there(source_account_id)
        {
            wanted.push((&row.0.0, row.0.1), (source_account_id, source_sequence), number);
        }
    }
    wanted
}
