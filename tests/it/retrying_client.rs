//! The Rust client of `examples/rust` against replicas that are restarted, killed and cut off from their database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use billing_client::{
    Failure, Policy, RetryingClient, endpoint,
    proto::{CaptureRequest, ChargeRequest, CreditRequest, EntryType, Leg, ReserveRequest},
    reason, spread,
};
use tokio::task::JoinSet;
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig},
};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    TestBook,
    guarded::Guarded,
    health::{health, wait_for},
    on_a_book,
    process::Process,
};

const CALLERS: usize = 8;
const ROUNDS: usize = 3;
const DEPOSIT: i64 = 100;

fn client(urls: &[String]) -> RetryingClient {
    let replicas = urls.iter().map(|url| endpoint(url).unwrap());
    RetryingClient::new(replicas, None, Policy::default()).unwrap()
}

fn deposit(account: &str, key: String) -> CreditRequest {
    CreditRequest {
        idempotency_key: key,
        account_id: account.into(),
        amount_micro_usd: DEPOSIT,
        entry_type: EntryType::Deposit.into(),
        ..Default::default()
    }
}

/// One deposit, one reservation and its capture, which pays a provider, after another. Returns how many of the three there were, and of those how many
/// were told that they had been done before.
async fn work(caller: usize, client: RetryingClient, is_over: Arc<AtomicBool>) -> (usize, usize) {
    let account = format!("account-{}", caller % 3);
    let (mut calls, mut replayed) = (0, 0);
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{caller}-{n}");
        let credited = client.credit(deposit(&account, format!("order-{name}"))).await.unwrap();
        let reserve = ReserveRequest {
            idempotency_key: format!("job-{name}"),
            account_id: account.clone(),
            amount_micro_usd: DEPOSIT,
            ..Default::default()
        };
        let reserved = client.reserve(reserve).await.unwrap();
        let capture = CaptureRequest {
            idempotency_key: format!("job-{name}-end"),
            account_id: account.clone(),
            reservation_id: format!("job-{name}"),
            amount_micro_usd: DEPOSIT - 1,
            legs: vec![Leg {
                account_id: spread("provider", &name, 3),
                amount_micro_usd: DEPOSIT - 2,
                entry_type: EntryType::Earning.into(),
                ..Leg::default()
            }],
            ..Default::default()
        };
        let captured = client.capture(capture).await.unwrap();
        calls += 3;
        for was in [credited.replayed, reserved.replayed, captured.replayed] {
            replayed += usize::from(was);
        }
    }
    (calls, replayed)
}

/// Each replica in turn is asked to end, then killed, then, once it is ready, both lose all their sessions of the database: one
/// that is still starting would give up.
async fn break_things(book: &TestBook, processes: &mut [Option<Process>; 2]) {
    for round in 0..ROUNDS * 2 {
        let replica = &mut processes[round % 2];
        let old = replica.take().unwrap();
        let flags = ["--database-url", &book.url, "--drain-delay", "100ms", "--listen", &old.address.clone()];
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ended = tokio::task::spawn_blocking(move || old.terminate()).await.unwrap();
        assert!(ended.success(), "it answered what it had taken");
        *replica = Some(Process::serve(&flags));
        tokio::time::sleep(Duration::from_millis(200)).await;
        replica.take().unwrap().kill();
        let started = replica.insert(Process::serve(&flags));
        wait_for(&mut health(&started.url()).await, "readiness", ServingStatus::Serving).await;
        book.terminate_others().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_is_lost_or_doubled_and_no_error_reaches_the_caller() {
    on_a_book(async |book| {
        let flags = ["--database-url", &book.url, "--drain-delay", "100ms"];
        let mut processes = [Some(Process::serve(&flags)), Some(Process::serve(&flags))];
        let urls = processes.each_ref().map(|process| process.as_ref().unwrap().url());
        let is_over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(work(caller, client(&urls), Arc::clone(&is_over)));
        }
        break_things(book, &mut processes).await;
        is_over.store(true, Ordering::Relaxed);
        let done = callers.join_all().await;
        let calls: usize = done.iter().map(|(calls, _)| calls).sum();
        let replayed: usize = done.iter().map(|(_, replayed)| replayed).sum();
        println!("{calls} calls, of which {replayed} had been done before their answer was lost");
        assert!(calls > CALLERS * ROUNDS * 3, "{calls} calls are no load");
        let written = book.number("SELECT sum(last_sequence) FROM accounts").await;
        assert_eq!(usize::try_from(written).unwrap(), calls + calls / 3, "each is there once");
        for (accounts, of_each_job) in [("account-%", 1), ("provider-%", DEPOSIT - 2)] {
            let posted =
                format!("SELECT sum(posted_micro_usd) FROM accounts WHERE account_id LIKE '{accounts}'");
            let jobs = i64::try_from(calls / 3).unwrap();
            assert_eq!(book.number(&posted).await, of_each_job * jobs, "{accounts}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_answer_and_a_service_that_is_away_is_none() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url]);
        let replica = endpoint(&service.url()).unwrap();
        let client = RetryingClient::new([replica.clone()], None, Policy::default()).unwrap();
        let charge = ChargeRequest {
            idempotency_key: "job-1".into(),
            account_id: "ann".into(),
            amount_micro_usd: 1,
            ..Default::default()
        };
        let refused = client.charge(charge.clone()).await.unwrap_err();
        let Failure::Answered(status) = refused else { panic!("{refused}") };
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "INSUFFICIENT_FUNDS")
        );
        service.kill();
        let policy = Policy { deadline: Duration::from_millis(300), ..Policy::default() };
        let client = RetryingClient::new([replica], None, policy).unwrap();
        let failed = client.charge(charge).await.unwrap_err();
        assert!(matches!(failed, Failure::Unsettled(_)), "{failed}");
        assert_eq!(reason(failed.status()), "", "it was not the service who spoke");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_calls_by_tls_and_with_its_token() {
    on_a_book(async |book| {
        let service = Guarded::serve(&book.url);
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&service.authority));
        let replica = endpoint(&format!("https://{}", service.target())).unwrap().tls_config(tls).unwrap();
        let call = async |token: Option<&str>| {
            let client = RetryingClient::new([replica.clone()], token, Policy::default()).unwrap();
            client.credit(deposit("ann", "order-1".into())).await
        };
        let Failure::Answered(status) = call(None).await.unwrap_err() else { panic!("not answered") };
        assert_eq!(status.code(), Code::Unauthenticated);
        let entry = call(Some(&service.token)).await.unwrap().entry.unwrap();
        assert_eq!(entry.caller, "checkout");
    })
    .await;
}
