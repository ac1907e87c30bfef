//! Reads: accounts, entries, and what became of an operation. Each is index look-ups in one account.

use std::{sync::Arc, time::Duration};

use diesel::{data_types::PgTimestamp, prelude::*, sql_types::Bool};
use diesel_async::{AsyncPgConnection, methods::LoadQuery};
use tracing::Instrument as _;

use super::{
    Ledger, LedgerError,
    error::{Remedy, remedy},
    lookups::{
        AccountAsOf, AccountNow, CountOpenReservations, LastSequenceBefore, ListDue, ListOpenReservations,
        ListReservations, ReadReservation,
    },
    rows::{self, AccountNowRow, EntryRow, RefusalRow, ReservationRow},
    schema::{external_replays, ledger_entries, refusals},
};
use crate::{
    accounting::{
        AccountId, Answer, Balance, Entry, EntryType, IdempotencyKey, Reference, Reservation,
        ReservationState, Timestamp,
    },
    telemetry::spans,
};

/// How many entries one page looks through at most: a rare type in a long journal takes several pages, not one long
/// query.
const SCANNED_MAX: i64 = 10_000;

/// An account at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountView {
    /// Its money.
    pub balance: Balance,
    /// The sequence of the newest entry.
    pub last_sequence: i64,
    /// When the first entry was written.
    pub create_time: Timestamp,
    /// When the newest entry was written.
    pub update_time: Timestamp,
}

/// An account in which leases may have run out that are not written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAccount {
    /// The account.
    pub account_id: AccountId,
    /// No lease ran out before this.
    pub expire_time: Timestamp,
}

/// Which entries of an account, as bounds of their sequences: above `after`, up to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySpan {
    /// The sequence right before the first entry.
    pub after: i64,
    /// The sequence of the last entry.
    pub last: i64,
}

/// Which entries of a span.
#[derive(Debug, Clone, Default)]
pub struct EntryQuery {
    /// Only these types; all when empty.
    pub entry_types: Vec<EntryType>,
    /// Only this reference.
    pub reference: Option<Reference>,
}

/// Reservations, newest first.
#[derive(Debug)]
pub struct ReservationPage {
    /// The reservations.
    pub reservations: Vec<Reservation>,
    /// Where to go on, as in [`EntryPage`].
    pub rest: Option<EntrySpan>,
}

/// Entries, newest first.
#[derive(Debug)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where to go on: the same span without what has been looked through. `None` at the end.
    pub rest: Option<EntrySpan>,
}

impl Ledger {
    /// An account as it stands. `None` before its first entry.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn account_get(&self, account_id: &AccountId) -> Result<Option<AccountView>, LedgerError> {
        let query = AccountNow { account_id: account_id.to_string() };
        self.read_one::<_, AccountNowRow>(query).await?.map(AccountView::try_from).transpose()
    }

    /// An account as it stood at a moment, which is now if it is yet to come. `None` before its first entry.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn account_get_as_of(
        &self,
        account_id: &AccountId,
        as_of: Timestamp,
    ) -> Result<Option<AccountView>, LedgerError> {
        let query = AccountAsOf { account_id: account_id.to_string(), time: rows::pg_timestamp(as_of) };
        self.read_one::<_, AccountNowRow>(query).await?.map(AccountView::try_from).transpose()
    }

    /// The entry with a sequence.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn entry_get(
        &self,
        account_id: &AccountId,
        sequence: i64,
    ) -> Result<Option<Entry>, LedgerError> {
        let key = (account_id.to_string(), sequence);
        let query = ledger_entries::table.find(key).select(EntryRow::as_select());
        self.read_one(query).await?.map(Entry::try_from).transpose()
    }

    /// How an operation was answered. `None` if nothing has happened under its key.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn operation_get(
        &self,
        account_id: &AccountId,
        key: &IdempotencyKey,
    ) -> Result<Option<Answer>, LedgerError> {
        let entry = ledger_entries::table
            .filter(ledger_entries::account_id.eq(account_id.to_string()))
            .filter(ledger_entries::idempotency_key.eq(key.to_string()))
            .select(EntryRow::as_select());
        if let Some(row) = self.read_one(entry).await? {
            return Ok(Some(Answer::Applied(Arc::new(row.try_into()?))));
        }
        let key = (account_id.to_string(), key.to_string());
        let refusal = refusals::table.find(key.clone()).select(RefusalRow::as_select());
        if let Some(row) = self.read_one(refusal).await? {
            return Ok(Some(Answer::Refused(Arc::new(row.try_into()?))));
        }
        let replay = external_replays::table.find(key).select(external_replays::sequence);
        let Some(sequence) = self.read_one(replay).await? else { return Ok(None) };
        let entry = self.entry_get(account_id, sequence).await?;
        Ok(entry.map(|entry| Answer::Applied(Arc::new(entry))))
    }

    /// The sequences of an account's entries written at `from` or later and before `until`. `None` if there is no such
    /// account.
    ///
    /// # Errors
    /// When the database is away.
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

    /// Up to `limit` entries of a span, newest first. Looks through a bounded part of it: sequences have no gaps, so
    /// what has been looked through is known without counting.
    ///
    /// # Errors
    /// When the database is away.
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
        self.read(select).await
    }

    /// A reservation, as it is now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn reservation_get(
        &self,
        account_id: &AccountId,
        reservation_id: &IdempotencyKey,
    ) -> Result<Option<Reservation>, LedgerError> {
        let (account_id, reservation_id) = (account_id.to_string(), reservation_id.to_string());
        let row = self.read_one(ReadReservation { account_id, reservation_id }).await?;
        row.map(reservation_at).transpose()
    }

    /// Up to `limit` reservations that entries of a span opened, newest first, as they are now: all of them, or those in
    /// one state. Looks through a bounded part of the span, unless it is asked for those that are open.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn reservation_list(
        &self,
        account_id: &AccountId,
        span: EntrySpan,
        state: Option<ReservationState>,
        limit: usize,
    ) -> Result<ReservationPage, LedgerError> {
        let limit_bind = i64::try_from(limit).unwrap_or(i64::MAX);
        let id = account_id.to_string();
        let (after, rows) = if state == Some(ReservationState::Open) {
            let query = ListOpenReservations { account_id: id, span, limit: limit_bind };
            (span.after, self.read(query).await?)
        } else {
            let after = span.after.max(span.last.saturating_sub(SCANNED_MAX));
            let state = state.map_or(0, ReservationState::number);
            let span = EntrySpan { after, ..span };
            let query = ListReservations { account_id: id, span, state, limit: limit_bind };
            (after, self.read(query).await?)
        };
        let reservations = rows.into_iter().map(reservation_at).collect::<Result<Vec<_>, _>>()?;
        let last = match reservations.last() {
            Some(reservation) if reservations.len() == limit => reservation.sequence - 1,
            Some(_) | None => after,
        };
        Ok(ReservationPage { reservations, rest: span.up_to(last) })
    }

    /// Accounts in which leases may have run out that are not written down, those first in which the first ran out first: up
    /// to `limit` of those that come after `last`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn due_list(
        &self,
        last: Option<&DueAccount>,
        limit: usize,
    ) -> Result<Vec<DueAccount>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (time, account_id) = match last {
            Some(last) => (rows::pg_timestamp(last.expire_time), last.account_id.to_string()),
            None => (PgTimestamp(i64::MIN), String::new()), // -infinity
        };
        let rows: Vec<(String, PgTimestamp)> = self.read(ListDue { time, account_id, limit }).await?;
        rows.into_iter()
            .map(|(account_id, expire_time)| {
                let account_id = AccountId::parse("account_id", &account_id)?;
                Ok(DueAccount { account_id, expire_time: rows::timestamp(expire_time) })
            })
            .collect()
    }

    /// How many reservations are open, those included whose leases have run out and that do not know yet, and how long the
    /// oldest has been.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn open_reservations(&self) -> Result<(i64, Duration), LedgerError> {
        let (count, oldest_seconds): (i64, i64) =
            self.read_one(CountOpenReservations).await?.unwrap_or_default();
        Ok((count, Duration::from_secs(u64::try_from(oldest_seconds).unwrap_or_default())))
    }

    /// The sequence of the newest entry written before a moment; 0 if there is none.
    async fn last_sequence_before(
        &self,
        account_id: &AccountId,
        time: Timestamp,
    ) -> Result<i64, LedgerError> {
        let account_id = account_id.to_string();
        let query = LastSequenceBefore { account_id, time: rows::pg_timestamp(time) };
        Ok(self.read_one(query).await?.unwrap_or_default())
    }

    async fn read_one<Q, T>(&self, query: Q) -> Result<Option<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.read(query).await?.pop())
    }

    /// Runs a read, and once more where its connection was lost: reading twice does no harm.
    async fn read<Q, T>(&self, query: Q) -> Result<Vec<T>, LedgerError>
    where
        Q: LoadQuery<'static, AsyncPgConnection, T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let read = async {
            match self.readers.query(query.clone()).await? {
                Err(error) if remedy(&error) == Remedy::Reconnect => Ok(self.readers.query(query).await??),
                read => Ok(read?),
            }
        };
        read.instrument(spans::read()).await
    }
}

impl EntrySpan {
    /// The part of the span up to a sequence, if that has any entries.
    fn up_to(self, last: i64) -> Option<Self> {
        Some(Self { last, ..self }).filter(|rest| rest.last > rest.after)
    }
}

fn reservation_at((row, now): (ReservationRow, PgTimestamp)) -> Result<Reservation, LedgerError> {
    Ok(Reservation::try_from(row)?.at(rows::timestamp(now)))
}
