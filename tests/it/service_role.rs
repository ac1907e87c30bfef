//! The service under a role with the rights of `deploy/postgres/service-role.sql`, and no others.

use std::time::Duration;

use billing::grpc::proto::{
    AccountState, CaptureRequest, ExpiryPolicy, ExtendReservationRequest, ReserveRequest,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::support::{process::Process, *};

const GRANTS: &str = include_str!("../../deploy/postgres/service-role.sql");

#[tokio::test(flavor = "multi_thread")]
async fn the_service_needs_no_more_than_its_documented_rights() {
    on_a_book(async |book| {
        let database = book.url.split(['/', '?']).nth(3).unwrap();
        let role = format!("service_of_{database}"); // roles belong to the whole server, which other tests use, too
        book.run_sql(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
        book.run_sql(&GRANTS.replace("billing_service", &role)).await.unwrap();
        let url = book.url.replace("//billing@", &format!("//{role}@"));
        let service = Process::serve(&["--database-url", &url]);
        let mut client = service.client().await;

        client.credit(stripe_deposit("ann", "order-1", 100, "cs_1")).await.answered();
        let mut again = stripe_deposit("ann", "order-2", 100, "cs_1");
        again.external_ids.push("pi_1".into());
        assert!(client.credit(again).await.answered().1);
        client.charge(charge("ann", "job-1", 30)).await.answered();
        client.refund(refund("ann", "refund-1", 10, "job-1")).await.answered();
        client.admin_credit(grant("ann", "grant-1", 5)).await.answered();
        assert!(client.charge(charge("ann", "job-2", 1_000)).await.is_err());
        assert_eq!(reason(client.charge(charge("nobody", "job-1", 1)).await).1, "INSUFFICIENT_FUNDS");
        let reserve = ReserveRequest {
            idempotency_key: "task-1".into(),
            account_id: "ann".into(),
            amount_micro_usd: 20,
            ..Default::default()
        };
        client.reserve(reserve).await.unwrap();
        let capture = CaptureRequest {
            idempotency_key: "task-1-done".into(),
            account_id: "ann".into(),
            reservation_id: "task-1".into(),
            amount_micro_usd: 15,
            ..Default::default()
        };
        client.capture(capture).await.unwrap();
        assert_eq!(available(&mut client, "ann").await, 70);
        let renewal = ExtendReservationRequest {
            expiry_policy: ExpiryPolicy::Capture.into(),
            ..extend("ann", "task-2-dispatched", "task-2", 5)
        };
        client.reserve(reserve_for(Duration::from_millis(300), "ann", "task-2", 5)).await.answered();
        client.extend_reservation(renewal).await.answered();
        client.set_account(set_account("ann", "freeze", AccountState::Frozen)).await.answered();
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.set_account(set_account("ann", "thaw", AccountState::Active)).await.answered();
        assert_eq!(applied(&mut client, "ann", "billing/expire/task-2").await.0.amount_micro_usd, -10);
        client.find_payment(find_payment("pi_1")).await.unwrap();
        client.get_statement(get_statement("ann")).await.unwrap();
        client.list_accounts(list_accounts("")).await.unwrap();

        let mut session = AsyncPgConnection::establish(&url).await.unwrap();
        for forbidden in [
            "UPDATE ledger_entries SET amount_micro_usd = 1",
            "DELETE FROM ledger_entries",
            "TRUNCATE ledger_entries",
            "DELETE FROM accounts",
            "UPDATE accounts SET account_id = 'bob'",
            "DELETE FROM refusals",
            "UPDATE payments SET account_id = 'bob'",
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
            "CREATE TABLE mine (x int)",
        ] {
            let refused = session.batch_execute(forbidden).await.unwrap_err().to_string();
            let why = ["permission denied", "must be owner", "what was written stays written"];
            assert!(why.iter().any(|why| refused.contains(why)), "{forbidden}: {refused}");
        }
    })
    .await;
}
