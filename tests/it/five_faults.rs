//! The five faults of the ledger that this one replaces, each as a test of the answer.

use std::process::Command;

use billing::grpc::proto::{CreditRequest, EntryType, ListEntriesRequest, RefundRequest};

use crate::support::{cluster::cluster, process::Process, waiting::run, *};

#[tokio::test(flavor = "multi_thread")]
async fn fault_1_a_reference_or_key_of_another_account_swallows_nothing() {
    on_a_service(async |mut client| {
        for account in ["ann", "bob"] {
            let request =
                CreditRequest { reference: "stripe:cs_1".into(), ..deposit(account, "order-1", 500) };
            let (entry, replayed) = client.credit(request).await.answered();
            assert!(!replayed, "{account} was not credited");
            assert_eq!((entry.account_id.as_str(), entry.sequence), (account, 1));
            assert_eq!(available(&mut client, account).await, 500);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_2_two_deliveries_at_once_move_money_once_and_write_one_entry() {
    on_a_book(async |book| {
        let (one, two) = (book.serve().await, book.serve().await);
        for round in 0..50 {
            let (key, session) = (format!("webhook-{round}"), format!("cs_{round}"));
            let request = stripe_deposit("ann", &key, 100, &session);
            let (mut one, mut two) = (one.client().await, two.client().await);
            let (first, second) = tokio::join!(one.credit(request.clone()), two.credit(request));
            let ((first, first_replayed), (second, second_replayed)) = (first.answered(), second.answered());
            assert_eq!(first, second);
            assert!(first_replayed ^ second_replayed, "one of the two is the replay");
        }
        assert_eq!(book.number("SELECT posted_micro_usd FROM accounts").await, 5_000);
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 50);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_3_the_second_genuine_refund_with_a_generic_reference_applies() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        for job in ["job-1", "job-2"] {
            client.charge(charge("ann", job, 300)).await.answered();
        }
        for (sequence, job) in [(4, "job-1"), (5, "job-2")] {
            let request = RefundRequest {
                reference: "reservation_refund".into(),
                ..refund("ann", &format!("refund-{job}"), 300, job)
            };
            let (entry, replayed) = client.refund(request).await.answered();
            assert_eq!((entry.sequence, replayed), (sequence, false));
        }
        assert_eq!(available(&mut client, "ann").await, 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_4_history_with_duplicates_stops_no_deploy_and_is_never_in_the_way() {
    on_a_book(async |book| {
        import_duplicated_history(book).await;
        // A deploy on this history: migrations run, and the index on the keys can be built.
        let deploy = run(Process::command().args(["migrate", "--database-url", &book.url]));
        assert!(deploy.status.success(), "{}", String::from_utf8_lossy(&deploy.stderr));
        book.run_sql("REINDEX INDEX ledger_entries_idempotency_key_unique").await.unwrap();

        let server = book.serve().await;
        let mut client = server.client().await;
        let request = CreditRequest { reference: "admin_credit".into(), ..deposit("old", "order-9", 7) };
        let (entry, replayed) = client.credit(request).await.answered();
        assert_eq!((entry.sequence, replayed), (7, false));
        assert_eq!(entry.balance_after.unwrap().posted_micro_usd, 607);

        let entries = client.list_entries(list_entries("old")).await.unwrap().into_inner().entries;
        assert_eq!(entries.len(), 7, "nothing of the history is lost");
        assert!(entries[1..].iter().all(|entry| entry.idempotency_key.is_empty()));
        assert_eq!(entries[1].reference.len(), 32_768, "references as long as they were");
    })
    .await;
}

/// Six entries without keys: the same references, an empty one twice, and the same deposit twice.
async fn import_duplicated_history(book: &TestBook) {
    let references = "(ARRAY['stripe:cs_1', 'stripe:cs_1', 'admin_credit', '', '', repeat('x', 32768)])[n]";
    let columns = [
        ("entry_type", "CASE WHEN n <= 2 THEN 1 ELSE 2 END"),
        ("create_time", "now() - interval '1 day'"),
        ("reference", references),
    ];
    book.import("old", 6, 100, &columns).await;
}

/// There is one store. What a developer sees on the private PostgreSQL is what production does on a given one.
#[tokio::test(flavor = "multi_thread")]
async fn fault_5_a_service_with_nothing_configured_answers_as_one_with_a_database() {
    on_a_book(async |book| {
        let data_dir = std::env::temp_dir().join(format!("billing-fault-5-{}", std::process::id()));
        let private = Process::serve(&["--data-dir", data_dir.to_str().unwrap()]);
        let given = Process::serve(&["--database-url", &book.url]);
        let (private_story, given_story) = (story(&private).await, story(&given).await);
        assert_eq!(private_story, given_story);
        assert!(private_story.len() > 10);
        assert!(private.terminate().success());
        std::fs::remove_dir_all(data_dir).unwrap();
    })
    .await;
}

/// A bit of everything, as text without the times.
async fn story(process: &Process) -> Vec<String> {
    let mut client = process.client().await;
    let mut story = Vec::new();
    macro_rules! tell {
        ($($method:ident($request:expr);)+) => {
            $(story.push(match client.$method($request).await {
                Ok(response) => format!("{:?}", without_times(&format!("{:?}", response.into_inner()))),
                Err(status) => format!("{:?} {}", status.code(), status.message()),
            });)+
        };
    }
    tell! {
        credit(stripe_deposit("ann", "order-1", 1_000, "cs_1"));
        credit(stripe_deposit("ann", "order-1", 1_000, "cs_1"));
        credit(stripe_deposit("ann", "order-1", 1_001, "cs_1"));
        credit(stripe_deposit("ann", "order-2", 1_000, "cs_1"));
        credit(stripe_deposit("bob", "order-3", 1_000, "cs_1"));
        charge(charge("ann", "job-1", 400));
        charge(charge("ann", "job-2", 601));
        charge(charge("ann", "job-2", 601));
        refund(refund("ann", "refund-1", 401, "job-1"));
        refund(refund("ann", "refund-2", 400, "job-1"));
        refund(refund("ann", "refund-3", 1, "missing"));
        admin_credit(grant("ann", "grant-1", i64::MAX));
        admin_credit(grant("ann", "grant-2", 5));
        list_entries(list_entries("ann"));
        list_entries(ListEntriesRequest { entry_types: vec![EntryType::Refund.into()], ..list_entries("ann") });
    }
    story
}

/// The text of an answer, without its times.
pub fn without_times(text: &str) -> String {
    let mut parts = text.split("Timestamp {");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').unwrap().1)
}

#[test]
fn the_tests_run_on_a_real_postgresql() {
    let mut psql = Command::new(cluster().bin_dir().join("psql"));
    let url = cluster().database_url("postgres");
    let psql = run(psql.args(["-XAt", "-c", "SELECT version()", "-d", &url]));
    assert!(String::from_utf8_lossy(&psql.stdout).starts_with("PostgreSQL "));
}
