//! Reads of reservations, as they stand now.

use std::time::Duration;

use diesel::sql_types::{BigInt, SmallInt, Text};
use futures_util::future::try_join_all;

use super::{
    EntrySpan, Ledger, LedgerError,
    by_key::{ReservationNowColumns, ReservationNowRow},
    read::{SCANNED_MAX, read},
    rows,
    statements::reservation_columns,
};
use crate::accounting::{AccountId, IdempotencyKey, Reservation, ReservationState};

/// Reservations, newest first.
#[derive(Debug)]
pub struct ReservationPage {
    /// The reservations.
    pub reservations: Vec<Reservation>,
    /// The rest of the span, as in [`EntryPage`](super::EntryPage).
    pub rest: Option<EntrySpan>,
}

read! {
    /// The reservations that the entries of a span opened, newest first: all, or those in one state.
    ListReservations {
        account_id: String,
        span: EntrySpan,
        /// The number of the state; 0 for all.
        state: i16,
        limit: i64,
    } -> ReservationNowColumns,
    [state => SmallInt, account_id => Text, account_id => Text, span.after => BigInt, span.last => BigInt, limit => BigInt],
    concat!(
        "WITH asked AS (SELECT {}::smallint AS state, greatest(statement_timestamp(), a.update_time) AS time \
             FROM accounts a WHERE a.account_id = {}) \
         SELECT ", reservation_columns!(), ", asked.time FROM asked CROSS JOIN ledger_entries e \
         JOIN reservations v ON v.account_id = e.account_id AND v.reservation_id = e.reservation_id \
         WHERE e.entry_type = 9 AND (asked.state = 0 OR asked.state = CASE \
             WHEN v.state = 1 AND v.expire_time <= asked.time \
                 THEN CASE WHEN v.expiry_policy = 2 AND v.amount_micro_usd > 0 THEN 2 ELSE 4 END \
             ELSE v.state END) \
           AND e.account_id = {} AND e.sequence > {} AND e.sequence <= {} ORDER BY e.sequence DESC LIMIT {}"
    )
}

read! {
    /// The open reservations that the entries of a span opened, newest first. Reads no others.
    ListOpenReservations {
        account_id: String,
        span: EntrySpan,
        limit: i64,
    } -> ReservationNowColumns,
    [account_id => Text, span.after => BigInt, span.last => BigInt, limit => BigInt],
    concat!(
        "SELECT ", reservation_columns!(), ", greatest(statement_timestamp(), a.update_time) FROM reservations v \
         JOIN accounts a ON a.account_id = v.account_id \
         WHERE v.state = 1 AND v.expire_time > greatest(statement_timestamp(), a.update_time) AND v.account_id = {} \
           AND v.sequence > {} AND v.sequence <= {} ORDER BY v.sequence DESC LIMIT {}"
    )
}

read! {
    /// The number of open reservations, and the age of the oldest in seconds. Scans the index of open reservations.
    CountOpenReservations {} -> (BigInt, BigInt),
    [],
    "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0)::bigint \
     FROM reservations WHERE state = 1"
}

impl Ledger {
    /// A reservation, as it stands now.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn reservation_get(
        &self,
        account_id: &AccountId,
        reservation_id: &IdempotencyKey,
    ) -> Result<Option<Reservation>, LedgerError> {
        let key = (account_id.to_string(), reservation_id.to_string());
        self.book(account_id).by_key.reservations.find(key).await?.map(reservation_at).transpose()
    }

    /// Up to `limit` reservations that the entries of a span opened, newest first, as they stand now: all, or those in one
    /// state. Scans a bounded part of the span, except for open reservations.
    ///
    /// # Errors
    /// When the database is unavailable.
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
            (span.after, self.book(account_id).read(query).await?)
        } else {
            let after = span.after.max(span.last.saturating_sub(SCANNED_MAX));
            let state = state.map_or(0, ReservationState::number);
            let span = EntrySpan { after, ..span };
            let query = ListReservations { account_id: id, span, state, limit: limit_bind };
            (after, self.book(account_id).read(query).await?)
        };
        let reservations = rows.into_iter().map(reservation_at).collect::<Result<Vec<_>, _>>()?;
        let last = match reservations.last() {
            Some(reservation) if reservations.len() == limit => reservation.sequence - 1,
            Some(_) | None => after,
        };
        Ok(ReservationPage { reservations, rest: span.up_to(last) })
    }

    /// The number of open reservations and the age of the oldest. Counts those whose expiry is not recorded yet.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn open_reservations(&self) -> Result<(i64, Duration), LedgerError> {
        let of_books = self.books.all().map(|book| book.read_one::<_, (i64, i64)>(CountOpenReservations {}));
        let of_books = try_join_all(of_books).await?.into_iter().flatten();
        let (count, oldest_seconds) =
            of_books.fold((0, 0), |(count, oldest), of_book| (count + of_book.0, oldest.max(of_book.1)));
        Ok((count, Duration::from_secs(u64::try_from(oldest_seconds).unwrap_or_default())))
    }
}

fn reservation_at((row, now): ReservationNowRow) -> Result<Reservation, LedgerError> {
    Ok(Reservation::try_from(row)?.at(rows::timestamp(now)))
}
