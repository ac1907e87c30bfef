//! The facts of a book, merged by account: each table is read by a cursor, in the order of an index where one exists.
//!
//! The journal is read in five orders: by sequence, by key, refunds by debit, reversals by credit, and entries about
//! reservations by reservation. Reading it five times is what keeps memory constant.

use std::vec;

use diesel::{
    data_types::PgTimestamp,
    sql_types::{BigInt, Bool, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use serde_json::Value;

use super::{
    other_books::{self, EntryColumns, EntryRow},
    read_ahead::Pages,
    session::Session,
    sources::{SOURCES, Source},
};
use crate::{
    accounting::{GrantMoves, GrantShare},
    audit::{
        AccountFact, AnswerFact, AnswerTable, ClaimFact, EntryFact, Fact, GrantFact, LegsFact, Order,
        ReplayFact, ReservationFact, Row, Status, StepFact, UndoingFact, UndoneFact,
    },
    database::cursor::Bind,
    ledger::{
        LedgerError,
        grant_rows::{self, GrantColumns, GrantRow},
        rows::timestamp,
    },
};

/// Reads the facts of the book that the session looks in, of some accounts or of all.
pub(super) async fn read(
    mut session: Session,
    account_ids: Vec<String>,
    pages: Pages<Fact>,
) -> Result<(), LedgerError> {
    let mut facts = Facts::open(&mut session, &account_ids).await?;
    let mut is_wanted = true;
    while is_wanted {
        let mut page = Vec::with_capacity(session.page_rows());
        while page.len() < session.page_rows()
            && let Some(fact) = facts.next(&mut session).await?
        {
            page.push(fact);
        }
        let is_last = page.len() < session.page_rows();
        is_wanted = pages.put(page, is_last).await;
    }
    Ok(())
}

/// The facts of a book that have not been read yet.
struct Facts(Vec<Stream>);

/// The facts of one source that have not been read yet.
struct Stream {
    source: Source,
    cursor: &'static str,
    page: vec::IntoIter<Fact>,
    /// The next fact.
    head: Option<Fact>,
    is_last_page: bool,
}

impl Facts {
    /// Opens the cursors.
    async fn open(session: &mut Session, account_ids: &[String]) -> Result<Self, LedgerError> {
        let mut streams = Vec::new();
        for (source, cursor, query) in SOURCES {
            let (choice, binds) = match account_ids {
                [] => ("true", Vec::new()),
                some => ("account_id = ANY({})", vec![Bind::Texts(some.to_vec())]),
            };
            // Payments stand beside the books, those of all accounts together.
            let is_beside = matches!(source, Source::Claims) && session.books.count() > 1;
            let of_book = || format!(" AND {}", session.books.condition(session.book));
            let choice = choice.to_owned() + &if is_beside { of_book() } else { String::new() };
            session.declare(cursor, &query.replace("{accounts}", &choice), binds).await?;
            let mut stream =
                Stream { source, cursor, page: Vec::new().into_iter(), head: None, is_last_page: false };
            stream.advance(session).await?;
            streams.push(stream);
        }
        Ok(Self(streams))
    }

    /// The next fact: the smallest of the sources' next facts.
    async fn next(&mut self, session: &mut Session) -> Result<Option<Fact>, LedgerError> {
        let with_head = self.0.iter_mut().filter(|stream| stream.head.is_some());
        match with_head.min_by(|a, b| a.order().cmp(&b.order())) {
            Some(stream) => stream.advance(session).await,
            None => Ok(None),
        }
    }
}

impl Stream {
    fn order(&self) -> Option<Order<'_>> {
        self.head.as_ref().map(Fact::order)
    }

    /// Takes the next fact, and fetches the one after it.
    async fn advance(&mut self, session: &mut Session) -> Result<Option<Fact>, LedgerError> {
        let mut next = self.page.next();
        if next.is_none() && !self.is_last_page {
            self.fetch(session).await?;
            next = self.page.next();
        }
        Ok(std::mem::replace(&mut self.head, next))
    }

    async fn fetch(&mut self, session: &mut Session) -> Result<(), LedgerError> {
        /// Fetches rows of these columns as facts.
        macro_rules! facts {
            ($columns:ty, $fact:expr) => {{
                let (rows, is_last) = session.fetch::<$columns, _>(self.cursor).await?;
                (rows.into_iter().map($fact).collect::<Vec<_>>(), is_last)
            }};
        }
        let (page, is_last) = match self.source {
            Source::Accounts => facts!(AccountColumns, account),
            Source::Entries => {
                let (mut rows, is_last) = session.fetch::<EntryColumns, EntryRow>(self.cursor).await?;
                other_books::look_up(session, &mut rows).await?;
                (rows.into_iter().map(entry).collect(), is_last)
            }
            Source::Refunds | Source::Reversals => facts!(UndoingColumns, undoing),
            Source::Claims => facts!(ClaimColumns, claim),
            Source::Replays => facts!(ReplayColumns, replay),
            Source::Answers(table) => facts!(AnswerColumns, |row| answer(row, table)),
            Source::Reservations => facts!(ReservationColumns, reservation),
            Source::Steps => facts!(StepColumns, step),
            Source::Grants => facts!(GrantColumns, grant),
        };
        (self.page, self.is_last_page) = (page.into_iter(), is_last);
        Ok(())
    }
}

type Time = PgTimestamp;

type AccountColumns = (
    Text,
    BigInt,
    BigInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
    (SmallInt, Nullable<BigInt>),
    (BigInt, Nullable<BigInt>),
);

type AccountRow = (String, i64, i64, i64, Time, Time, Option<Time>, (i16, Option<i64>), (i64, Option<i64>));

fn account(row: AccountRow) -> Fact {
    let (account_id, posted, held, last_sequence, create_time, update_time, next_expire_time, ..) = row;
    let (settings, (withdrawable, granted)) = (row.7, row.8);
    let account = AccountFact {
        posted,
        held,
        last_sequence,
        create_time: timestamp(create_time),
        update_time: timestamp(update_time),
        next_expire_time: next_expire_time.map(timestamp),
        settings,
        withdrawable,
        granted,
    };
    Fact { account_id, row: Row::Account(account) }
}

fn entry((figures, rare, facts, reservation, undoing, legs, grants, _): EntryRow) -> Fact {
    let (account_id, sequence, entry_type, amount, held_delta, posted_after, held_after, ..) = figures;
    let (create_time, refunded_sequence) = (figures.7, figures.8);
    let (external_ids, effective_time, uncollected, account_state, debt_limit) = rare;
    let (has_key, has_fingerprint, has_actor, has_reason) = facts;
    let (reservation_facts, has_reservation_id, reservation_state, has_close_time) = reservation;
    let (reversed_sequence, withdrawable_delta, withdrawable_after, undone) = undoing;
    let (legs, funded, is_leg, paid_by_other) = legs;
    let (grant_expire_time, grant_moves, granted_after, lapsed) = grants;
    let entry =
        EntryFact {
            sequence,
            entry_type,
            amount,
            held_delta,
            posted_after,
            held_after,
            create_time: timestamp(create_time),
            effective_time: timestamp(effective_time),
            uncollected,
            refunded_sequence,
            reversed_sequence,
            withdrawable_delta,
            withdrawable_after,
            undone: undone.and_then(three).map(|[withdrawable_delta, undone, undone_withdrawable]| {
                UndoneFact { withdrawable_delta, undone, undone_withdrawable }
            }),
            legs: legs.and_then(three).map(|[paid, found, amount]| LegsFact { paid, found, amount }),
            funded,
            is_listed: is_leg.then_some(paid_by_other.is_some()),
            paid_by_other,
            grant_expire_time: grant_expire_time.map(timestamp),
            grant_moves: moves(grant_moves),
            granted_after,
            lapsed,
            external_ids: external_ids.unwrap_or_default(),
            settings: account_state.map(|state| (state, debt_limit)),
            has_key,
            has_fingerprint,
            has_actor,
            has_reason,
            reservation_facts,
            has_reservation_id,
            reservation_state,
            has_close_time,
        };
    Fact { account_id, row: Row::Entry(Box::new(entry)) }
}

/// The three figures of an array of three.
fn three(figures: Vec<i64>) -> Option<[i64; 3]> {
    figures.try_into().ok()
}

type UndoingColumns = (Text, BigInt, BigInt, BigInt, Bool, Nullable<BigInt>);

fn undoing(row: (String, i64, i64, i64, bool, Option<i64>)) -> Fact {
    let (account_id, undone_sequence, sequence, amount, is_of_credit, reversed_sequence) = row;
    let undoing = UndoingFact { undone_sequence, sequence, amount, is_of_credit, reversed_sequence };
    Fact { account_id, row: Row::Undoing(undoing) }
}

type ClaimColumns = (Text, BigInt, Text);

fn claim((account_id, sequence, external_id): (String, i64, String)) -> Fact {
    Fact { account_id, row: Row::Claim(ClaimFact { sequence, external_id }) }
}

type ReplayColumns = (Text, BigInt, Text);

fn replay((account_id, sequence, idempotency_key): (String, i64, String)) -> Fact {
    Fact { account_id, row: Row::Replay(ReplayFact { sequence, idempotency_key }) }
}

type AnswerColumns = (Text, Text);

fn answer((account_id, idempotency_key): (String, String), table: AnswerTable) -> Fact {
    Fact { account_id, row: Row::Answer(AnswerFact { idempotency_key, table }) }
}

type ReservationColumns = (
    (Text, Text, BigInt, Timestamptz, Nullable<BigInt>),
    (SmallInt, BigInt, BigInt, Timestamptz, SmallInt, Nullable<Timestamptz>),
    Nullable<Jsonb>,
);

type ReservationRow =
    ((String, String, i64, Time, Option<i64>), (i16, i64, i64, Time, i16, Option<Time>), Option<Value>);

fn reservation((names, figures, pins): ReservationRow) -> Fact {
    let (account_id, reservation_id, sequence, create_time, close_sequence) = names;
    let (state, held, captured, expire_time, expiry_policy, close_time) = figures;
    let status = status(state, held, captured, expire_time, expiry_policy, close_time);
    let create_time = timestamp(create_time);
    let pins = shares(pins);
    let reservation = ReservationFact { reservation_id, sequence, create_time, status, close_sequence, pins };
    Fact { account_id, row: Row::Reservation(reservation) }
}

type StepColumns = (
    (Text, Text, BigInt, SmallInt, BigInt, BigInt, Timestamptz, Timestamptz, Bool, Nullable<Bool>),
    (
        Nullable<SmallInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<Timestamptz>,
        Nullable<Timestamptz>,
        Nullable<SmallInt>,
    ),
    Nullable<Jsonb>,
);

type StepRow = (
    (String, String, i64, i16, i64, i64, Time, Time, bool, Option<bool>),
    (Option<i16>, Option<i64>, Option<i64>, Option<Time>, Option<Time>, Option<i16>),
    Option<Value>,
);

fn step((entry, after, pins): StepRow) -> Fact {
    let (
        account_id,
        reservation_id,
        sequence,
        entry_type,
        amount,
        held_delta,
        create_time,
        effective_time,
        is_lapse,
        is_named_so,
    ) = entry;
    let (state, held, captured, expire_time, close_time, expiry_policy) = after;
    let status = || Some(status(state?, held?, captured?, expire_time?, expiry_policy?, close_time));
    let step = StepFact {
        reservation_id,
        sequence,
        entry_type,
        amount,
        held_delta,
        create_time: timestamp(create_time),
        effective_time: timestamp(effective_time),
        is_lapse,
        is_named_so,
        status: status(),
        pins: shares(pins),
    };
    Fact { account_id, row: Row::Step(step) }
}

fn grant(row: GrantRow) -> Fact {
    let (account_id, sequence, amount, remaining, pinned, lapsed, reversed, expire_time) = row;
    let expire_time = timestamp(expire_time);
    let grant = GrantFact { sequence, amount, remaining, pinned, lapsed, reversed, expire_time };
    Fact { account_id, row: Row::Grant(grant) }
}

/// How an entry changes grants; `None` if that cannot be read.
fn moves(value: Option<Value>) -> Option<GrantMoves> {
    value.map_or_else(|| Some(GrantMoves::default()), |value| grant_rows::moves(value).ok())
}

/// Parts of grants; `None` if these cannot be read.
fn shares(value: Option<Value>) -> Option<Vec<GrantShare>> {
    value.map_or_else(|| Some(Vec::new()), |value| grant_rows::shares(value).ok())
}

fn status(
    state: i16,
    held: i64,
    captured: i64,
    expire_time: Time,
    expiry_policy: i16,
    close_time: Option<Time>,
) -> Status {
    let (expire_time, close_time) = (timestamp(expire_time), close_time.map(timestamp));
    Status { state, held, captured, expire_time, close_time, expiry_policy }
}
