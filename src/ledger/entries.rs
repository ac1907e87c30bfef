//! Reads of the journal: one entry, or the entries of a span, newest first.

use diesel::{
    data_types::PgTimestamp,
    prelude::*,
    sql_types::{BigInt, Bool, Text, Timestamptz},
};

use super::{
    Ledger, LedgerError,
    read::{SCANNED_MAX, read},
    rows::{self, EntryColumns, EntryRow},
    statements::entry_columns,
};
use crate::{
    accounting::{AccountId, Entry, EntryType, ExternalId, Reference, Timestamp},
    schema::tables::ledger_entries,
};

/// A range of an account's sequences: above `after`, up to and including `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySpan {
    /// The sequence right before the first entry.
    pub after: i64,
    /// The sequence of the last entry.
    pub last: i64,
}

/// A filter on the entries of a span.
#[derive(Debug, Clone, Default)]
pub struct EntryQuery {
    /// Only these types; all if empty.
    pub entry_types: Vec<EntryType>,
    /// Only this reference.
    pub reference: Option<Reference>,
}

/// Entries, newest first.
#[derive(Debug)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The part of the span that has not been scanned; `None` at the end.
    pub rest: Option<EntrySpan>,
}

read! {
    /// The sequence of the newest entry before a time, by binary search: within an account times never decrease and
    /// sequences have no gaps, so the primary key serves as an index on time.
    LastSequenceBefore {
        account_id: String,
        time: PgTimestamp,
    } -> BigInt,
    [account_id => Text, time => Timestamptz],
    "WITH RECURSIVE wanted AS (SELECT {}::text AS account_id, {}::timestamptz AS time), search(low, high) AS (\
                 SELECT 0::bigint, last_sequence::bigint FROM accounts, wanted \
                 WHERE accounts.account_id = wanted.account_id \
             UNION ALL \
                 SELECT CASE WHEN coalesce(e.effective_time, e.create_time) < w.time THEN e.sequence::bigint ELSE s.low END, \
                        CASE WHEN coalesce(e.effective_time, e.create_time) < w.time THEN s.high ELSE e.sequence - 1 END \
                 FROM search s CROSS JOIN wanted w JOIN ledger_entries e \
                     ON e.account_id = w.account_id AND e.sequence = s.low + (s.high - s.low + 1) / 2 \
                 WHERE s.low < s.high\
             ) SELECT low FROM search WHERE low = high"
}

read! {
    /// The entry of a payment.
    ReadPayment { external_id: String } -> EntryColumns,
    [external_id => Text],
    concat!(
        "SELECT ", entry_columns!(), " FROM payments p \
         JOIN ledger_entries e ON e.account_id = p.account_id AND e.sequence = p.sequence WHERE p.external_id = {}"
    )
}

read! {
    /// The account of a payment, and the sequence of its entry there.
    LocatePayment { external_id: String } -> (Text, BigInt),
    [external_id => Text],
    "SELECT p.account_id, p.sequence FROM payments p WHERE p.external_id = {}"
}

impl Ledger {
    /// The entry with a sequence.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn entry_get(
        &self,
        account_id: &AccountId,
        sequence: i64,
    ) -> Result<Option<Entry>, LedgerError> {
        let found = self.book(account_id).by_key.entries.find((account_id.to_string(), sequence)).await?;
        found.map(Entry::try_from).transpose()
    }

    /// The entry of a payment, by any of its names.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn payment_find(&self, external_id: &ExternalId) -> Result<Option<Entry>, LedgerError> {
        let external_id = external_id.to_string();
        if self.book_count() == 1 {
            let found: Option<EntryRow> =
                self.books.numbered(0).read_one(ReadPayment { external_id }).await?;
            return found.map(Entry::try_from).transpose();
        }
        let found: Option<(String, i64)> = self.books.read_beside(LocatePayment { external_id }).await?;
        let Some((account_id, sequence)) = found else { return Ok(None) };
        self.entry_get(&AccountId::parse("account_id", &account_id)?, sequence).await
    }

    /// The span of an account's entries that took effect at or after `from` and before `until`. `None` if the account does not
    /// exist.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn entry_span(
        &self,
        account_id: &AccountId,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<EntrySpan>, LedgerError> {
        let Some(account) = self.account_get(account_id).await? else { return Ok(None) };
        let after = match from {
            Some(from) => self.last_sequence_before(account_id, from).await?,
            None => 0,
        };
        let last = match until {
            Some(until) => self.last_sequence_before(account_id, until).await?,
            None => account.last_sequence,
        };
        Ok(Some(EntrySpan { after, last }))
    }

    /// Up to `limit` entries of a span, newest first. Scans a bounded part of it: sequences have no gaps, so the scanned
    /// part is known without counting.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn entry_list(
        &self,
        account_id: &AccountId,
        span: EntrySpan,
        query: &EntryQuery,
        limit: usize,
    ) -> Result<EntryPage, LedgerError> {
        let after = span.after.max(span.last.saturating_sub(SCANNED_MAX));
        let rows = self.entry_rows(account_id, EntrySpan { after, ..span }, query, limit).await?;
        let entries = rows.into_iter().map(Entry::try_from).collect::<Result<Vec<_>, _>>()?;
        let last = match entries.last() {
            Some(entry) if entries.len() == limit => entry.sequence - 1,
            Some(_) | None => after,
        };
        Ok(EntryPage { entries, rest: span.up_to(last) })
    }

    async fn entry_rows(
        &self,
        account_id: &AccountId,
        span: EntrySpan,
        query: &EntryQuery,
        limit: usize,
    ) -> Result<Vec<EntryRow>, LedgerError> {
        let entry_types = match query.entry_types.as_slice() {
            [] => &EntryType::ALL,
            entry_types => entry_types,
        };
        let numbers: Vec<i16> = entry_types.iter().map(|entry_type| entry_type.number()).collect();
        let any_reference = query.reference.is_none().into_sql::<Bool>();
        let reference = query.reference.as_ref().map_or_else(String::new, ToString::to_string);
        let select = ledger_entries::table
            .filter(ledger_entries::account_id.eq(account_id.to_string()))
            .filter(ledger_entries::sequence.gt(span.after))
            .filter(ledger_entries::sequence.le(span.last))
            .filter(ledger_entries::entry_type.eq_any(numbers))
            .filter(any_reference.or(ledger_entries::reference.eq(reference)))
            .order(ledger_entries::sequence.desc())
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(EntryRow::as_select());
        self.book(account_id).read(select).await
    }

    /// The sequence of the newest entry that took effect before a time; 0 if there is none.
    async fn last_sequence_before(
        &self,
        account_id: &AccountId,
        time: Timestamp,
    ) -> Result<i64, LedgerError> {
        let query = LastSequenceBefore { account_id: account_id.to_string(), time: rows::pg_timestamp(time) };
        Ok(self.book(account_id).read_one(query).await?.unwrap_or_default())
    }
}

impl EntrySpan {
    /// The part of the span up to a sequence; `None` if it is empty.
    pub(super) fn up_to(self, last: i64) -> Option<Self> {
        Some(Self { last, ..self }).filter(|rest| rest.last > rest.after)
    }
}
