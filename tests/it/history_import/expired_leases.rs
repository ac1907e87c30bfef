//! A lease that has expired is recorded before any history is added to its account: otherwise a reader of the past would take
//! the hold for open until the imported entry.

use billing::grpc::proto::{GetAccountRequest, ReserveRequest};
use tokio::join;

use super::{
    command::{import, import_some},
    old_coordinator::OldCoordinator,
    side_by_side::check_import,
};
use crate::support::{waiting::until, *};

/// Reserves money of `ann`, and returns when the lease has expired. Nothing is written after that.
async fn let_a_lease_expire(client: &mut Client, book: &TestBook, key: &str) {
    let request = ReserveRequest {
        idempotency_key: key.into(),
        account_id: "ann".into(),
        amount_micro_usd: 4,
        ttl: Some(prost_types::Duration { seconds: 0, nanos: 30_000_000 }),
        ..Default::default()
    };
    client.reserve(request).await.unwrap();
    let due = "SELECT count(*) FROM accounts WHERE next_expire_time <= clock_timestamp()";
    until("the lease expires", async || (book.number(due).await == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_follows_the_expiry_of_a_lease() {
    let old = OldCoordinator::with_history(100).await;
    old.deposit(9_000_000, "ann", "now").await;
    let book = TestBook::create().await;
    import(&old, &book).await;
    let server = book.serve().await;
    let mut client = server.client().await;

    // Nobody records it: the account is left out, and its journal stays as it is.
    let_a_lease_expire(&mut client, &book, "r-1").await;
    old.deposit(9_000_001, "ann", "now").await;
    let entries = "SELECT count(*) FROM ledger_entries WHERE account_id = 'ann'";
    let before = book.number(entries).await;
    let summary = import_some(&old, &book).await;
    assert_eq!(summary["left_out_accounts"], 1, "{summary}");
    assert_eq!(book.number(entries).await, before);

    // The service records it while the import waits.
    let charge = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        client.charge(charge("ann", "job-1", 1)).await.answered();
    };
    let (summary, ()) = join!(import(&old, &book), charge);
    assert_eq!(summary["rows"], 1, "{summary}");
    let late = "SELECT count(*) FROM ledger_entries i JOIN ledger_entries e USING (account_id)
                WHERE e.entry_type = 13 AND i.idempotency_key IS NULL AND i.sequence < e.sequence
                  AND i.create_time > e.expire_time";
    assert_eq!(book.number(late).await, 0, "history was added before the expiry was recorded");
    let as_of =
        GetAccountRequest { account_id: "ann".into(), as_of: Some(std::time::SystemTime::now().into()) };
    let account = client.get_account(as_of).await.unwrap().into_inner().account.unwrap();
    assert_eq!(account.balance.unwrap().held_micro_usd, 0);
    check_import(&old, &book).await;
}
