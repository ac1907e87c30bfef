//! Reads: accounts now and then, entries by name and by page, and what became of an operation.

use std::{collections::BTreeMap, time::Duration};

use billing::grpc::proto::{
    Entry, EntryType, GetAccountRequest, GetEntryRequest, GetOperationRequest, ListEntriesRequest,
    ListReservationsRequest, ReserveRequest, get_entry_request, get_operation_response::Outcome,
};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::Code;

use crate::support::*;

fn list(account: &str) -> ListEntriesRequest {
    ListEntriesRequest { account_id: account.into(), ..Default::default() }
}

/// All pages of a list.
async fn list_all(client: &mut Client, mut request: ListEntriesRequest) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let page = client.list_entries(request.clone()).await.unwrap().into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        request.page_token = page.next_page_token;
    }
}

fn sequences(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_as_it_stood_at_any_moment() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let mut entries = Vec::new();
        for n in 1..=20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            entries.push(client.credit(deposit("ann", &format!("order-{n}"), n)).await.answered().0);
        }
        let first = entries[0].create_time.unwrap();
        let mut as_of = async |time: Timestamp| {
            let request = GetAccountRequest { account_id: "ann".into(), as_of: Some(time) };
            client.get_account(request).await.map(|response| response.into_inner().account.unwrap())
        };
        for entry in &entries {
            let time = entry.create_time.unwrap();
            let at = as_of(time).await.unwrap();
            assert_eq!((at.last_sequence, at.balance), (entry.sequence, entry.balance_after));
            assert_eq!((at.create_time, at.update_time), (Some(first), Some(time)));
            let just_before = Timestamp { nanos: time.nanos - 1, ..time };
            match as_of(just_before).await {
                Ok(before) => assert_eq!(before.last_sequence, entry.sequence - 1),
                Err(status) => {
                    assert_eq!(entry.sequence, 1);
                    assert_eq!(reason::<()>(Err(status)), (Code::NotFound, "ACCOUNT_NOT_FOUND".into()));
                }
            }
        }
        let later = Timestamp { seconds: first.seconds + 1_000, nanos: 0 };
        assert_eq!(as_of(later).await.unwrap().last_sequence, 20);
        let wrong = as_of(Timestamp { seconds: 0, nanos: -1 }).await;
        assert_eq!(wrong_fields(wrong), ["as_of"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_found_by_its_sequence_and_by_its_key() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let (entry, _) = client.credit(deposit("ann", "order-1", 5)).await.answered();
        let by = |entry| GetEntryRequest { account_id: "ann".into(), entry };
        for name in [
            get_entry_request::Entry::Sequence(1),
            get_entry_request::Entry::IdempotencyKey("order-1".into()),
        ] {
            let found = client.get_entry(by(Some(name))).await.unwrap().into_inner().entry;
            assert_eq!(found.as_ref(), Some(&entry));
        }
        for name in [
            get_entry_request::Entry::Sequence(2),
            get_entry_request::Entry::IdempotencyKey("order-2".into()),
        ] {
            let missing = client.get_entry(by(Some(name))).await;
            assert_eq!(reason(missing), (Code::NotFound, "ENTRY_NOT_FOUND".into()));
        }
        assert_eq!(wrong_fields(client.get_entry(by(None)).await), ["entry"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_applied_refused_or_nothing_has_happened() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let (entry, _) = client.credit(deposit("ann", "order-1", 5)).await.answered();
        let refused = client.charge(charge("ann", "job-1", 6)).await.unwrap_err();
        let ask = |key: &str| GetOperationRequest { account_id: "ann".into(), idempotency_key: key.into() };
        let applied = client.get_operation(ask("order-1")).await.unwrap().into_inner().outcome;
        assert_eq!(applied, Some(Outcome::Applied(entry)));
        match client.get_operation(ask("job-1")).await.unwrap().into_inner().outcome {
            Some(Outcome::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::FailedPrecondition as i32);
                assert_eq!(refusal.reason, "INSUFFICIENT_FUNDS");
                assert_eq!(refusal.message, refused.message());
                assert_eq!(refusal.metadata["available_micro_usd"], "5");
                assert!(refusal.create_time.is_some());
            }
            other => panic!("{other:?}"),
        }
        let missing = client.get_operation(ask("job-2")).await;
        assert_eq!(reason(missing), (Code::NotFound, "OPERATION_NOT_FOUND".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_exact_while_entries_are_being_written() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        for n in 1..=95 {
            client.credit(deposit("ann", &format!("order-{n}"), 1)).await.answered();
        }
        let mut request = ListEntriesRequest { page_size: 10, ..list("ann") };
        let mut seen = Vec::new();
        for page in 0.. {
            let answer = client.list_entries(request.clone()).await.unwrap().into_inner();
            seen.extend(sequences(&answer.entries));
            client.credit(deposit("ann", &format!("late-{page}"), 1)).await.answered();
            if answer.next_page_token.is_empty() {
                break;
            }
            assert_eq!(answer.entries.len(), 10);
            request.page_token = answer.next_page_token;
            request.page_size = 10;
        }
        assert_eq!(seen, (1..=95).rev().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_by_type_reference_and_time() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let mut times = Vec::new();
        for n in 1..=30_i64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut request = deposit("ann", &format!("order-{n}"), 100);
            request.reference = if n % 3 == 0 { "third".into() } else { String::new() };
            let entry = if n % 2 == 0 {
                client.charge(charge("ann", &format!("job-{n}"), 1)).await.answered().0
            } else {
                client.credit(request).await.answered().0
            };
            times.push(entry.create_time.unwrap());
        }
        let all = list_all(&mut client, ListEntriesRequest { page_size: 7, ..list("ann") }).await;
        let expect = |keep: &dyn Fn(&Entry) -> bool| {
            all.iter().filter(|entry| keep(entry)).cloned().collect::<Vec<_>>()
        };
        let charges =
            ListEntriesRequest { entry_types: vec![EntryType::Charge.into()], page_size: 4, ..list("ann") };
        assert_eq!(list_all(&mut client, charges).await, expect(&|entry| entry.amount_micro_usd < 0));
        let thirds = ListEntriesRequest { reference: "third".into(), page_size: 2, ..list("ann") };
        let found = list_all(&mut client, thirds).await;
        assert_eq!((found.len(), found), (5, expect(&|entry| entry.reference == "third")));
        let between = ListEntriesRequest {
            create_time_after: Some(times[9]),
            create_time_before: Some(times[19]),
            page_size: 3,
            ..list("ann")
        };
        let found = list_all(&mut client, between.clone()).await;
        assert_eq!(sequences(&found), (10..=19).rev().map(i64::from).collect::<Vec<_>>());
        let nothing = ListEntriesRequest {
            create_time_after: Some(times[9]),
            create_time_before: Some(times[9]),
            ..between
        };
        assert_eq!(list_all(&mut client, nothing).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_type_in_a_long_journal_takes_pages_and_no_long_query() {
    on_a_book(async |book| {
        book.run_sql(
            "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence) VALUES ('old', 30000, 30000);
             INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
                                         posted_after, held_after, create_time, reference)
             SELECT 'old', n, CASE WHEN n IN (5, 20000) THEN 3 ELSE 2 END, 1, 0, n, 0,
                    now() - interval '1 day' + n * interval '1 second', ''
             FROM generate_series(1, 30000) n",
        )
        .await
        .unwrap();
        let server = book.serve().await;
        let mut client = server.client().await;
        let request = ListEntriesRequest { entry_types: vec![EntryType::Earning.into()], ..list("old") };
        let first = client.list_entries(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.entries.len(), 0, "the first ten thousand have none");
        assert!(!first.next_page_token.is_empty(), "and there are more");
        assert_eq!(sequences(&list_all(&mut client, request).await), [20_000, 5]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_is_refused_by_field() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        for n in 0..3 {
            client.credit(deposit("ann", &format!("order-{n}"), 1)).await.answered();
        }
        let page = client.list_entries(ListEntriesRequest { page_size: 1, ..list("ann") }).await.unwrap();
        let token = page.into_inner().next_page_token;
        let other_filter =
            ListEntriesRequest { reference: "r".into(), page_token: token.clone(), ..list("ann") };
        let time = Some(Timestamp { seconds: 0, nanos: 1_000_000_000 });
        let bad = [
            (ListEntriesRequest { page_size: -1, ..list("ann") }, "page_size"),
            (ListEntriesRequest { page_token: "x".into(), ..list("ann") }, "page_token"),
            (ListEntriesRequest { page_token: token, ..list("bob") }, "page_token"),
            (other_filter, "page_token"),
            (ListEntriesRequest { entry_types: vec![0], ..list("ann") }, "entry_types"),
            (ListEntriesRequest { create_time_after: time, ..list("ann") }, "create_time_after"),
            (ListEntriesRequest { create_time_before: time, ..list("ann") }, "create_time_before"),
            (ListEntriesRequest { reference: "\0".into(), ..list("ann") }, "reference"),
            (list(""), "account_id"),
        ];
        for (request, field) in bad {
            assert_eq!(wrong_fields(client.list_entries(request).await), [field]);
        }
        let unknown = client.list_entries(list("bob")).await;
        assert_eq!(reason(unknown), (Code::NotFound, "ACCOUNT_NOT_FOUND".into()));
        let largest = ListEntriesRequest { page_size: i32::MAX, ..list("ann") };
        assert_eq!(client.list_entries(largest).await.unwrap().into_inner().entries.len(), 3);
    })
    .await;
}

/// What a gRPC client accepts by default is four times as much.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_entries_are_small_enough_and_list_each_entry_once() {
    on_a_book(async |book| {
        // As imported: references that no caller may send, and notes as large as a caller may send them.
        book.run_sql(
            "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence) VALUES ('old', 500, 500);
             INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
                                         posted_after, held_after, create_time, reference, metadata)
             SELECT 'old', n, 2, 1, 0, n, 0, now(),
                    CASE WHEN n % 50 = 0 THEN repeat(md5(n::text), 1000) ELSE '' END,
                    CASE WHEN n % 3 = 0 THEN (SELECT jsonb_object_agg('note ' || i, repeat('v', 512))
                                              FROM generate_series(1, 50) i) END
             FROM generate_series(1, 500) n",
        )
        .await
        .unwrap();
        let server = book.serve().await;
        let mut client = server.client().await;
        let mut request = ListEntriesRequest { page_size: 1_000, ..list("old") };
        let mut seen = Vec::new();
        loop {
            let page = client.list_entries(request.clone()).await.unwrap().into_inner();
            assert!(page.encoded_len() <= PAGE_BYTES_MAX + 64, "{} bytes", page.encoded_len());
            assert!(!page.entries.is_empty());
            seen.extend(sequences(&page.entries));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(seen, (1..=500).rev().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_reservations_are_small_enough_and_list_each_once() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        let metadata: BTreeMap<_, _> = (0..50).map(|n| (format!("note {n}"), "v".repeat(512))).collect();
        for n in 0..60 {
            let request = ReserveRequest {
                idempotency_key: format!("job-{n}"),
                account_id: "ann".into(),
                amount_micro_usd: 1,
                metadata: metadata.clone(),
                ..Default::default()
            };
            client.reserve(request).await.unwrap();
        }
        let mut request =
            ListReservationsRequest { account_id: "ann".into(), page_size: 1_000, ..Default::default() };
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = client.list_reservations(request.clone()).await.unwrap().into_inner();
            assert!(page.encoded_len() <= PAGE_BYTES_MAX + 64, "{} bytes", page.encoded_len());
            seen.extend(page.reservations.into_iter().map(|reservation| reservation.reservation_id));
            pages += 1;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(seen, (0..60).rev().map(|n| format!("job-{n}")).collect::<Vec<_>>());
        assert!(pages > 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_belongs_to_its_method_account_and_filters() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 1_000)).await.answered();
            for n in 0..4 {
                let request = ReserveRequest {
                    idempotency_key: format!("job-{n}"),
                    account_id: account.into(),
                    amount_micro_usd: 1,
                    ..Default::default()
                };
                client.reserve(request).await.unwrap();
            }
        }
        let entries = ListEntriesRequest { page_size: 2, ..list("ann") };
        let reservations =
            ListReservationsRequest { account_id: "ann".into(), page_size: 2, ..Default::default() };
        let of_entries = client.list_entries(entries.clone()).await.unwrap().into_inner().next_page_token;
        let of_reservations =
            client.list_reservations(reservations.clone()).await.unwrap().into_inner().next_page_token;

        let strangers = [
            ListEntriesRequest { page_token: of_reservations.clone(), ..entries.clone() },
            ListEntriesRequest { page_token: of_entries.clone(), ..list("bob") },
            ListEntriesRequest { page_token: of_entries.clone(), reference: "r".into(), ..entries.clone() },
            ListEntriesRequest { page_token: of_entries.clone(), entry_types: vec![9], ..entries.clone() },
        ];
        for request in strangers {
            assert_eq!(wrong_fields(client.list_entries(request).await), ["page_token"]);
        }
        let strangers = [
            ListReservationsRequest { page_token: of_entries.clone(), ..reservations.clone() },
            ListReservationsRequest { page_token: of_reservations.clone(), state: 1, ..reservations.clone() },
            ListReservationsRequest {
                page_token: of_reservations.clone(),
                account_id: "bob".into(),
                ..reservations.clone()
            },
        ];
        for request in strangers {
            assert_eq!(wrong_fields(client.list_reservations(request).await), ["page_token"]);
        }

        let rest = ListEntriesRequest { page_token: of_entries, page_size: 100, ..entries };
        assert_eq!(sequences(&client.list_entries(rest).await.unwrap().into_inner().entries), [3, 2, 1]);
        let rest = ListReservationsRequest { page_token: of_reservations, page_size: 100, ..reservations };
        assert_eq!(client.list_reservations(rest).await.unwrap().into_inner().reservations.len(), 2);
    })
    .await;
}
