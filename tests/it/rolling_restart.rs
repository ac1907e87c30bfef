//! Two replicas are restarted in turn under load. Callers that try the other one notice nothing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::support::{process::Process, *};

const CALLERS: usize = 8;
const ROUNDS: usize = 3;

/// Where the replicas are, and whether to make no more calls.
struct Replicas {
    urls: Mutex<[String; 2]>,
    is_over: AtomicBool,
}

/// Makes one credit after another, on one replica until a call fails there, then on the other. Returns how many, and how many
/// tries the worst of them took.
async fn call(caller: usize, replicas: Arc<Replicas>) -> (usize, usize) {
    let mut at = caller % 2;
    let url = |at: usize| replicas.urls.lock().unwrap()[at].clone();
    let mut client = connect_lazily(&url(at));
    let mut worst = 0;
    for n in 0.. {
        if replicas.is_over.load(Ordering::Relaxed) {
            return (n, worst);
        }
        let request = deposit(&format!("account-{}", n % 5), &format!("order-{caller}-{n}"), 1);
        let mut tries = 1;
        while client.credit(request.clone()).await.is_err() {
            at = 1 - at;
            client = connect_lazily(&url(at));
            tries += 1;
        }
        worst = worst.max(tries);
    }
    unreachable!("the test ends before the numbers do")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_call_of_a_caller_who_tries_the_other_replica() {
    on_a_book(async |book| {
        let flags = ["--database-url", &book.url, "--drain-delay", "100ms"];
        let mut processes = [Process::serve(&flags), Process::serve(&flags)];
        let urls = Mutex::new([processes[0].url(), processes[1].url()]);
        let replicas = Arc::new(Replicas { urls, is_over: AtomicBool::new(false) });
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(call(caller, Arc::clone(&replicas)));
        }
        for round in 0..ROUNDS * 2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let old = std::mem::replace(&mut processes[round % 2], Process::serve(&flags));
            replicas.urls.lock().unwrap()[round % 2] = processes[round % 2].url();
            let exit = tokio::task::spawn_blocking(move || old.terminate()).await.unwrap();
            assert!(exit.success(), "it answered what it had taken");
        }
        replicas.is_over.store(true, Ordering::Relaxed);
        let done = callers.join_all().await;
        let calls: usize = done.iter().map(|(calls, _)| calls).sum();
        let worst = done.iter().map(|(_, worst)| *worst).max().unwrap();
        assert!(calls > CALLERS * ROUNDS, "{calls} calls are no load");
        assert!(worst > 1, "no caller ever had to try again");
        assert_eq!(worst, 2, "the other replica takes every call");
        let written = book.number("SELECT sum(last_sequence) FROM accounts").await;
        assert_eq!(usize::try_from(written).unwrap(), calls, "each is there once");
    })
    .await;
}
