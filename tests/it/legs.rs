//! Money that is passed on: a consumer pays, and provider, platform and referrer are credited in the same operation.

use std::time::Duration;

use billing::{
    accounting::MicroUsd,
    config::Config,
    grpc::proto::{
        AccountState, ApplyRequest, CaptureRequest, ChargeRequest, ChargeResponse, Entry, EntryType, Leg,
        LegsPolicy, Operation, PaidLeg, RefundRequest, RefundResponse, ReserveRequest, ShortfallPolicy,
        operation, result,
    },
};
use tonic::{Code, Response, Status};

use crate::support::{
    process::billing as run,
    server::{TestServer, config},
    waiting::ended,
    *,
};

fn leg(payee: &str, micro_usd: i64, kind: EntryType) -> Leg {
    let entry_type = kind.into();
    Leg { account_id: payee.into(), amount_micro_usd: micro_usd, entry_type, grants_withdrawable: false }
}

/// Sixty for the provider, thirty for the platform, ten for the referrer.
fn three() -> Vec<Leg> {
    vec![
        leg("provider", 60, EntryType::Earning),
        leg("platform", 30, EntryType::Fee),
        leg("referrer", 10, EntryType::ReferralReward),
    ]
}

fn paying(key: &str, micro_usd: i64, legs: Vec<Leg>) -> ChargeRequest {
    ChargeRequest { legs, ..charge("ann", key, micro_usd) }
}

fn giving_back(key: &str, micro_usd: i64, charge_key: &str, policy: LegsPolicy) -> RefundRequest {
    RefundRequest { legs: policy.into(), ..refund("ann", key, micro_usd, charge_key) }
}

fn paid(answer: Result<Response<ChargeResponse>, Status>) -> (Entry, Vec<Entry>) {
    let ChargeResponse { entry, leg_entries, .. } = answer.unwrap().into_inner();
    (entry.unwrap(), leg_entries)
}

fn given_back(answer: Result<Response<RefundResponse>, Status>) -> (Entry, Vec<Entry>) {
    let RefundResponse { entry, leg_entries, .. } = answer.unwrap().into_inner();
    (entry.unwrap(), leg_entries)
}

/// What is posted, and what may leave, in each of these accounts.
async fn balances<const COUNT: usize>(client: &mut Client, accounts: [&str; COUNT]) -> [(i64, i64); COUNT] {
    let mut balances = [(0, 0); COUNT];
    for (balance, name) in balances.iter_mut().zip(accounts) {
        *balance = posted_and_withdrawable(client, name).await;
    }
    balances
}

fn listed(entry: &Entry) -> Vec<(&str, i64, i64)> {
    let leg = |leg: &PaidLeg| (leg.sequence, leg.amount_micro_usd);
    entry.legs.iter().map(|paid| (paid.account_id.as_str(), leg(paid).0, leg(paid).1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_pays_its_payees_in_one_operation_and_both_sides_tell_of_each_other() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 150)).await.answered();
        let request = paying("job-1", 120, three());
        let (entry, legs) = paid(client.charge(request.clone()).await);
        assert_eq!((entry.amount_micro_usd, entry.funded_micro_usd), (-120, 120));
        assert_eq!(listed(&entry), [("provider", 1, 60), ("platform", 1, 30), ("referrer", 1, 10)]);
        for (n, (of_payee, kind)) in
            legs.iter().zip([EntryType::Earning, EntryType::Fee, EntryType::ReferralReward]).enumerate()
        {
            assert_eq!(of_payee.entry_type(), kind);
            assert_eq!(of_payee.idempotency_key, format!("billing/leg/2/{}/ann", n + 1));
            let source = of_payee.source.as_ref().unwrap();
            assert_eq!((source.account_id.as_str(), source.sequence), ("ann", 2));
            let (read, _) = applied(&mut client, &of_payee.account_id, &of_payee.idempotency_key).await;
            assert_eq!(read, *of_payee);
        }
        assert_eq!(
            balances(&mut client, ["ann", "provider", "platform", "referrer"]).await,
            [(30, 0), (60, 60), (30, 0), (10, 10)]
        );
        // A replay tells all of it again, and so does a look at the operation.
        let again = client.charge(request).await.unwrap().into_inner();
        assert_eq!(
            (again.entry.unwrap(), again.leg_entries, again.replayed),
            (entry.clone(), legs.clone(), true)
        );
        let looked_up = outcome(&mut client, "ann", "job-1").await;
        let billing::grpc::proto::get_operation_response::Outcome::Applied(looked_up) = looked_up else {
            panic!("{looked_up:?}")
        };
        assert_eq!((looked_up.entry.unwrap(), looked_up.leg_entries), (entry, legs));
        let other = paying("job-1", 120, vec![leg("provider", 61, EntryType::Earning)]);
        let metadata = refused(client.charge(other).await, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(metadata["fields"], "legs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_are_filled_in_their_order_out_of_what_was_really_taken() {
    use ShortfallPolicy::CollectAvailable;
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 75)).await.answered();
        let some =
            ChargeRequest { shortfall_policy: CollectAvailable.into(), ..paying("job-1", 120, three()) };
        let (entry, legs) = paid(client.charge(some).await);
        assert_eq!((entry.amount_micro_usd, entry.uncollected_micro_usd), (-75, 45));
        assert_eq!(entry.funded_micro_usd, 75);
        assert_eq!(listed(&entry), [("provider", 1, 60), ("platform", 1, 15), ("referrer", 0, 0)]);
        assert_eq!(legs.len(), 2);
        let unknown = client.get_account(get_account("referrer")).await;
        assert_eq!(reason(unknown), (Code::NotFound, "ACCOUNT_NOT_FOUND".into()));
        // The last one may ask for more than there is: it gets the rest.
        client.credit(deposit("ann", "order-2", 100)).await.answered();
        let rest = vec![leg("provider", 33, EntryType::Earning), leg("platform", 100, EntryType::Fee)];
        let (entry, _) = paid(client.charge(paying("job-2", 100, rest)).await);
        assert_eq!(listed(&entry), [("provider", 2, 33), ("platform", 2, 67)]);
    })
    .await;
}

/// Else two accounts could make money: one that owes, and one that earns what the other owes.
#[tokio::test(flavor = "multi_thread")]
async fn debt_pays_nobody() {
    use ShortfallPolicy::AllowDebt;
    on_a_book(async |book| {
        let mut with_debt = config();
        with_debt.limits.debt_max = MicroUsd::new(1_000_000);
        let server = TestServer::start(&book.url, with_debt).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        for (n, funded) in [10, 0, 0].into_iter().enumerate() {
            let request = ChargeRequest {
                shortfall_policy: AllowDebt.into(),
                ..paying(&format!("job-{n}"), 1_000, vec![leg("friend", 1_000, EntryType::Earning)])
            };
            let (entry, _) = paid(client.charge(request).await);
            assert_eq!((entry.amount_micro_usd, entry.funded_micro_usd), (-1_000, funded));
        }
        assert_eq!(balances(&mut client, ["ann", "friend"]).await, [(-2_990, 0), (10, 10)]);
        // A hold is a promise: what it covers is paid, whatever the account owes by now.
        client.credit(deposit("bob", "order-1", 50)).await.answered();
        client.reserve(reserve("bob", "hold-1", 40)).await.answered();
        let above = ChargeRequest { shortfall_policy: AllowDebt.into(), ..charge("bob", "job-1", 100) };
        client.charge(above).await.answered();
        let capture = CaptureRequest {
            shortfall_policy: AllowDebt.into(),
            legs: vec![leg("friend", 60, EntryType::Earning)],
            ..capture("bob", "capture-1", "hold-1", 60)
        };
        let entry = client.capture(capture).await.unwrap().into_inner().entry.unwrap();
        assert_eq!((entry.amount_micro_usd, entry.funded_micro_usd), (-60, 40));
        assert_eq!(balances(&mut client, ["friend"]).await, [(50, 50)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_says_whether_the_payees_keep_what_they_got() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        paid(client.charge(paying("job-1", 100, three())).await);
        let unsaid = client.refund(refund("ann", "refund-1", 10, "job-1")).await;
        assert_eq!(wrong_fields(unsaid), ["legs"]);
        // It is not remembered: the same key can say.
        let (entry, legs) =
            given_back(client.refund(giving_back("refund-1", 10, "job-1", LegsPolicy::Keep)).await);
        assert_eq!((listed(&entry), legs), (vec![], vec![]));
        let request = giving_back("refund-2", 50, "job-1", LegsPolicy::TakeBack);
        let (entry, legs) = given_back(client.refund(request.clone()).await);
        assert_eq!(listed(&entry), [("provider", 2, -30), ("platform", 2, -15), ("referrer", 2, -5)]);
        for reversal in &legs {
            assert_eq!((reversal.entry_type(), reversal.reversed_sequence), (EntryType::Reversal, 1));
            let again = RefundRequest {
                account_id: reversal.account_id.clone(),
                ..refund("", "again-1", 1, &reversal.idempotency_key)
            };
            refused(client.refund(again).await, Code::FailedPrecondition, "NOT_REFUNDABLE");
        }
        let again = client.refund(request).await.unwrap().into_inner();
        assert_eq!((again.entry.unwrap(), again.leg_entries, again.replayed), (entry, legs, true));
        assert_eq!(
            balances(&mut client, ["ann", "provider", "platform", "referrer"]).await,
            [(60, 0), (30, 30), (15, 0), (5, 5)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_gets_all_of_a_refund_also_if_a_payee_has_spent_or_lost_its_part() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        paid(client.charge(paying("job-1", 100, three())).await);
        client.charge(charge("provider", "job-2", 50)).await.answered();
        client.reverse(reverse("platform", "correction-1", 25, "billing/leg/2/2/ann")).await.answered();
        set_account_to(&mut client, "referrer", AccountState::Closed, 10).await;
        let request = giving_back("refund-1", 100, "job-1", LegsPolicy::TakeBack);
        let (entry, legs) = given_back(client.refund(request).await);
        assert_eq!(entry.amount_micro_usd, 100);
        assert_eq!(listed(&entry), [("provider", 3, -10), ("platform", 3, -5), ("referrer", 3, 0)]);
        let uncollected: Vec<i64> = legs.iter().map(|leg| leg.uncollected_micro_usd).collect();
        assert_eq!(uncollected, [50, 0, 10], "what was spent, and of what is left");
        assert_eq!(balances(&mut client, ["ann", "provider", "platform"]).await, [(100, 0), (0, 0), (0, 0)]);
    })
    .await;
}

async fn set_account_to(client: &mut Client, account: &str, state: AccountState, forfeit: i64) {
    let request = billing::grpc::proto::SetAccountRequest {
        forfeit_micro_usd: Some(forfeit),
        ..set_account(account, "state-1", state)
    };
    client.set_account(request).await.answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_payee_has_all_of_it_refused_and_a_frozen_one_is_paid() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 200)).await.answered();
        client.credit(deposit("provider", "order-1", 1)).await.answered();
        client.set_account(set_account("provider", "freeze-1", AccountState::Frozen)).await.answered();
        paid(client.charge(paying("job-1", 100, three())).await);
        set_account_to(&mut client, "provider", AccountState::Closed, 61).await;
        let refusal = client.charge(paying("job-2", 100, three())).await;
        let metadata = refused(refusal, Code::FailedPrecondition, "ACCOUNT_CLOSED");
        assert_eq!(metadata["payee_account_id"], "provider");
        assert_eq!(
            balances(&mut client, ["ann", "platform", "referrer"]).await,
            [(100, 0), (30, 0), (10, 10)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_legs_are_refused_by_the_name_of_the_field() {
    on_a_service(async |mut client| {
        let good = || leg("provider", 5, EntryType::Earning);
        let many = (0..9).map(|n| leg(&format!("payee-{n}"), 1, EntryType::Fee)).collect();
        for (legs, field) in [
            (vec![leg("ann", 5, EntryType::Earning)], "legs"),
            (vec![good(), good()], "legs"),
            (many, "legs"),
            (vec![leg("", 5, EntryType::Earning)], "legs.account_id"),
            (vec![leg("a b", 5, EntryType::Earning)], "legs.account_id"),
            (vec![leg("provider", 0, EntryType::Earning)], "legs.amount_micro_usd"),
            (vec![leg("provider", -5, EntryType::Earning)], "legs.amount_micro_usd"),
            (vec![leg("provider", 5, EntryType::Deposit)], "legs.entry_type"),
            (vec![leg("provider", 5, EntryType::Unspecified)], "legs.entry_type"),
            (vec![good(), leg("platform", 5, EntryType::AdminCredit)], "legs.entry_type"),
        ] {
            assert_eq!(
                wrong_fields(client.charge(paying("job-1", 10, legs.clone())).await),
                [field],
                "{legs:?}"
            );
            let capture = CaptureRequest { legs, ..capture("ann", "capture-1", "hold-1", 10) };
            assert_eq!(wrong_fields(client.capture(capture).await), [field]);
        }
        let fee = billing::grpc::proto::CreditRequest {
            entry_type: EntryType::Fee.into(),
            ..deposit("ann", "order-1", 5)
        };
        assert_eq!(wrong_fields(client.credit(fee).await), ["entry_type"], "only legs are fees");
    })
    .await;
}

/// Eight payers each, in both directions, through two replicas, and one platform that all of them pay.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_pay_each_other_and_one_platform_at_once_neither_wait_for_ever_nor_lose_anything() {
    const ROUNDS: usize = 25;
    const PAYERS: usize = 8;
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let mut client = clients[0].clone();
        for n in 0..PAYERS {
            client.credit(deposit(&format!("payer-{n}"), "order-1", 1_000_000)).await.answered();
        }
        for round in 0..ROUNDS {
            let answers = at_once(&clients, 2 * PAYERS, move |mut client, caller| async move {
                let (payer, other) = (caller / 2, (caller / 2 + 1 + caller % 2 * (PAYERS - 2)) % PAYERS);
                let request = ChargeRequest {
                    legs: vec![
                        leg(&format!("payer-{other}"), 50, EntryType::Earning),
                        leg("platform", 7, EntryType::Fee),
                    ],
                    ..charge(&format!("payer-{payer}"), &format!("job-{round}-{caller}"), 60)
                };
                client.charge(request).await
            })
            .await;
            for answer in answers {
                assert_eq!(paid(answer).1.len(), 2);
            }
        }
        let operations = i64::try_from(ROUNDS * 2 * PAYERS).unwrap();
        assert_eq!(balances(&mut client, ["platform"]).await, [(7 * operations, 0)]);
        let posted = book.number("SELECT sum(posted_micro_usd) FROM accounts").await;
        assert_eq!(posted, 8_000_000 - 3 * operations, "the rest is the operator's");
        ended(run(&["audit", "--database-url", &book.url]).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_with_leases_that_have_run_out_is_brought_up_to_date_first() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.credit(deposit("provider", "order-1", 100)).await.answered();
        let lease = reserve_for(Duration::from_millis(1), "provider", "hold-1", 40);
        let lease =
            ReserveRequest { expiry_policy: billing::grpc::proto::ExpiryPolicy::Capture.into(), ..lease };
        client.reserve(lease).await.answered();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (entry, legs) = paid(client.charge(paying("job-1", 60, three())).await);
        assert_eq!(listed(&entry), [("provider", 4, 60), ("platform", 0, 0), ("referrer", 0, 0)]);
        assert_eq!(legs[0].balance_after.as_ref().unwrap().posted_micro_usd, 100 - 40 + 60);
    })
    .await;
}

/// Reserves 1,500 in the account of the provider, and waits until all of the leases have run out: one transaction writes down
/// fewer.
async fn let_many_leases_run_out(client: &mut Client, name: &str) {
    for part in 0..3 {
        let hold = |n: i32| {
            let lease = reserve_for(Duration::from_millis(300), "provider", &format!("{name}-{part}-{n}"), 1);
            Operation { operation: Some(operation::Operation::Reserve(lease)) }
        };
        client.apply(ApplyRequest { operations: (0..500).map(hold).collect() }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_with_many_leases_that_have_run_out_is_brought_up_to_date_before_it_is_paid_or_gives_back() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, Config { sweep_interval: None, ..config() }).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 200)).await.answered();
        client.credit(deposit("provider", "order-1", 10_000)).await.answered();
        let legs = || vec![leg("provider", 60, EntryType::Earning)];
        paid(client.charge(paying("job-1", 100, legs())).await);
        let_many_leases_run_out(&mut client, "first").await;
        let back = client.refund(giving_back("refund-1", 50, "job-1", LegsPolicy::TakeBack)).await;
        let_many_leases_run_out(&mut client, "second").await;
        let forth = client.charge(paying("job-2", 100, legs())).await;
        for (legs, amount) in [(given_back(back).1, -30), (paid(forth).1, 60)] {
            let after = legs[0].balance_after.as_ref().unwrap();
            assert_eq!((legs[0].amount_micro_usd, after.held_micro_usd), (amount, 0));
        }
        ended(run(&["audit", "--database-url", &book.url]).await, 0);
    })
    .await;
}

/// A list is carried out in its order, although its first operation has to wait for the payee.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_payee_keeps_its_place_in_its_account() {
    on_a_book(async |book| {
        let server = TestServer::start(&book.url, Config { sweep_interval: None, ..config() }).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.credit(deposit("provider", "order-1", 10_000)).await.answered();
        let_many_leases_run_out(&mut client, "hold").await;
        let legs = vec![leg("provider", 60, EntryType::Earning)];
        let operations = [
            operation::Operation::Charge(paying("job-1", 100, legs)),
            operation::Operation::Refund(giving_back("refund-1", 100, "job-1", LegsPolicy::TakeBack)),
            operation::Operation::Charge(charge("ann", "job-2", 100)),
        ];
        let operations = operations.map(|operation| Operation { operation: Some(operation) }).into();
        let results = client.apply(ApplyRequest { operations }).await.unwrap().into_inner().results;
        for (result, sequence) in results.into_iter().zip(2..) {
            let Some(result::Result::Applied(applied)) = result.result else { panic!("{result:?}") };
            assert_eq!(applied.entry.unwrap().sequence, sequence);
        }
    })
    .await;
}
