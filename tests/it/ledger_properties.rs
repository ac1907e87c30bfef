//! The book in PostgreSQL against the reference model: answers, reads, and what a storm of calls leaves behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
};

use billing::{
    accounting::{
        AccountId, Balance, Command, Entry, EntryType, MicroUsd, Outcome, Reference, ReservationState,
        Timestamp,
    },
    committer::{Committer, CommitterSettings, SubmitError},
    ledger::{AccountView, DueAccount, EntryQuery, EntrySpan, Ledger, LedgerError, Total, Writer},
    telemetry::Metrics,
};
use diesel_async::AsyncPgConnection;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};

use crate::{
    accounting_properties::{check_entries, is_lapse},
    histories::{
        ACCOUNTS, BEGINNING, DEBTS, History, KEYS, REFERENCES, SOON, batch_sizes, cut, histories, unix_micros,
    },
    memory_journal::limits,
    model::{self, Answer, Call, Imported, Model, What},
    support::{PostBatch as _, TestBook, book::number, on_a_book},
    translation::{
        self, account_id, answer, answers, command, commands, entry, key, looked_up, reservation,
        reservation_id, reservation_state, timestamp,
    },
};

/// How many tasks send calls at once.
const TASKS: usize = 32;
/// How many connections a ledger has: one for each task that shares it, so that none waits for a connection.
const WRITERS: u32 = 12;
/// How often a call may be told that others were in the way.
const CONTENTIONS_MAX: usize = 20;

/// What accounts may owe in the storm.
const STORM_DEBT: i64 = DEBTS[2];
/// Every state of a reservation.
const STATES: [&str; 4] = ["OPEN", "CAPTURED", "RELEASED", "EXPIRED"];

/// How many open reservations have leases which run out before their account looks for any.
const MISSED_LEASES: &str = "SELECT count(*) FROM reservations JOIN accounts USING (account_id) \
     WHERE reservations.state = 1 AND expire_time < coalesce(next_expire_time, 'infinity')";

/// One history, and how it is sent and read.
#[derive(Debug, Clone)]
struct Case {
    history: History,
    sizes: Vec<usize>,
    listings: Vec<Listing>,
}

/// A reading of an account's journal by pages.
#[derive(Debug, Clone)]
struct Listing {
    entry_types: Vec<EntryType>,
    reference: Option<&'static str>,
    from: Option<Moment>,
    until: Option<Moment>,
    page_size: usize,
}

/// A moment around the time of some entry.
#[derive(Debug, Clone)]
struct Moment {
    entry: Index,
    micros_later: i64,
}

#[test]
fn every_answer_and_every_read_is_the_models() {
    let runtime = Runtime::new().expect("a runtime starts");
    let book = runtime.block_on(TestBook::create());
    check_cases(&runtime, &book);
    runtime.block_on(book.check());
    let missed = runtime.block_on(book.number(MISSED_LEASES));
    assert_eq!(missed, 0, "no lease runs out before its account looks for it");
}

fn cases() -> impl Strategy<Value = Case> {
    (histories(1..=60), batch_sizes(), vec(listing(), 1..=4)).prop_map(|(history, sizes, listings)| {
        let history = history.with_leases_for_a_real_clock(unix_micros());
        Case { history, sizes, listings }
    })
}

fn listing() -> impl Strategy<Value = Listing> {
    let moment = || option::of((any::<Index>(), -1..=1_i64));
    let entry_types = prop_oneof![Just(Vec::new()), subsequence(&EntryType::ALL, 1..=7)];
    let reference = option::of(select(&REFERENCES[..]));
    (entry_types, reference, moment(), moment(), 1..=7_usize).prop_map(
        |(entry_types, reference, from, until, page_size)| Listing {
            entry_types,
            reference,
            from: from.map(|(entry, micros_later)| Moment { entry, micros_later }),
            until: until.map(|(entry, micros_later)| Moment { entry, micros_later }),
            page_size,
        },
    )
}

/// Checks many cases on one book, each on accounts of its own.
pub fn check_cases(runtime: &Runtime, book: &TestBook) {
    let ledgers = runtime.block_on(ledgers_of(book));
    let (run, extending) = (AtomicU32::new(0), AtomicU32::new(0));
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 300, ..Default::default() };
    let checked = TestRunner::new(config).run(&cases(), |case| {
        let suffix = format!("-{}", run.fetch_add(1, Ordering::Relaxed));
        extending.fetch_add(case.history.extends_in_debt().into(), Ordering::Relaxed);
        runtime.block_on(check_case(book, &ledgers[&case.history.debt_max], &case, &suffix));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
    let (run, extending) = (run.into_inner(), extending.into_inner());
    assert!(extending >= run / 2, "a reservation was extended in debt in only {extending} of {run} cases");
}

/// The book, as services with one limit of debts or another have it.
async fn ledgers_of(book: &TestBook) -> BTreeMap<i64, Ledger> {
    let mut ledgers = BTreeMap::new();
    for debt_max in DEBTS {
        ledgers.insert(debt_max, ledger_of(book, debt_max).await);
    }
    ledgers
}

async fn ledger_of(book: &TestBook, debt_max: i64) -> Ledger {
    let ledger = Ledger::connect(&book.database_url(), WRITERS, 2, limits(debt_max)).await;
    ledger.expect("the database can be reached")
}

async fn check_case(book: &TestBook, ledger: &Ledger, case: &Case, suffix: &str) {
    let history = case.history.clone().renamed(suffix);
    let mut model = Model::new(history.limits(), &history.imported, BEGINNING);
    import(book, &history.imported).await;
    let mut clock = Clock { connection: book.connect().await };
    let mut journals = Journals::of(&ACCOUNTS.map(|account| format!("{account}{suffix}")));
    let mut outcomes = Vec::new();
    for batch in cut(&history.calls, &case.sizes) {
        let mut calls = batch.to_vec();
        while !calls.is_empty() {
            let before = clock.read().await;
            let posted = Writer::new(ledger).post_some(commands(&calls).into()).await;
            let posted = posted.expect("the book can be written").into_iter().zip(calls);
            // What waits for the end of what has run out meanwhile is posted by a later transaction, and so at another time.
            let (answered, waiting): (Vec<_>, Vec<_>) = posted.partition(|(answer, _)| answer.is_some());
            let (answered, asked): (Vec<_>, Vec<_>) = answered.into_iter().unzip();
            let answered: Vec<Outcome> = answered.into_iter().flatten().collect();
            let time = before.max(journals.read_on(ledger).await).max(told_at(&answered));
            let expected: Vec<Answer> = asked.iter().map(|call| model.call(time, call)).collect();
            assert_eq!(answers(&answered), expected);
            outcomes.extend(answered);
            calls = waiting.into_iter().map(|(_, call)| call).collect();
        }
    }
    sleep(SOON).await; // until all grants have run out that may do so while the book is read
    let now = clock.read().await;
    for account in ACCOUNTS {
        let reading = Reading::of(ledger, &model, format!("{account}{suffix}"), now).await;
        reading.check_entries_are_those_answered(&outcomes);
        reading.check_account().await;
        reading.check_account_at_each_time().await;
        reading.check_operations().await;
        reading.check_reservations().await;
        for listing in &case.listings {
            reading.check_listing(listing).await;
            reading.check_statements(listing).await;
            reading.check_reservation_lists(listing.page_size).await;
        }
    }
    check_lapsed(ledger, &model, suffix, now).await;
}

/// The database's clock. It cannot be set; but what a batch wrote tells when that was, and whatever had run out before the
/// batch was sent, it has to have written down.
struct Clock {
    connection: AsyncPgConnection,
}

impl Clock {
    async fn read(&mut self) -> i64 {
        let sql = "SELECT extract(epoch FROM clock_timestamp()) * 1000000";
        number(&mut self.connection, sql).await
    }
}

/// The newest time that answers tell beside those of new entries: when they were first refused, or what they have happened since.
fn told_at(outcomes: &[Outcome]) -> i64 {
    let times = outcomes.iter().map(|outcome| match outcome {
        Outcome::Refused(refusal) | Outcome::Declined(refusal) => refusal.create_time.unix_micros(),
        Outcome::Applied { since: Some(since), .. } => since.read_time.unix_micros(),
        Outcome::Applied { since: None, .. }
        | Outcome::Forbidden(_)
        | Outcome::Invalid(_)
        | Outcome::KeyReused(_)
        | Outcome::NotFound(_) => i64::MIN,
    });
    times.max().unwrap_or(i64::MIN)
}

/// How much of each account's journal has been read.
struct Journals {
    last_sequences: BTreeMap<AccountId, i64>,
}

impl Journals {
    fn of(accounts: &[String; ACCOUNTS.len()]) -> Self {
        Self { last_sequences: accounts.iter().map(|account| (account_id(account), 0)).collect() }
    }

    /// Reads on, and returns when the newest entry was written. In all accounts: a batch writes down also what has run out in
    /// the account of a payee, be the payee paid or not.
    async fn read_on(&mut self, ledger: &Ledger) -> i64 {
        let mut time = i64::MIN;
        for (account_id, last) in &mut self.last_sequences {
            while let Some(entry) =
                ledger.entry_get(account_id, *last + 1).await.expect("the book can be read")
            {
                *last = entry.sequence;
                time = time.max(entry.create_time.unix_micros());
            }
        }
        time
    }
}

/// The accounts in which it is to be written down that leases have run out are among those that are due, until it is.
async fn check_lapsed(ledger: &Ledger, model: &Model, suffix: &str, now: i64) {
    let due: BTreeSet<_> = all_due(ledger).await.into_iter().map(|due| due.account_id).collect();
    for account in ACCOUNTS.map(|account| account_id(&format!("{account}{suffix}"))) {
        let has_lapsed = model.has_lapsed(account.as_str(), now);
        assert!(due.contains(&account) || !has_lapsed, "{account}");
        if due.contains(&account) {
            let written = Writer::new(ledger)
                .write_lapsed(BTreeSet::from([account.clone()]))
                .await
                .expect("the book can be written");
            assert_eq!(written > 0, has_lapsed, "{account}");
        }
    }
    let due = all_due(ledger).await;
    let is_of_case = |due: &DueAccount| due.account_id.as_str().ends_with(suffix);
    assert!(!due.iter().any(is_of_case), "what was written down is not due: {due:?}");
}

/// The accounts that are due, in whatever book.
pub async fn all_due(ledger: &Ledger) -> Vec<DueAccount> {
    let mut due = Vec::new();
    for book in 0..ledger.book_count() {
        due.extend(ledger.due_list(book, None, usize::MAX).await.expect("the book can be read"));
    }
    due
}

/// Writes entries as an import of older history would.
pub async fn import(book: &TestBook, imported: &[Imported]) {
    let time = format!("'epoch'::timestamptz + {BEGINNING} * interval '1 microsecond'");
    for Imported { account, entry_type, amount } in imported {
        let number = translation::entry_type(entry_type).number();
        let sql = format!(
            "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence, create_time, update_time) \
                 VALUES ('{account}', {amount}, 1, {time}, {time}); \
             INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, \
                 held_delta_micro_usd, posted_after, held_after, create_time) \
                 VALUES ('{account}', 1, {number}, {amount}, 0, {amount}, 0, {time})"
        );
        book.run_sql(&sql).await.expect("an import is taken");
    }
}

/// What can be read of one account, beside what the model says of it.
struct Reading<'a> {
    ledger: &'a Ledger,
    model: &'a Model,
    account: String,
    account_id: AccountId,
    /// The journal, as it was read, oldest first.
    entries: Vec<Entry>,
    /// A moment after all of it.
    now: i64,
}

impl<'a> Reading<'a> {
    /// Reads the whole journal, one entry at a time.
    async fn of(ledger: &'a Ledger, model: &'a Model, account: String, now: i64) -> Self {
        let account_id = account_id(&account);
        let entries = read_journal(ledger, &account_id).await;
        let read: Vec<_> = entries.iter().map(entry).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), model.entries(&account));
        check_entries(&entries.iter().collect::<Vec<_>>());
        Self { ledger, model, account, account_id, entries, now }
    }

    /// Whatever answered a call is what the journal has, to the microsecond.
    fn check_entries_are_those_answered(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Outcome::Applied { entry, .. } = outcome
                && entry.account_id == self.account_id
            {
                let index = usize::try_from(entry.sequence - 1).expect("sequences begin with 1");
                assert_eq!(self.entries[index], **entry);
            }
        }
    }

    async fn check_account(&self) {
        let view = self.ledger.account_get(&self.account_id).await.expect("the book can be read");
        assert_eq!(view.as_ref().map(account), self.model.account_at(&self.account, self.now));
    }

    /// At the time of each entry and the end of each lease, be it yet to come, and right before.
    async fn check_account_at_each_time(&self) {
        let leases = self.entries.iter().filter_map(|entry| entry.reservation.as_ref());
        let ends = leases.map(|after| after.status.expire_time.unix_micros());
        let grants = self.entries.iter().filter_map(|entry| entry.grant_expire_time);
        let times = self.entries.iter().map(|entry| entry.create_time.unix_micros()).chain(ends);
        let times = times.chain(grants.map(Timestamp::unix_micros));
        for time in times.flat_map(|time| [time - 1, time]).collect::<BTreeSet<i64>>() {
            let view = self.ledger.account_get_as_of(&self.account_id, timestamp(time)).await;
            let view = view.expect("the book can be read").as_ref().map(account);
            let expected = self.model.account_at(&self.account, time.min(self.now)); // what is to come is now
            assert_eq!(view, expected, "at {time}");
        }
    }

    async fn check_reservations(&self) {
        let reservations = self.model.reservations_at(&self.account, self.now);
        for id in KEYS {
            let read = self.ledger.reservation_get(&self.account_id, &reservation_id(id)).await;
            let read = read.expect("the book can be read").as_ref().map(reservation);
            let expected = reservations.iter().find(|reservation| reservation.reservation_id == id);
            assert_eq!(read.as_ref(), expected, "{id}");
        }
    }

    async fn check_reservation_lists(&self, page_size: usize) {
        let reservations = self.model.reservations_at(&self.account, self.now);
        for state in STATES.into_iter().map(Some).chain([None]) {
            let listed = self.list_reservations(state.map(reservation_state), page_size).await;
            let wanted = |reservation: &&model::Reservation| {
                state.is_none_or(|state| reservation.status.state == state)
            };
            let expected: Vec<_> = reservations.iter().filter(wanted).collect();
            assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{state:?}");
        }
    }

    /// Follows the pages to the end.
    async fn list_reservations(
        &self,
        state: Option<ReservationState>,
        page_size: usize,
    ) -> Vec<model::Reservation> {
        let span = self.ledger.entry_span(&self.account_id, None, None).await;
        let mut rest = span.expect("the book can be read");
        let mut listed = Vec::new();
        while let Some(span) = rest {
            let page = self.ledger.reservation_list(&self.account_id, span, state, page_size).await;
            let page = page.expect("the book can be read");
            assert!(page.reservations.len() <= page_size);
            listed.extend(page.reservations.iter().map(reservation));
            rest = page.rest;
        }
        listed
    }

    async fn check_operations(&self) {
        for text in KEYS {
            let answered = self.ledger.operation_get(&self.account_id, &key(text)).await;
            let mut answered = answered.expect("the book can be read").as_ref().map(looked_up);
            if let Some(Answer::Applied { since: Some(since), .. }) = &mut answered {
                assert!(since.read_time >= self.now, "{text}");
                since.read_time = self.now;
            }
            let expected = self.model.operation(&self.account, text).map(|answer| {
                let mut answer = answer.clone();
                if let Answer::Applied { entry, since, .. } = &mut answer {
                    *since = Some(self.model.since(entry, self.now));
                }
                answer
            });
            assert_eq!(answered, expected, "{text}");
        }
    }

    async fn check_listing(&self, listing: &Listing) {
        let moment = |moment: &Option<Moment>| {
            moment.as_ref().filter(|_| !self.entries.is_empty()).map(|Moment { entry, micros_later }| {
                later(entry.get(&self.entries).effective_time, *micros_later)
            })
        };
        let (from, until) = (moment(&listing.from), moment(&listing.until));
        let wanted = |entry: &&Entry| {
            (listing.entry_types.is_empty() || listing.entry_types.contains(&entry.entry_type))
                && listing.reference.is_none_or(|reference| entry.note.reference.as_str() == reference)
                && from.is_none_or(|from| entry.effective_time >= from)
                && until.is_none_or(|until| entry.effective_time < until)
        };
        let expected: Vec<&Entry> = self.entries.iter().rev().filter(wanted).collect();
        let span = self.ledger.entry_span(&self.account_id, from, until).await;
        let span = span.expect("the book can be read");
        assert_eq!(span.is_none(), self.entries.is_empty());
        let listed = self.list(span, listing).await;
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{listing:?}");
    }

    /// Over the same period as a listing, and the one that follows it.
    async fn check_statements(&self, listing: &Listing) {
        let moment = |moment: &Option<Moment>| {
            moment.as_ref().filter(|_| !self.entries.is_empty()).map(|Moment { entry, micros_later }| {
                entry.get(&self.entries).effective_time.unix_micros() + micros_later
            })
        };
        let from = moment(&listing.from);
        let until = moment(&listing.until).filter(|until| from.is_none_or(|from| from <= *until));
        let (first, next) = (self.statement(from, until).await, self.statement(until, None).await);
        if let (Some(_), Some(first), Some(next)) = (until, first, next) {
            assert_eq!(first.closing, next.opening, "one period closes as the next one opens");
        }
    }

    async fn statement(&self, from: Option<i64>, until: Option<i64>) -> Option<model::Statement> {
        let (from_time, until_time) = (from.map(timestamp), until.map(timestamp));
        let read = self.ledger.account_statement(&self.account_id, from_time, until_time).await;
        let read = read.expect("the book can be read").map(|statement| model::Statement {
            opening: balance(statement.opening),
            closing: balance(statement.closing),
            totals: statement.totals.iter().map(total).collect(),
        });
        let period = (from.unwrap_or(i64::MIN + 1), until.unwrap_or(i64::MAX).min(self.now + 1));
        let expected = self.model.statement(&self.account, period, self.now);
        assert_eq!(read, (!self.entries.is_empty()).then_some(expected), "{from:?} to {until:?}");
        read
    }

    /// Follows the pages to the end.
    async fn list(&self, mut rest: Option<EntrySpan>, listing: &Listing) -> Vec<Entry> {
        let query = EntryQuery {
            entry_types: listing.entry_types.clone(),
            reference: listing.reference.map(|reference| Reference::recorded(reference.to_owned())),
        };
        let mut listed = Vec::new();
        while let Some(span) = rest {
            let page = self.ledger.entry_list(&self.account_id, span, &query, listing.page_size).await;
            let page = page.expect("the book can be read");
            assert!(page.entries.len() <= listing.page_size);
            listed.extend(page.entries);
            rest = page.rest;
        }
        listed
    }
}

fn account(view: &AccountView) -> model::Account {
    let AccountView { balance, last_sequence, create_time, update_time, settings } = view;
    model::Account {
        posted: balance.posted().get().into(),
        held: balance.held().get().into(),
        withdrawable: balance.withdrawable().get().into(),
        granted: balance.granted().get().into(),
        last_sequence: *last_sequence,
        create_time: create_time.unix_micros(),
        update_time: update_time.unix_micros(),
        settings: translation::settings(*settings),
    }
}

fn balance(balance: Balance) -> model::Balance {
    let money = [balance.posted(), balance.held(), balance.withdrawable(), balance.granted()];
    money.map(|sum| i128::from(sum.get())).into()
}

fn total(total: &Total) -> (&'static str, (i64, i128)) {
    (total.entry_type.name(), (total.count, total.amount))
}

/// An account's entries one by one, until there is none.
async fn read_journal(ledger: &Ledger, account_id: &AccountId) -> Vec<Entry> {
    let mut entries = Vec::new();
    for sequence in 1.. {
        match ledger.entry_get(account_id, sequence).await.expect("the book can be read") {
            Some(entry) => entries.push(entry),
            None => break,
        }
    }
    entries
}

fn later(time: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(time.unix_micros() + micros)
}

/// A way to the book: the committer of one service, or the ledger of another.
#[derive(Debug, Clone)]
enum Door {
    Committer(Committer),
    Ledger(Ledger),
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_sent_at_once_and_more_than_once_have_one_answer_each() {
    on_a_book(async |book| {
        let ledger = ledger_of(book, STORM_DEBT).await;
        let settings = CommitterSettings { writers: 4, queue_max: 1_024, batch_max: 64 };
        let (committer, writers) = Committer::start(&ledger, settings, &Metrics::new(Vec::new));
        let others = (ledger_of(book, STORM_DEBT).await, ledger_of(book, STORM_DEBT).await);
        let doors = [Door::Committer(committer), Door::Ledger(others.0), Door::Ledger(others.1)];
        let mut runner = TestRunner::default();
        for round in 0..12 {
            let history = histories(60..=60).new_tree(&mut runner).expect("a history").current();
            let calls = [race_for_payments(10), history.calls].concat();
            let history = History { calls, ..history }.with_leases_for_a_real_clock(unix_micros());
            let history = history.renamed(&format!("-{round}"));
            import(book, &history.imported).await;
            let answered = storm(&doors, &history.calls).await;
            check_storm(&ledger, &history, &answered).await;
        }
        drop(doors);
        writers.finish().await;
    })
    .await;
}

/// Credits of the same payments to every account.
fn race_for_payments(payments: usize) -> Vec<Call> {
    let credit = |payment: usize, account: &str| Call {
        account: account.to_owned(),
        key: format!("race-{payment}"),
        what: What::Credit {
            amount: 5,
            kind: "DEPOSIT",
            external_ids: vec![format!("race-{payment}")],
            expire: None,
        },
        reference: String::new(),
        metadata: BTreeMap::new(),
    };
    (0..payments).flat_map(|payment| ACCOUNTS.map(|account| credit(payment, account))).collect()
}

/// Sends every call two or three times, the copies from different tasks at about the same time and by different doors.
/// Returns what each copy was answered.
async fn storm(doors: &[Door], calls: &[Call]) -> Vec<(Call, Outcome)> {
    let copies = calls.iter().enumerate().flat_map(|(index, call)| vec![call.clone(); 2 + index % 2]);
    let mut shares: Vec<Vec<Call>> = vec![Vec::new(); TASKS];
    for (index, call) in copies.enumerate() {
        shares[index % TASKS].push(call);
    }
    let mut tasks = JoinSet::new();
    for (task, share) in shares.into_iter().enumerate() {
        let door = doors[task % doors.len()].clone();
        tasks.spawn(async move { door.send(&share, 1 + task % 4).await });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

impl Door {
    /// Sends calls in batches of a size, each batch after the answers to the one before.
    async fn send(&self, calls: &[Call], size: usize) -> Vec<(Call, Outcome)> {
        let mut answered = Vec::new();
        for batch in calls.chunks(size) {
            let outcomes = self.post(&commands(batch)).await;
            answered.extend(batch.iter().cloned().zip(outcomes));
        }
        answered
    }

    /// Posts commands; as the contract has it, again with the same keys where others were in the way.
    async fn post(&self, commands: &[Command]) -> Vec<Outcome> {
        match self {
            Self::Ledger(ledger) => post_patiently(ledger, commands).await,
            Self::Committer(committer) => {
                let mut outcomes = Vec::new();
                for command in commands {
                    outcomes.push(submit_patiently(committer, command).await);
                }
                outcomes
            }
        }
    }
}

async fn post_patiently(ledger: &Ledger, commands: &[Command]) -> Vec<Outcome> {
    for _ in 0..CONTENTIONS_MAX {
        match ledger.post_batch(commands).await {
            Ok(outcomes) => return outcomes,
            Err(LedgerError::Contention(_)) => {}
            Err(error) => panic!("the book could not be written: {error:?}"),
        }
    }
    panic!("others were always in the way");
}

async fn submit_patiently(committer: &Committer, command: &Command) -> Outcome {
    for _ in 0..CONTENTIONS_MAX {
        match committer.submit(command.clone()).await {
            Ok(outcome) => return outcome,
            Err(SubmitError::Ledger(error)) if matches!(*error, LedgerError::Contention(_)) => {}
            Err(error) => panic!("the book could not be written: {error:?}"),
        }
    }
    panic!("others were always in the way");
}

async fn check_storm(ledger: &Ledger, history: &History, answered: &[(Call, Outcome)]) {
    let mut all: Vec<Outcome> = answered.iter().map(|(_, outcome)| outcome.clone()).collect();
    for call in &history.calls {
        let standing = post_patiently(ledger, &[command(call)]).await.remove(0);
        for (_, outcome) in answered.iter().filter(|(copy, _)| copy == call) {
            check_copy(call, outcome, &standing);
        }
        all.push(standing);
    }
    let accounts: BTreeSet<&str> = history.calls.iter().map(|call| call.account.as_str()).collect();
    for account in accounts {
        let account_id = account_id(account);
        let entries = read_journal(ledger, &account_id).await;
        check_entries(&entries.iter().collect::<Vec<_>>());
        let of_account = |outcome: &&Outcome| answered_account(outcome) == Some(&account_id);
        let outcomes: Vec<&Outcome> = all.iter().filter(of_account).collect();
        check_each_entry_was_written_by_one_call(&entries, &outcomes);
        check_each_leg_was_written_by_one_call(&entries, &all);
        check_takers_saw_a_balance_that_was(&entries, &outcomes);
    }
}

fn answered_account(outcome: &Outcome) -> Option<&AccountId> {
    match outcome {
        Outcome::Applied { entry, .. } => Some(&entry.account_id),
        Outcome::Refused(refusal) | Outcome::Declined(refusal) => Some(&refusal.account_id),
        Outcome::Forbidden(_) | Outcome::Invalid(_) | Outcome::KeyReused(_) | Outcome::NotFound(_) => None,
    }
}

/// Every copy got the answer that stands now; but what was not found then may be there now, and a key under which something
/// was declined, or did not say what becomes of legs, may be in use now.
fn check_copy(call: &Call, outcome: &Outcome, standing: &Outcome) {
    match outcome {
        Outcome::NotFound(_) => return assert!(call.what.names_another(), "{call:?}"),
        Outcome::Declined(_) => return assert!(matches!(call.what, What::AdminCredit { .. }), "{call:?}"),
        Outcome::Invalid(_) => {
            return assert!(matches!(call.what, What::Refund { legs: None, .. }), "{call:?}");
        }
        Outcome::Applied { .. } | Outcome::Refused(_) | Outcome::Forbidden(_) | Outcome::KeyReused(_) => {}
    }
    assert_eq!(answer(outcome).lasting(), answer(standing).lasting(), "{call:?}");
    if let Outcome::Applied { entry: applied, .. } = outcome {
        check_entry_is_what_was_asked(call, &entry(applied));
    }
}

fn check_entry_is_what_was_asked(call: &Call, applied: &model::Entry) {
    let uncollected = applied.uncollected;
    let (entry_type, amount) = match &call.what {
        // The payment may have been credited under another key, as another kind.
        What::Credit { amount, .. } if applied.key.as_ref() != Some(&call.key) => {
            (applied.entry_type, *amount)
        }
        What::Credit { kind, amount, .. } => (*kind, *amount),
        What::Charge { amount, .. } => ("CHARGE", uncollected - amount),
        What::SetAccount(_) => ("ACCOUNT_CHANGE", applied.amount),
        What::Refund { amount, .. } => ("REFUND", *amount),
        What::AdminCredit { amount, .. } => ("ADMIN_CREDIT", *amount),
        What::Reserve { .. } => ("RESERVE", 0),
        What::Capture { amount, .. } => ("CAPTURE", uncollected - amount),
        What::Release { .. } => ("RELEASE", 0),
        What::Extend { .. } => ("EXTEND", 0),
        What::Reverse { amount, .. } => ("REVERSAL", uncollected - amount),
        What::Withdraw { amount, .. } => ("WITHDRAWAL", -amount),
    };
    assert_eq!((&applied.account, applied.entry_type, applied.amount), (&call.account, entry_type, amount));
    match &call.what {
        What::Credit { external_ids, .. } if applied.key.as_ref() == Some(&call.key) => {
            assert_eq!(applied.external_ids, *external_ids);
        }
        What::Reserve { amount: held, .. } | What::Extend { additional: held, .. } => {
            assert_eq!(applied.held_delta, *held);
        }
        What::Credit { .. }
        | What::SetAccount(_)
        | What::Charge { .. }
        | What::Refund { .. }
        | What::AdminCredit { .. }
        | What::Capture { .. }
        | What::Reverse { .. }
        | What::Withdraw { .. }
        | What::Release { .. } => {}
    }
    if applied.key.as_ref() == Some(&call.key) {
        assert_eq!((&applied.reference, &applied.metadata), (&call.reference, &call.metadata));
    }
}

/// Of all the answers that an entry gave, one was the first.
fn check_each_entry_was_written_by_one_call(entries: &[Entry], outcomes: &[&Outcome]) {
    let by_a_call =
        |entry: &&Entry| entry.idempotency_key.is_some() && entry.source.is_none() && !is_lapse(entry);
    for entry in entries.iter().filter(by_a_call) {
        let wrote_it = |outcome: &&&Outcome| matches!(outcome, Outcome::Applied { entry: applied, since: None, .. } if **applied == *entry);
        assert_eq!(outcomes.iter().filter(wrote_it).count(), 1, "{entry:?}");
    }
    let wrote = |outcome: &&&Outcome| matches!(outcome, Outcome::Applied { since: None, .. });
    let written = entries.iter().filter(by_a_call).count();
    assert_eq!(outcomes.iter().filter(wrote).count(), written, "an answer has an entry of its own");
}

/// Of all the answers that had an entry as their leg, one was the first.
fn check_each_leg_was_written_by_one_call(entries: &[Entry], outcomes: &[Outcome]) {
    for entry in entries.iter().filter(|entry| entry.source.is_some()) {
        let paid_it = |outcome: &&Outcome| {
            let Outcome::Applied { since: None, leg_entries, .. } = outcome else { return false };
            leg_entries.iter().any(|leg| **leg == *entry)
        };
        assert_eq!(outcomes.iter().filter(paid_it).count(), 1, "{entry:?}");
    }
}

/// Whatever takes or holds money was judged by a balance which the account had: no more was taken than there was, and what
/// was refused was more.
fn check_takers_saw_a_balance_that_was(entries: &[Entry], outcomes: &[&Outcome]) {
    let balances: Vec<i64> = entries.iter().map(|entry| entry.balance_after.available().get()).collect();
    let takes = |entry: &&Entry| entry.held_delta > MicroUsd::ZERO;
    let by_a_call = entries.iter().filter(|entry| entry.idempotency_key.is_some());
    for entry in by_a_call.filter(takes) {
        assert!(entry.balance_after.available() >= MicroUsd::ZERO, "{entry:?}");
    }
    for outcome in outcomes {
        if let Answer::Refused { reason: "INSUFFICIENT_FUNDS", metadata } = answer(outcome) {
            let figure = |name: &str| metadata[name].parse::<i64>().expect("a figure");
            let available = figure("available_micro_usd");
            assert!(available == 0 || balances.contains(&available), "{metadata:?}");
            assert!(available < figure("required_micro_usd"), "{metadata:?}");
        }
    }
}
