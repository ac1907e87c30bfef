//! Statements over periods, and lists of accounts.

use std::{collections::BTreeMap, time::Duration};

use billing::grpc::proto::{
    Account, Balance, Entry, ExpiryPolicy, GetStatementRequest, GetStatementResponse, ListAccountsRequest,
    ListEntriesRequest, ReserveRequest,
};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::*;

async fn statement(
    client: &mut Client,
    from_time: Option<Timestamp>,
    until_time: Option<Timestamp>,
) -> GetStatementResponse {
    let request = GetStatementRequest { account_id: "ann".into(), from_time, until_time };
    client.get_statement(request).await.unwrap().into_inner()
}

/// The totals of a statement, by the number of the type.
fn totals(statement: &GetStatementResponse) -> BTreeMap<i32, (i64, i64)> {
    let totals = statement.totals.iter();
    totals.map(|total| (total.entry_type, (total.count, total.amount_micro_usd))).collect()
}

fn sums<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<i32, (i64, i64)> {
    let mut sums: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for entry in entries {
        let (count, amount) = sums.entry(entry.entry_type).or_default();
        *count += 1;
        *amount += entry.amount_micro_usd;
    }
    sums
}

/// Credits, charges and holds in `ann`; some of the leases expire, and the last entry writes that down.
async fn live(client: &mut Client) {
    for n in 0..12 {
        client.credit(deposit("ann", &format!("deposit-{n}"), 100)).await.unwrap();
        client.charge(charge("ann", &format!("charge-{n}"), 30 + n)).await.unwrap();
        let policy = if n % 2 == 0 { ExpiryPolicy::Release } else { ExpiryPolicy::Capture };
        let lease = Duration::from_millis(if n % 3 == 0 { 60_000 } else { 5 });
        let request = reserve_for(lease, "ann", &format!("hold-{n}"), 20);
        client.reserve(ReserveRequest { expiry_policy: policy.into(), ..request }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    client.refund(refund("ann", "refund-1", 5, "charge-0")).await.unwrap();
}

#[tokio::test]
async fn one_period_closes_as_the_next_one_opens_and_its_totals_are_the_sums_of_its_entries() {
    on_a_service(async |mut client| {
        let client = &mut client;
        live(client).await;
        let pages = entry_pages(client, list_entries("ann")).await;
        let entries: Vec<Entry> = pages.into_iter().flat_map(|page| page.entries).collect();
        let mut times: Vec<Option<Timestamp>> =
            entries.iter().rev().map(|entry| entry.effective_time).collect();
        assert!(times.is_sorted_by_key(|time| time.map(|time| (time.seconds, time.nanos))));
        times.insert(0, None);
        times.push(None);

        let mut last: Option<Balance> = Some(Balance::default());
        for period in times.windows(2) {
            let (from, until) = (period[0], period[1]);
            let read = statement(client, from, until).await;
            assert_eq!(read.opening, last, "from {from:?}");
            let request = ListEntriesRequest { from_time: from, until_time: until, ..list_entries("ann") };
            let pages = entry_pages(client, request).await;
            assert_eq!(
                totals(&read),
                sums(pages.iter().flat_map(|page| &page.entries)),
                "{from:?} to {until:?}"
            );
            let moved: i64 = read.totals.iter().map(|total| total.amount_micro_usd).sum();
            let (opening, closing) = (read.opening.unwrap(), read.closing.unwrap());
            assert_eq!(opening.posted_micro_usd + moved, closing.posted_micro_usd);
            last = Some(closing);
        }
        assert_eq!(last, account(client, "ann").await.balance);
        assert_eq!(totals(&statement(client, None, None).await), sums(&entries));
    })
    .await;
}

#[tokio::test]
async fn a_statement_counts_a_lease_that_expired_in_its_period_before_anybody_wrote_that_down() {
    on_a_service(async |mut client| {
        let client = &mut client;
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        let request = reserve_for(Duration::from_millis(30), "ann", "job", 20);
        let request = ReserveRequest { expiry_policy: ExpiryPolicy::Capture.into(), ..request };
        let held = client.reserve(request).await.unwrap().into_inner().entry.unwrap();
        let end = held.reservation.unwrap().expire_time;
        tokio::time::sleep(Duration::from_millis(60)).await;

        let unwritten = [statement(client, None, end).await, statement(client, end, None).await];
        assert_eq!(unwritten[0].closing.unwrap().held_micro_usd, 20);
        assert_eq!(totals(&unwritten[1]), BTreeMap::from([(10, (1, -20))]));
        assert_eq!(unwritten[1].closing.unwrap().posted_micro_usd, 80);
        let written = client.charge(charge("ann", "charge-1", 1)).await.unwrap().into_inner().entry.unwrap();
        let written = [statement(client, None, end).await, statement(client, end, written.create_time).await];
        assert_eq!(unwritten, written);
    })
    .await;
}

#[tokio::test]
async fn a_period_that_cannot_be_is_refused_and_an_unknown_account_is_not_found() {
    on_a_service(async |mut client| {
        let unknown = GetStatementRequest { account_id: "ann".into(), ..Default::default() };
        refused(client.get_statement(unknown).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
        client.credit(deposit("ann", "deposit-1", 100)).await.unwrap();
        let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let backwards =
            GetStatementRequest { account_id: "ann".into(), from_time: time(20), until_time: time(10) };
        assert_eq!(wrong_fields(client.get_statement(backwards).await), ["until_time"]);
        let nothing = statement(&mut client, time(10), time(10)).await;
        assert_eq!((nothing.opening, nothing.closing), (Some(Balance::default()), Some(Balance::default())));
        assert!(nothing.totals.is_empty());
        let far = statement(&mut client, None, time(250_000_000_000)).await;
        assert_eq!(far.closing.unwrap().posted_micro_usd, 100);
    })
    .await;
}

async fn all_accounts(client: &mut Client, prefix: &str, page_size: i32) -> Vec<Account> {
    let account_id_prefix = prefix.to_owned();
    let mut request = ListAccountsRequest { page_size, account_id_prefix, page_token: String::new() };
    let mut accounts = Vec::new();
    loop {
        let page = client.list_accounts(request.clone()).await.unwrap().into_inner();
        assert!(page.accounts.len() <= usize::try_from(page_size).unwrap());
        accounts.extend(page.accounts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return accounts;
        }
    }
}

#[tokio::test]
async fn accounts_are_listed_by_id_each_once_while_others_are_being_opened() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let names: Vec<String> = (0..30).map(|n| format!("a{n:02}")).collect();
        for name in names.iter().map(String::as_str).chain(["A", "b", "a!", "a~"]) {
            client.credit(deposit(name, "deposit-1", 5)).await.unwrap();
        }
        let mut writer = server.client().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            for n in 0..60 {
                writer.credit(deposit(&format!("a{:02}-{n}", n % 30), "deposit-1", 5)).await.unwrap();
            }
        });
        let listed = all_accounts(&mut client, "a", 7).await;
        tasks.join_all().await;

        let ids: Vec<&str> = listed.iter().map(|account| account.account_id.as_str()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.starts_with('a')), "{ids:?}");
        for name in names.iter().map(String::as_str).chain(["a!", "a~"]) {
            assert_eq!(ids.iter().filter(|id| **id == name).count(), 1, "{name} in {ids:?}");
        }
        let all = all_accounts(&mut client, "", 500).await;
        assert_eq!(all.len(), 34 + 60);
        assert_eq!(all[0].account_id, "A");
        assert_eq!(all[0], account(&mut client, "A").await);
        assert_eq!(all_accounts(&mut client, "c", 500).await, []);
        assert_eq!(all_accounts(&mut client, "é", 500).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_page_token_goes_on_only_with_its_own_list() {
    on_a_service(async |mut client| {
        for name in ["ann", "bob"] {
            client.credit(deposit(name, "deposit-1", 5)).await.unwrap();
        }
        let request = ListAccountsRequest { page_size: 1, ..Default::default() };
        let page = client.list_accounts(request.clone()).await.unwrap().into_inner();
        let request = ListAccountsRequest { page_token: page.next_page_token, ..request };
        let other = ListAccountsRequest { account_id_prefix: "b".into(), ..request.clone() };
        assert_eq!(wrong_fields(client.list_accounts(other).await), ["page_token"]);
        let other = ListEntriesRequest { page_token: request.page_token.clone(), ..list_entries("ann") };
        assert_eq!(wrong_fields(client.list_entries(other).await), ["page_token"]);
        let next = client.list_accounts(request).await.unwrap().into_inner();
        assert_eq!((next.accounts[0].account_id.as_str(), next.next_page_token.as_str()), ("bob", ""));
    })
    .await;
}
