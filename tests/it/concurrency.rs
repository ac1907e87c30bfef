//! Many callers, several processes, one book.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use billing::{
    accounting::{
        AccountId, Amount, Command, Credit, CreditKind, ExternalId, ExternalIds, IdempotencyKey, Note,
        Operation, Outcome,
    },
    committer::{Committer, CommitterSettings, SubmitError},
    ledger::Ledger,
    telemetry::Metrics,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{book::limits, *};

pub fn credit_command(account: &str, key: &str, micro_usd: i64, external_id: Option<&str>) -> Command {
    let account_id = AccountId::parse("account_id", account).unwrap();
    let key = IdempotencyKey::parse_of_operation(key).unwrap();
    let amount = Amount::parse("amount_micro_usd", micro_usd).unwrap();
    let external_id = external_id.map(|id| ExternalId::parse("external_ids", id).unwrap());
    let external_ids = external_id.map_or_else(ExternalIds::default, ExternalIds::from);
    let credit = Credit::new(amount, CreditKind::Deposit, external_ids, None).unwrap();
    Command::new(account_id, key, Operation::Credit(credit), Note::default())
}

/// Under REPEATABLE READ, a transaction that waited for another one's lock could not read what that one wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_default_is_repeatable_read_loses_and_doubles_nothing() {
    on_a_book(async |book| {
        let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', \
                   current_database(), 'repeatable read'); END $$";
        book.run_sql(set).await.unwrap();
        let servers = [book.serve().await, book.serve().await];
        servers[0].client().await.credit(deposit("ann", "order-0", 200)).await.answered();
        let mut calls = JoinSet::new();
        for caller in 0..16 {
            let mut client = servers[caller % 2].client().await;
            calls.spawn(async move {
                let mut applied = 0;
                for n in 0..20 {
                    // Every key is used by two callers, of two services.
                    let key = format!("job-{}-{n}", caller / 2);
                    match client.charge(charge("ann", &key, 2)).await {
                        Ok(answer) => applied += i64::from(!answer.into_inner().replayed),
                        refused => assert_eq!(reason(refused).1, "INSUFFICIENT_FUNDS"),
                    }
                }
                applied
            });
        }
        assert_eq!(calls.join_all().await.iter().sum::<i64>(), 100);
        assert_eq!(available(&mut servers[1].client().await, "ann").await, 0);
    })
    .await;
}

/// Batches over the same accounts in opposite orders, by way of two services, and accounts that nobody has opened yet.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_of_new_accounts_never_deadlock_and_lose_nothing() {
    on_a_book(async |book| {
        // A connection for each worker: nobody waits for one, all wait for locks.
        let url = book.database_url();
        let connect = || Ledger::connect(&url, 16, 1, limits());
        let ledgers = [connect().await.unwrap(), connect().await.unwrap()];
        let before = deadlocks(book).await;
        let mut tasks = JoinSet::new();
        for worker in 0..32 {
            let ledger = ledgers[worker % 2].clone();
            tasks.spawn(async move {
                for round in 0..10 {
                    // Twelve accounts, four of them new in each round, in an order of the worker's own.
                    let mut accounts: Vec<String> =
                        (0..12).map(|n| format!("account-{}", (n + round * 4) % 48)).collect();
                    if worker % 2 == 1 {
                        accounts.reverse();
                    }
                    accounts.rotate_left(worker % 12);
                    let key = format!("order-{worker}-{round}");
                    let commands: Vec<_> = accounts
                        .iter()
                        .map(|account| {
                            let payment = format!("pay-{account}-{key}");
                            credit_command(account, &key, 1, Some(&payment))
                        })
                        .collect();
                    let outcomes = ledger.post_batch(&commands).await.unwrap();
                    let applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { since: None, .. });
                    assert!(outcomes.iter().all(applied));
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(book.number("SELECT sum(posted_micro_usd) FROM accounts").await, 32 * 10 * 12);
        assert_eq!(deadlocks(book).await, before);
    })
    .await;
}

async fn deadlocks(book: &TestBook) -> i64 {
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    book.number(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_first_credits_of_one_account_at_once_all_apply() {
    on_a_book(async |book| {
        let (one, two) = (book.serve().await, book.serve().await);
        let mut calls = JoinSet::new();
        for caller in 0..200 {
            let mut client = if caller % 2 == 0 { one.client().await } else { two.client().await };
            calls.spawn(async move {
                client.credit(deposit("ann", &format!("order-{caller}"), 3)).await.answered()
            });
        }
        let answers = calls.join_all().await;
        let sequences: HashSet<i64> = answers.iter().map(|(entry, _)| entry.sequence).collect();
        assert_eq!(sequences, (1..=200).collect());
        assert_eq!(available(&mut one.client().await, "ann").await, 600);
    })
    .await;
}

/// Each worker does a bit of everything on a few accounts; what they were told is compared with the book, and the
/// check at the end of the test audits its chains.
#[tokio::test(flavor = "multi_thread")]
async fn the_book_adds_up_after_mixed_operations_of_thirty_two_workers() {
    on_a_book(async |book| {
        let servers = Arc::new([book.serve().await, book.serve().await]);
        let mut workers = JoinSet::new();
        for worker in 0..32_usize {
            let servers = Arc::clone(&servers);
            workers.spawn(async move { work(worker, servers[worker % 2].client().await).await });
        }
        let told = workers.join_all().await.into_iter().flatten().collect::<Vec<_>>();
        let entries: HashSet<_> =
            told.iter().map(|(account, sequence)| (account.as_str(), *sequence)).collect();
        assert_eq!(entries.len(), told.len(), "no entry was given to two callers");
        let written = book.number("SELECT count(*) FROM ledger_entries").await;
        assert_eq!(usize::try_from(written).unwrap(), told.len(), "every entry was given to its caller");
    })
    .await;
}

/// What a worker did: the account and sequence of each entry that it was told of as new.
async fn work(worker: usize, mut client: Client) -> Vec<(String, i64)> {
    let mut told = Vec::new();
    for round in 0..20_usize {
        let account = format!("account-{}", (worker + round) % 5);
        let key = |what: &str| format!("{what}-{worker}-{round}");
        let credited = client.credit(deposit(&account, &key("order"), 50)).await.answered();
        let mut answers = vec![Ok(credited)];
        let charged = client.charge(charge(&account, &key("job"), 70)).await;
        if charged.is_ok() {
            answers.push(Ok(charged.answered()));
            let refunded = client.refund(refund(&account, &key("refund"), 20, &key("job"))).await;
            answers.push(Ok(refunded.answered()));
            let too_much = client.refund(refund(&account, &key("refund-too-much"), 51, &key("job"))).await;
            answers.push(Err(reason(too_much)));
        } else {
            answers.push(Err(reason(charged)));
        }
        answers.push(Ok(client.credit(deposit(&account, &key("order"), 50)).await.answered()));
        for answer in answers {
            match answer {
                Ok((entry, replayed)) if !replayed => told.push((entry.account_id, entry.sequence)),
                Ok(_) => {}
                Err((code, _)) => assert_eq!(code, Code::FailedPrecondition),
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_database_refuses_fails_alone() {
    on_a_book(async |book| {
        // A constraint that this version does not know, as a mistake of a later migration would be.
        book.run_sql("ALTER TABLE ledger_entries ADD CONSTRAINT unlucky CHECK (amount_micro_usd <> 13)")
            .await
            .unwrap();
        let ledger = book.ledger().await;
        let settings = CommitterSettings { writers: 1, queue_max: 1_000, batch_max: 100 };
        let (committer, writers) = Committer::start(&ledger, settings, &Metrics::new(Vec::new));
        let mut calls = JoinSet::new();
        for n in 1..=50 {
            let committer = committer.clone();
            let command = credit_command("ann", &format!("order-{n}"), n, None);
            calls.spawn(async move { (n, committer.submit(command).await) });
        }
        for (n, answer) in calls.join_all().await {
            assert_eq!(answer.is_ok(), n != 13, "{n}: {answer:?}");
        }
        writers.finish().await;
        assert_eq!(book.number("SELECT posted_micro_usd FROM accounts").await, (1..=50).sum::<i64>() - 13);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_a_closed_one_answers_what_it_took() {
    on_a_book(async |book| {
        let ledger = book.ledger().await;
        let settings = CommitterSettings { writers: 1, queue_max: 10, batch_max: 5 };
        let (committer, writers) = Committer::start(&ledger, settings, &Metrics::new(Vec::new));
        let accounts = ["ann", "bob"];
        let first = accounts.map(|account| credit_command(account, "order-0", 1, None));
        ledger.post_batch(&first).await.unwrap();
        let blocker = book.lock("SELECT FROM accounts FOR UPDATE").await;
        let mut calls = JoinSet::new();
        for n in 1..=30 {
            let committer = committer.clone();
            let command = credit_command(accounts[n % 2], &format!("order-{n}"), 1, None);
            calls.spawn(async move { committer.submit(command).await });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(blocker); // rolls back, and frees the lock
        let finished = tokio::spawn(writers.finish());
        let answers = calls.join_all().await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert!((10..=15).contains(&taken.len()), "{}", taken.len());
        assert!(refused.iter().all(|answer| matches!(answer, Err(SubmitError::Full))));
        finished.await.unwrap();
        let late = committer.submit(credit_command("ann", "late", 1, None)).await;
        assert!(matches!(late, Err(SubmitError::Closed)));
        let written = book.number("SELECT count(*) FROM ledger_entries").await;
        assert_eq!(usize::try_from(written).unwrap(), taken.len() + accounts.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_flooded_keeps_no_other_waiting() {
    on_a_book(async |book| {
        let ledger = book.ledger().await;
        let settings = CommitterSettings { writers: 1, queue_max: 400 * books::book_count(), batch_max: 10 };
        let (committer, writers) = Committer::start(&ledger, settings, &Metrics::new(Vec::new));
        let mut flood = JoinSet::new();
        let answered = Arc::new(AtomicUsize::new(0));
        for n in 0..300 {
            let (committer, answered) = (committer.clone(), Arc::clone(&answered));
            let command = credit_command("flooded", &format!("order-{n}"), 1, None);
            flood.spawn(async move {
                let answer = committer.submit(command).await;
                answered.fetch_add(usize::from(answer.is_ok()), Ordering::Relaxed);
                answer
            });
        }
        while answered.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = answered.load(Ordering::Relaxed);
        committer.submit(credit_command("other", "order-1", 1, None)).await.unwrap();
        let meanwhile = answered.load(Ordering::Relaxed) - before;
        assert!(meanwhile <= 50, "the other had to wait for {meanwhile} of the flood");
        let answers = flood.join_all().await;
        let refused = answers.iter().filter(|answer| matches!(answer, Err(SubmitError::Full))).count();
        assert!((1..=100).contains(&refused), "{refused} refused");
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 300 - refused);
        writers.finish().await;
    })
    .await;
}
