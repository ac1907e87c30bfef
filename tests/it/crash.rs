//! The service is killed under load. Every client calls again with the same keys, and everything is there once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use billing::grpc::proto::Entry;
use tokio::task::JoinSet;

use crate::support::{process::Process, *};

const CLIENTS: usize = 16;
const KILLS: usize = 5;

/// What the clients share.
#[derive(Default)]
struct Load {
    /// Where the service is now.
    url: std::sync::Mutex<String>,
    /// Whether to begin no further operation.
    is_over: AtomicBool,
    /// How many calls went without an answer.
    unanswered: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_under_load_does_every_operation_once() {
    on_a_book(async |book| {
        let flags = ["--database-url", &book.url];
        let mut process = Process::serve(&flags);
        let load = Arc::new(Load::default());
        *load.url.lock().unwrap() = process.url();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(call_until_answered(client, Arc::clone(&load)));
        }
        for _ in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.kill();
            process = Process::serve(&flags);
            *load.url.lock().unwrap() = process.url();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        load.is_over.store(true, Ordering::Relaxed);
        let told: HashMap<_, _> = clients.join_all().await.into_iter().flatten().collect();

        assert!(told.len() > CLIENTS * KILLS, "{} operations are no load", told.len());
        assert!(load.unanswered.load(Ordering::Relaxed) > 0, "no call was under way when it was killed");
        let entries = book.number("SELECT count(*) FROM ledger_entries").await;
        assert_eq!(usize::try_from(entries).unwrap(), told.len(), "one entry for each key that was answered");
        let mut client = process.client().await;
        for (key, entry) in told {
            let (again, replayed) = client.credit(deposit(&entry.account_id, &key, 5)).await.answered();
            assert!(replayed && again == entry, "{key} is answered as it was");
        }
        assert!(process.terminate().success());
    })
    .await;
}

/// Makes one credit after another, each until it is answered. Returns the answers by key.
async fn call_until_answered(client: usize, load: Arc<Load>) -> Vec<(String, Entry)> {
    let mut told = Vec::new();
    let mut service = connect_lazily(&load.url());
    for n in 0.. {
        if load.is_over.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("order-{client}-{n}");
        let request = deposit(&format!("account-{}", n % 3), &key, 5);
        let entry = loop {
            if let Ok(response) = service.credit(request.clone()).await {
                break response.into_inner().entry.unwrap();
            }
            load.unanswered.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            service = connect_lazily(&load.url());
        };
        told.push((key, entry));
    }
    told
}

impl Load {
    fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_database_of_a_killed_service_has_all_that_was_answered() {
    let dir = std::env::temp_dir().join(format!("billing-crash-{}", std::process::id()));
    let flags = ["--data-dir", dir.to_str().unwrap()];
    for round in 0..3 {
        let process = Process::serve(&flags);
        let mut client = process.client().await;
        for n in 0..20 {
            let (entry, replayed) =
                client.credit(deposit("ann", &format!("order-{round}-{n}"), 5)).await.answered();
            assert_eq!((entry.sequence, replayed), (round * 20 + n + 1, false));
        }
        process.kill();
    }
    let process = Process::serve(&flags);
    assert_eq!(available(&mut process.client().await, "ann").await, 300);
    assert!(process.terminate().success());
    std::fs::remove_dir_all(dir).unwrap();
}
