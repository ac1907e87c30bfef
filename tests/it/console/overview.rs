//! The overview: totals, debts, holds, and what the service's metrics say.

use billing::grpc::proto::{ReverseRequest, ShortfallPolicy};

use super::{desk::console, http::get, on_a_desk, signing_in::signed_in};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_adds_up_accounts_and_shows_debts_holds_refusals_and_latency() {
    on_a_desk(&[], async |_, desk| {
        let mut client = desk.client().await;
        for (account, micro_usd) in [("ann", 5_000_000), ("bob", 2_000_001), ("eve", 1)] {
            client.credit(desk.call(deposit(account, "order-1", micro_usd))).await.answered();
        }
        client.charge(desk.call(charge("bob", "job-1", 2_000_000))).await.answered();
        let policy = ShortfallPolicy::AllowDebt.into();
        let dispute =
            ReverseRequest { shortfall_policy: policy, ..reverse("bob", "dispute-1", 2_000_001, "order-1") };
        client.reverse(desk.call(dispute)).await.answered();
        for job in ["job-1", "job-2"] {
            client.reserve(desk.call(reserve("ann", job, 1_000_000))).await.answered();
        }
        client.charge(desk.call(charge("eve", "job-1", 2))).await.unwrap_err();
        client.charge(desk.call(charge("eve", "job-2", 2))).await.unwrap_err();

        let (cookie, _) = signed_in(&desk.console, &desk.reader).await;
        let page = get(&desk.at("/"), Some(&cookie), &[]).await.body;
        for part in [
            "The service is ready: it can commit.",
            "<dt>Accounts</dt><dd>3</dd>",
            "<dt>Posted</dt><dd>3.000001 USD</dd>",
            "<dt>Held</dt><dd>2.00 USD</dd>",
            "<dt>Available</dt><dd>1.000001 USD</dd>",
            "<dt>Debt</dt><dd>2.00 USD</dd>",
            "/account?id=bob",
            "<code>INSUFFICIENT_FUNDS</code></dt><dd>2</dd>",
            "Half of them took at most",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let (first, second) = (page.find("id=job%2D1").unwrap(), page.find("id=job%2D2").unwrap());
        assert!(first < second, "the oldest comes first");

        let alone = console(&["--target", &desk.service.url(), "--metrics", "http://127.0.0.1:1/metrics"]);
        let (cookie, _) = signed_in(&alone, &desk.reader).await;
        let page = get(&format!("{}/", alone.url()), Some(&cookie), &[]).await;
        assert!(page.status == 200 && page.body.contains("They cannot be read"), "{page:?}");
    })
    .await;
}
