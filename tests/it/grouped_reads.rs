//! Reads that arrive together share a statement: each gets its own answer, none an older one, and none suffers for another.

use std::time::{Duration, Instant};

use billing::{
    accounting::AccountId,
    grpc::proto::{get_entry_request, get_operation_response::Outcome},
    ledger::{AccountView, Ledger, LedgerError},
};
use diesel_async::SimpleAsyncConnection as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Response, Status};

use crate::support::{
    PostBatch as _,
    book::limits,
    server::{TestServer, config},
    waiting::until,
    wire::{Cut, Wire},
    *,
};

/// How many sessions of this book wait for a lock.
const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Accounts that have been paid so much, from 1 on.
async fn open(book: &TestBook, accounts: i64) {
    let server = book.serve().await;
    let mut client = server.client().await;
    for number in 1..=accounts {
        client.credit(deposit(&name(number), "order", number)).await.answered();
    }
}

fn name(number: i64) -> String {
    format!("account-{number}")
}

async fn ledger(url: &str, readers: u32) -> Ledger {
    Ledger::connect(&url.parse().unwrap(), 1, readers, limits()).await.unwrap()
}

type Read = JoinHandle<Result<Option<AccountView>, LedgerError>>;

/// Begins to read accounts, each in a task of its own.
fn read(ledger: &Ledger, accounts: impl IntoIterator<Item = i64>) -> Vec<Read> {
    let begin = |number| {
        let (ledger, id) = (ledger.clone(), AccountId::parse("account_id", &name(number)).unwrap());
        tokio::spawn(async move { ledger.account_get(&id).await })
    };
    accounts.into_iter().map(begin).collect()
}

/// What is posted in the account that was read.
async fn posted(read: Read) -> i64 {
    read.await.unwrap().unwrap().unwrap().balance.posted().get()
}

async fn are_blocked(book: &TestBook, sessions: i64) {
    until("sessions wait for a lock", async || (book.number(BLOCKED).await == sessions).then_some(())).await;
}

/// The figure by which the answer is known, or why there is none.
fn told<T>(answer: Result<Response<T>, Status>, figure: impl FnOnce(T) -> i64) -> Result<i64, Code> {
    answer.map(|answer| figure(answer.into_inner())).map_err(|status| status.code())
}

/// One of the reads that name a key, of an account that exists or not.
async fn one_of_four(mut client: Client, kind: usize, account: &str) -> Result<i64, Code> {
    let first = get_entry_request::Entry::Sequence(1);
    match kind {
        0 => told(client.get_account(get_account(account)).await, |found| {
            found.account.unwrap().balance.unwrap().posted_micro_usd
        }),
        1 => told(client.get_entry(get_entry(account, first)).await, |found| {
            found.entry.unwrap().amount_micro_usd
        }),
        2 => told(client.get_operation(get_operation(account, "job")).await, |found| {
            let Some(Outcome::Refused(refusal)) = found.outcome else { panic!("{found:?}") };
            refusal.metadata["required_micro_usd"].parse().unwrap()
        }),
        3 => told(client.get_operation(get_operation(account, "order")).await, |found| {
            let Some(Outcome::Applied(applied)) = found.outcome else { panic!("{found:?}") };
            applied.entry.unwrap().amount_micro_usd
        }),
        _ => told(client.get_reservation(get_reservation(account, "task")).await, |found| {
            found.reservation.unwrap().amount_micro_usd
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_reads_at_once_each_gets_its_own_answer_and_they_share_statements() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let server = TestServer::start(&wire.url, config()).await;
        let clients = [server.client().await, server.client().await];
        let mut client = clients[0].clone();
        for number in 1..=8 {
            let account = name(number);
            client.credit(deposit(&account, "order", 100 + number)).await.answered();
            client.reserve(reserve(&account, "task", number)).await.unwrap();
            client.charge(charge(&account, "job", 1_000 + number)).await.unwrap_err();
        }
        wire.take_requests();
        let answers = at_once(&clients, 512, async |client, caller| {
            // Half of the accounts do not exist.
            one_of_four(client, caller % 5, &name(i64::try_from(caller / 5 % 16).unwrap() + 1)).await
        })
        .await;
        for (caller, answer) in answers.into_iter().enumerate() {
            let number = i64::try_from(caller / 5 % 16).unwrap() + 1;
            let figure = [100, 100, 1_000, 100, 0][caller % 5] + number;
            assert_eq!(answer, if number <= 8 { Ok(figure) } else { Err(Code::NotFound) }, "{caller}");
        }
        let requests = wire.take_requests().len();
        println!("{requests} requests");
        assert!(requests < 256, "{requests} requests for 512 reads");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_what_was_answered_before_it_was_asked_while_many_others_are_under_way() {
    const WRITERS: i64 = 16;
    const WRITES: i64 = 125;
    on_a_book(async |book| {
        open(book, WRITERS).await;
        let ledger = Ledger::connect(&book.database_url(), 4, 2, limits()).await.unwrap();
        let mut others = JoinSet::new();
        for number in 0..256 {
            let ledger = ledger.clone();
            others.spawn(async move {
                loop {
                    posted(read(&ledger, [1 + number % WRITERS]).remove(0)).await;
                }
            });
        }
        let mut writers = JoinSet::new();
        for number in 1..=WRITERS {
            let ledger = ledger.clone();
            writers.spawn(async move {
                for write in 1..=WRITES {
                    let request = deposit(&name(number), &format!("order-{write}"), 1);
                    ledger.post_batch(&[request.try_into().unwrap()]).await.unwrap();
                    assert_eq!(posted(read(&ledger, [number]).remove(0)).await, number + write);
                }
            });
        }
        writers.join_all().await;
        others.abort_all();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_cancel_nothing_of_those_who_share_their_statement() {
    on_a_book(async |book| {
        open(book, 20).await;
        let ledger = ledger(&book.url, 1).await;
        posted(read(&ledger, [1]).remove(0)).await;
        let mut before = book.lock("LOCK TABLE accounts").await;
        let first = read(&ledger, [1]).remove(0);
        are_blocked(book, 1).await;
        let mut after = book.connect().await;
        let after = tokio::spawn(async move {
            after.batch_execute("BEGIN; LOCK TABLE accounts").await.unwrap();
            after
        });
        are_blocked(book, 2).await;
        let mut reads = read(&ledger, 1..=20);
        tokio::time::sleep(Duration::from_millis(50)).await; // they queue up behind the first
        before.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(posted(first).await, 1);
        let mut after = after.await.unwrap();
        are_blocked(book, 1).await; // the statement that the others share

        for gone in reads.drain(..10) {
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        after.batch_execute("ROLLBACK").await.unwrap();
        for (read, number) in reads.into_iter().zip(11..) {
            assert_eq!(posted(read).await, number);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_late_keeps_no_others_waiting() {
    on_a_book(async |book| {
        open(book, 20).await;
        let ledger = ledger(&book.url, 2).await;
        let mut blocker = book.lock("LOCK TABLE accounts").await;
        let late = read(&ledger, [1]).remove(0);
        are_blocked(book, 1).await;
        let pid = book.number(&BLOCKED.replace("count(*)", "max(pid)")).await;
        let backend = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
        kill_process(backend, Signal::STOP).unwrap();
        blocker.batch_execute("ROLLBACK").await.unwrap();

        let began = Instant::now();
        for round in 0..5 {
            for (read, number) in read(&ledger, 1..=20).into_iter().zip(1..) {
                assert_eq!(posted(read).await, number, "round {round}");
            }
        }
        let (took, is_late) = (began.elapsed(), !late.is_finished());
        kill_process(backend, Signal::CONT).unwrap();
        assert!(is_late && took < Duration::from_secs(2), "{took:?}");
        assert_eq!(posted(late).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_share_a_statement_whose_connection_is_lost_are_answered_over_another() {
    on_a_book(async |book| {
        open(book, 64).await;
        let wire = Wire::tap(book).await;
        let ledger = ledger(&wire.url, 1).await;
        for cut in [Cut::Before, Cut::After] {
            posted(read(&ledger, [1]).remove(0)).await;
            wire.cut(1, cut); // the first of them is alone, the second request is that of the others
            for (read, number) in read(&ledger, 1..=64).into_iter().zip(1..) {
                assert_eq!(posted(read).await, number);
            }
            assert!(!wire.has_cut_to_come());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_database_refuses_fails_alone() {
    on_a_book(async |book| {
        open(book, 20).await;
        let refuse = "ALTER TABLE accounts RENAME TO kept; \
                      CREATE VIEW accounts AS SELECT * FROM kept WHERE 1 / (account_id <> 'account-7')::int = 1";
        book.run_sql(refuse).await.unwrap();
        let ledger = ledger(&book.url, 1).await;
        for (read, number) in read(&ledger, 1..=20).into_iter().zip(1..) {
            let answer = read.await.unwrap();
            if number == 7 {
                assert!(matches!(answer, Err(LedgerError::Refused(_))), "{answer:?}");
            } else {
                assert_eq!(answer.unwrap().unwrap().balance.posted().get(), number);
            }
        }
        book.run_sql("DROP VIEW accounts; ALTER TABLE kept RENAME TO accounts").await.unwrap();
    })
    .await;
}
