//! Reads: accounts now and then, entries by name and by page, and what became of an operation.

use std::{collections::BTreeMap, time::Duration};

use billing::grpc::proto::{
    Entry, EntryType, GetEntryRequest, ListEntriesRequest, ListReservationsRequest, ReserveRequest,
    get_entry_request::Entry as Name,
};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::Code;

use crate::support::*;

/// The entries of all pages of a list.
async fn list_all(client: &mut Client, request: ListEntriesRequest) -> Vec<Entry> {
    entry_pages(client, request).await.into_iter().flat_map(|page| page.entries).collect()
}

fn sequences(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_as_it_stood_at_any_moment() {
    on_a_service(async |mut client| {
        let mut entries = Vec::new();
        for n in 1..=20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            entries.push(client.credit(deposit("ann", &format!("order-{n}"), n)).await.answered().0);
        }
        let first = entries[0].create_time.unwrap();
        let mut as_of = async |time| account_as_of(&mut client, "ann", time).await;
        for entry in &entries {
            let time = entry.create_time.unwrap();
            let at = as_of(time).await.unwrap();
            assert_eq!((at.last_sequence, at.balance), (entry.sequence, entry.balance_after));
            assert_eq!((at.create_time, at.update_time), (Some(first), Some(time)));
            let just_before = Timestamp { nanos: time.nanos - 1, ..time };
            match as_of(just_before).await {
                Ok(before) => assert_eq!(before.last_sequence, entry.sequence - 1),
                not_found => {
                    assert_eq!(entry.sequence, 1);
                    refused(not_found, Code::NotFound, "ACCOUNT_NOT_FOUND");
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
    on_a_service(async |mut client| {
        let (entry, _) = client.credit(deposit("ann", "order-1", 5)).await.answered();
        for name in [Name::Sequence(1), Name::IdempotencyKey("order-1".into())] {
            let found = client.get_entry(get_entry("ann", name)).await.unwrap().into_inner().entry;
            assert_eq!(found.as_ref(), Some(&entry));
        }
        for name in [Name::Sequence(2), Name::IdempotencyKey("order-2".into())] {
            let missing = client.get_entry(get_entry("ann", name)).await;
            refused(missing, Code::NotFound, "ENTRY_NOT_FOUND");
        }
        let nameless = GetEntryRequest { account_id: "ann".into(), entry: None };
        assert_eq!(wrong_fields(client.get_entry(nameless).await), ["entry"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_applied_refused_or_nothing_has_happened() {
    on_a_service(async |mut client| {
        let (entry, _) = client.credit(deposit("ann", "order-1", 5)).await.answered();
        let told = client.charge(charge("ann", "job-1", 6)).await.unwrap_err();
        assert_eq!(applied(&mut client, "ann", "order-1").await.0, entry);
        let refusal = refusal(&mut client, "ann", "job-1").await;
        assert_eq!(refusal.code, Code::FailedPrecondition as i32);
        assert_eq!(refusal.reason, "INSUFFICIENT_FUNDS");
        assert_eq!(refusal.message, told.message());
        assert_eq!(refusal.metadata["available_micro_usd"], "5");
        assert!(refusal.create_time.is_some());
        let metadata = refused(Err::<(), _>(told), Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        assert_eq!(refusal.metadata, metadata.into_iter().collect());
        let missing = client.get_operation(get_operation("ann", "job-2")).await;
        refused(missing, Code::NotFound, "OPERATION_NOT_FOUND");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_exact_while_entries_are_being_written() {
    on_a_service(async |mut client| {
        for n in 1..=95 {
            client.credit(deposit("ann", &format!("order-{n}"), 1)).await.answered();
        }
        let mut request = ListEntriesRequest { page_size: 10, ..list_entries("ann") };
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
    on_a_service(async |mut client| {
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
        let all = list_all(&mut client, ListEntriesRequest { page_size: 7, ..list_entries("ann") }).await;
        let expect = |keep: &dyn Fn(&Entry) -> bool| {
            all.iter().filter(|entry| keep(entry)).cloned().collect::<Vec<_>>()
        };
        let charges = ListEntriesRequest {
            entry_types: vec![EntryType::Charge.into()],
            page_size: 4,
            ..list_entries("ann")
        };
        assert_eq!(list_all(&mut client, charges).await, expect(&|entry| entry.amount_micro_usd < 0));
        let thirds = ListEntriesRequest { reference: "third".into(), page_size: 2, ..list_entries("ann") };
        let found = list_all(&mut client, thirds).await;
        assert_eq!((found.len(), found), (5, expect(&|entry| entry.reference == "third")));
        let between = ListEntriesRequest {
            from_time: Some(times[9]),
            until_time: Some(times[19]),
            page_size: 3,
            ..list_entries("ann")
        };
        let found = list_all(&mut client, between.clone()).await;
        assert_eq!(sequences(&found), (10..=19).rev().map(i64::from).collect::<Vec<_>>());
        let nothing = ListEntriesRequest { until_time: Some(times[9]), ..between };
        assert_eq!(list_all(&mut client, nothing).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_type_in_a_long_journal_takes_pages_and_no_long_query() {
    on_a_served_book(async |book, mut client| {
        let time = "now() - interval '1 day' + n * interval '1 second'";
        let rare = "CASE WHEN n IN (5, 20000) THEN 3 ELSE 2 END";
        book.import("old", 30_000, 1, &[("entry_type", rare), ("create_time", time)]).await;
        let request =
            ListEntriesRequest { entry_types: vec![EntryType::Earning.into()], ..list_entries("old") };
        let first = client.list_entries(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.entries.len(), 0, "the first ten thousand have none");
        assert!(!first.next_page_token.is_empty(), "and there are more");
        assert_eq!(sequences(&list_all(&mut client, request).await), [20_000, 5]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_is_refused_by_field() {
    on_a_service(async |mut client| {
        for n in 0..3 {
            client.credit(deposit("ann", &format!("order-{n}"), 1)).await.answered();
        }
        let page =
            client.list_entries(ListEntriesRequest { page_size: 1, ..list_entries("ann") }).await.unwrap();
        let token = page.into_inner().next_page_token;
        let other_filter =
            ListEntriesRequest { reference: "r".into(), page_token: token.clone(), ..list_entries("ann") };
        let time = Some(Timestamp { seconds: 0, nanos: 1_000_000_000 });
        let bad = [
            (ListEntriesRequest { page_size: -1, ..list_entries("ann") }, "page_size"),
            (ListEntriesRequest { page_token: "x".into(), ..list_entries("ann") }, "page_token"),
            (ListEntriesRequest { page_token: token, ..list_entries("bob") }, "page_token"),
            (other_filter, "page_token"),
            (ListEntriesRequest { entry_types: vec![0], ..list_entries("ann") }, "entry_types"),
            (ListEntriesRequest { from_time: time, ..list_entries("ann") }, "from_time"),
            (ListEntriesRequest { until_time: time, ..list_entries("ann") }, "until_time"),
            (ListEntriesRequest { reference: "\0".into(), ..list_entries("ann") }, "reference"),
            (list_entries(""), "account_id"),
        ];
        for (request, field) in bad {
            assert_eq!(wrong_fields(client.list_entries(request).await), [field]);
        }
        refused(client.list_entries(list_entries("bob")).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
        let largest = ListEntriesRequest { page_size: i32::MAX, ..list_entries("ann") };
        assert_eq!(client.list_entries(largest).await.unwrap().into_inner().entries.len(), 3);
    })
    .await;
}

/// What a gRPC client accepts by default is four times as much.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_entries_are_small_enough_and_list_each_entry_once() {
    on_a_served_book(async |book, mut client| {
        // References that no caller may send, and notes as large as a caller may send them.
        let notes = "CASE WHEN n % 3 = 0 THEN (SELECT jsonb_object_agg('note ' || i, repeat('v', 512))
                                               FROM generate_series(1, 50) i) END";
        let columns = [
            ("entry_type", "2"),
            ("create_time", "now()"),
            ("reference", "CASE WHEN n % 50 = 0 THEN repeat(md5(n::text), 1000) ELSE '' END"),
            ("metadata", notes),
        ];
        book.import("old", 500, 1, &columns).await;
        let request = ListEntriesRequest { page_size: 1_000, ..list_entries("old") };
        let mut seen = Vec::new();
        for page in entry_pages(&mut client, request).await {
            assert!(page.encoded_len() <= PAGE_BYTES_MAX + 64, "{} bytes", page.encoded_len());
            assert!(!page.entries.is_empty());
            seen.extend(sequences(&page.entries));
        }
        assert_eq!(seen, (1..=500).rev().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_reservations_are_small_enough_and_list_each_once() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 1_000)).await.answered();
        let metadata: BTreeMap<_, _> = (0..50).map(|n| (format!("note {n}"), "v".repeat(512))).collect();
        for n in 0..60 {
            let metadata = metadata.clone();
            let request = ReserveRequest { metadata, ..reserve("ann", &format!("job-{n}"), 1) };
            client.reserve(request).await.unwrap();
        }
        let request = ListReservationsRequest { page_size: 1_000, ..list_reservations("ann") };
        let pages = reservation_pages(&mut client, request).await;
        assert!(pages.len() > 1);
        let mut seen = Vec::new();
        for page in pages {
            assert!(page.encoded_len() <= PAGE_BYTES_MAX + 64, "{} bytes", page.encoded_len());
            seen.extend(page.reservations.into_iter().map(|reservation| reservation.reservation_id));
        }
        assert_eq!(seen, (0..60).rev().map(|n| format!("job-{n}")).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_belongs_to_its_method_account_and_filters() {
    on_a_service(async |mut client| {
        for account in ["ann", "bob"] {
            client.credit(deposit(account, "order-1", 1_000)).await.answered();
            for n in 0..4 {
                client.reserve(reserve(account, &format!("job-{n}"), 1)).await.unwrap();
            }
        }
        let entries = ListEntriesRequest { page_size: 2, ..list_entries("ann") };
        let reservations = ListReservationsRequest { page_size: 2, ..list_reservations("ann") };
        let of_entries = client.list_entries(entries.clone()).await.unwrap().into_inner().next_page_token;
        let of_reservations =
            client.list_reservations(reservations.clone()).await.unwrap().into_inner().next_page_token;

        let mine = ListEntriesRequest { page_token: of_entries.clone(), ..entries.clone() };
        for request in [
            ListEntriesRequest { page_token: of_reservations.clone(), ..entries.clone() },
            ListEntriesRequest { account_id: "bob".into(), ..mine.clone() },
            ListEntriesRequest { reference: "r".into(), ..mine.clone() },
            ListEntriesRequest { entry_types: vec![9], ..mine },
        ] {
            assert_eq!(wrong_fields(client.list_entries(request).await), ["page_token"]);
        }
        let mine = ListReservationsRequest { page_token: of_reservations.clone(), ..reservations.clone() };
        for request in [
            ListReservationsRequest { page_token: of_entries.clone(), ..reservations.clone() },
            ListReservationsRequest { state: 1, ..mine.clone() },
            ListReservationsRequest { account_id: "bob".into(), ..mine },
        ] {
            assert_eq!(wrong_fields(client.list_reservations(request).await), ["page_token"]);
        }

        let rest = ListEntriesRequest { page_token: of_entries, page_size: 100, ..entries };
        assert_eq!(sequences(&client.list_entries(rest).await.unwrap().into_inner().entries), [3, 2, 1]);
        let rest = ListReservationsRequest { page_token: of_reservations, page_size: 100, ..reservations };
        assert_eq!(client.list_reservations(rest).await.unwrap().into_inner().reservations.len(), 2);
    })
    .await;
}
