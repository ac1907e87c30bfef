//! Credits that are taken back: disputes, whatever comes first and however often, and who may decide about them.

use billing::{
    accounting::MicroUsd,
    grpc::proto::{
        CreditRequest, EntryType, RefundRequest, ReverseRequest, ShortfallPolicy, refund_request::Charge,
        reverse_request::Credit,
    },
};
use futures_util::{StreamExt as _, stream};
use tonic::{Code, Status};

use crate::support::{
    process::{billing, new_token},
    server::{TestServer, config},
    waiting::ended,
    *,
};

fn reversing(policy: ShortfallPolicy, key: &str, micro_usd: i64, credit_key: &str) -> ReverseRequest {
    ReverseRequest { shortfall_policy: policy.into(), ..reverse("ann", key, micro_usd, credit_key) }
}

fn under(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What a payment service tells of one deposit of 100: refunds of 30, a dispute of the other 70, which is won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Deposit,
    Refund,
    DisputeOpened,
    DisputeWon,
}

const EVENTS: [Event; 4] = [Event::Deposit, Event::Refund, Event::DisputeOpened, Event::DisputeWon];

impl Event {
    /// Carries it out as a coordinator does. Every name is of this account alone.
    async fn deliver(self, client: &mut Client, account: &str) -> Result<(), Status> {
        let session = format!("cs_{account}");
        match self {
            Self::Deposit => {
                client.credit(stripe_deposit(account, "deposit-1", 100, &session)).await.map(drop)
            }
            Self::Refund => {
                let credit = Some(Credit::CreditExternalId(session));
                let reversal = ReverseRequest {
                    credit,
                    external_ids: vec![format!("re_{account}")],
                    ..reverse(account, "refund-1", 30, "")
                };
                client.reverse(reversal).await.map(drop)
            }
            Self::DisputeOpened => {
                let credit = Some(Credit::CreditExternalId(session));
                let reversal = ReverseRequest {
                    credit,
                    shortfall_policy: ShortfallPolicy::AllowDebt.into(),
                    ..reverse(account, "dispute-1", 70, "")
                };
                client.reverse(reversal).await.map(drop)
            }
            Self::DisputeWon => client.refund(refund(account, "won-1", 70, "dispute-1")).await.map(drop),
        }
    }
}

/// All orders of the events, each of which comes twice.
fn orders() -> Vec<Vec<Event>> {
    fn extend(order: &mut Vec<Event>, orders: &mut Vec<Vec<Event>>) {
        if order.len() == 2 * EVENTS.len() {
            return orders.push(order.clone());
        }
        for event in EVENTS {
            if order.iter().filter(|earlier| **earlier == event).count() < 2 {
                order.push(event);
                extend(order, orders);
                order.pop();
            }
        }
    }
    let mut orders = Vec::new();
    extend(&mut Vec::new(), &mut orders);
    orders
}

/// Delivers events in an order, and what was not found again at the end, as a payment service does.
async fn deliver(mut client: Client, account: String, order: Vec<Event>) {
    let mut waiting = order.clone();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut again = Vec::new();
        for event in waiting {
            if let Err(status) = event.deliver(&mut client, &account).await {
                let (code, reason) = reason(Err::<(), _>(status));
                assert_eq!(code, Code::NotFound, "{event:?} in {order:?}: {reason}");
                again.push(event);
            }
        }
        assert!(again.len() < before, "{again:?} are not found any more, in {order:?}");
        waiting = again;
    }
    let balance = posted_and_withdrawable(&mut client, &account).await;
    assert_eq!(balance, (100 - 30, 0), "{order:?}");
    for event in EVENTS {
        event.deliver(&mut client, &account).await.unwrap();
    }
    assert_eq!(
        posted_and_withdrawable(&mut client, &account).await,
        (100 - 30, 0),
        "after redelivery, {order:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_its_refund_its_dispute_and_the_end_of_that_come_to_the_same_in_any_order_and_each_twice() {
    on_a_served_book(async |book, client| {
        let orders = orders();
        assert_eq!(orders.len(), 2_520);
        stream::iter(orders.into_iter().enumerate())
            .map(|(n, order)| deliver(client.clone(), format!("account-{n}"), order))
            .buffer_unordered(64)
            .collect::<Vec<()>>()
            .await;
        let posted = "SELECT count(*) FROM accounts WHERE posted_micro_usd <> 70 OR last_sequence <> 4";
        assert_eq!(book.number(posted).await, 0);
        ended(billing(&["audit", "--database-url", &book.url]).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_is_taken_back_up_to_what_is_left_of_it() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.credit(deposit("ann", "order-2", 500)).await.answered();
        let (entry, _) = client.reverse(reverse("ann", "dispute-1", 60, "order-1")).await.answered();
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::Reversal, -60));
        assert_eq!((entry.reversed_sequence, entry.refunded_sequence), (1, 0));
        let beyond = client.reverse(reverse("ann", "dispute-2", 41, "order-1")).await;
        let metadata = refused(beyond, Code::FailedPrecondition, "REVERSAL_EXCEEDS_CREDIT");
        assert_eq!(metadata["reversible_micro_usd"], "40");
        let (restored, _) = client.refund(refund("ann", "won-1", 20, "dispute-1")).await.answered();
        assert_eq!((restored.refunded_sequence, restored.reversed_sequence), (3, 1));
        let beyond = client.refund(refund("ann", "won-2", 41, "dispute-1")).await;
        let metadata = refused(beyond, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
        assert_eq!(metadata["refundable_micro_usd"], "40");
        client.reverse(reverse("ann", "dispute-3", 60, "order-1")).await.answered();
        let beyond = client.reverse(reverse("ann", "dispute-4", 1, "order-1")).await;
        let metadata = refused(beyond, Code::FailedPrecondition, "REVERSAL_EXCEEDS_CREDIT");
        assert_eq!(metadata["reversible_micro_usd"], "0");
        let (_, since) = applied(&mut client, "ann", "order-1").await;
        assert_eq!(since.undone_micro_usd, 100);
        assert_eq!(available(&mut client, "ann").await, 500);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_credits_are_reversed_and_only_debits_refunded() {
    on_a_service(async |mut client| {
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.charge(charge("ann", "job-1", 10)).await.answered();
        client.refund(refund("ann", "refund-1", 10, "job-1")).await.answered();
        client.reverse(reverse("ann", "dispute-1", 10, "order-1")).await.answered();
        client.reserve(reserve("ann", "hold-1", 10)).await.answered();
        client.refund(refund("ann", "won-1", 10, "dispute-1")).await.answered();
        for (key, entry_type) in [
            ("job-1", "CHARGE"),
            ("refund-1", "REFUND"),
            ("dispute-1", "REVERSAL"),
            ("hold-1", "RESERVE"),
            ("won-1", "REFUND"),
        ] {
            let answer = client.reverse(reverse("ann", &format!("of-{key}"), 1, key)).await;
            let metadata = refused(answer, Code::FailedPrecondition, "NOT_REVERSIBLE");
            assert_eq!(metadata["entry_type"], entry_type);
        }
        let answer = client.refund(refund("ann", "refund-2", 1, "order-1")).await;
        refused(answer, Code::FailedPrecondition, "NOT_REFUNDABLE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_comes_before_its_deposit_is_not_remembered() {
    on_a_service(async |mut client| {
        let by_name = ReverseRequest {
            credit: Some(Credit::CreditExternalId("cs_1".into())),
            ..reverse("ann", "dispute-1", 30, "")
        };
        for _ in 0..2 {
            refused(client.reverse(by_name.clone()).await, Code::NotFound, "CREDIT_NOT_FOUND");
        }
        client.credit(stripe_deposit("bob", "order-1", 30, "cs_1")).await.answered();
        refused(client.reverse(by_name.clone()).await, Code::NotFound, "CREDIT_NOT_FOUND"); // is Bob's
        client.credit(stripe_deposit("ann", "order-1", 30, "cs_2")).await.answered();
        let by_name = ReverseRequest { credit: Some(Credit::CreditExternalId("cs_2".into())), ..by_name };
        let (entry, replayed) = client.reverse(by_name).await.answered();
        assert_eq!((entry.amount_micro_usd, replayed), (-30, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_one_kind_of_payment_is_never_a_replay_of_another() {
    on_a_service(async |mut client| {
        client.credit(stripe_deposit("ann", "order-1", 50, "cs_1")).await.answered();
        let earning = CreditRequest {
            entry_type: EntryType::Earning.into(),
            external_ids: under(&["tr_1"]),
            ..deposit("ann", "order-2", 50)
        };
        client.credit(earning).await.answered();
        let paid_out = |key: &str, name: &str| billing::grpc::proto::WithdrawRequest {
            external_ids: under(&[name]),
            ..withdraw("ann", key, 50)
        };
        let disputed = |key: &str, name: &str, credit: &str| ReverseRequest {
            external_ids: under(&[name]),
            ..reverse("ann", key, 50, credit)
        };
        let metadata = refused(
            client.withdraw(paid_out("payout-1", "cs_1")).await,
            Code::FailedPrecondition,
            "EXTERNAL_ID_CONFLICT",
        );
        assert_eq!((metadata["external_id"].as_str(), metadata["conflict"].as_str()), ("cs_1", "method"));
        client.withdraw(paid_out("payout-2", "po_1")).await.answered();
        let answers = [
            (client.reverse(disputed("dispute-1", "po_1", "order-1")).await.map(drop), "method"),
            (client.reverse(disputed("dispute-2", "cs_1", "order-1")).await.map(drop), "method"),
            (client.credit(stripe_deposit("ann", "order-3", 50, "po_1")).await.map(drop), "method"),
            (client.withdraw(paid_out("payout-3", "tr_1")).await.map(drop), "method"),
        ];
        for (answer, conflict) in answers {
            let metadata = refused(answer, Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT");
            assert_eq!(metadata["conflict"], conflict);
        }
        client.reverse(disputed("dispute-3", "dp_1", "order-1")).await.answered();
        let other = client.reverse(disputed("dispute-4", "dp_1", "order-2")).await;
        let metadata = refused(other, Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT");
        assert_eq!(metadata["conflict"], "credit");
        // Another delivery under another key is a replay, also by a name that was not known.
        let again = ReverseRequest {
            external_ids: under(&["dp_1", "pi_dispute"]),
            ..reverse("ann", "dispute-5", 50, "order-1")
        };
        let (entry, replayed) = client.reverse(again).await.answered();
        assert_eq!((entry.idempotency_key.as_str(), replayed), ("dispute-3", true));
        let found = client.find_payment(find_payment("pi_dispute")).await.unwrap().into_inner();
        assert_eq!(found.entry.unwrap(), entry);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_left_uncollected_or_owed_without_limit_and_holds_are_not_touched() {
    use ShortfallPolicy::{AllowDebt, CollectAvailable, Reject};
    on_a_book(async |book| {
        let mut with_debt = config();
        with_debt.limits.debt_max = MicroUsd::new(5);
        let server = TestServer::start(&book.url, with_debt).await;
        let mut client = server.client().await;
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.reserve(reserve("ann", "hold-1", 40)).await.answered();
        client.charge(charge("ann", "job-1", 50)).await.answered(); // 10 are left
        let too_much = client.reverse(reversing(Reject, "dispute-1", 11, "order-1")).await;
        let metadata = refused(too_much, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
        assert_eq!(
            (metadata["available_micro_usd"].as_str(), metadata["held_micro_usd"].as_str()),
            ("10", "40")
        );
        let some = client.reverse(reversing(CollectAvailable, "dispute-2", 30, "order-1")).await.answered().0;
        assert_eq!((some.amount_micro_usd, some.uncollected_micro_usd), (-10, 20));
        let all = client.reverse(reversing(AllowDebt, "dispute-3", 90, "order-1")).await.answered().0;
        assert_eq!((all.amount_micro_usd, all.uncollected_micro_usd), (-90, 0));
        assert_eq!(available(&mut client, "ann").await, -90);
        client.capture(capture("ann", "capture-1", "hold-1", 40)).await.answered();
        let balance = account(&mut client, "ann").await.balance.unwrap();
        assert_eq!((balance.posted_micro_usd, balance.held_micro_usd), (-90, 0));
        // What was not collected was not taken: it cannot be given back, and is still to be had.
        client.refund(refund("ann", "won-2", 10, "dispute-2")).await.answered();
        let beyond = client.refund(refund("ann", "won-3", 1, "dispute-2")).await;
        refused(beyond, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
        client.reverse(reversing(AllowDebt, "dispute-4", 10, "order-1")).await.answered();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_of_sixty_four_disputes_at_once_is_taken_back_once() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let mut client = clients[0].clone();
        client.credit(deposit("ann", "order-1", 100)).await.answered();
        client.credit(deposit("ann", "order-2", 10_000)).await.answered();
        let answers = at_once(&clients, 64, |mut client, caller| async move {
            client.reverse(reverse("ann", &format!("dispute-{caller}"), 30, "order-1")).await
        })
        .await;
        let (taken, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(taken.len(), 3);
        for refusal in refusals {
            let metadata = refused(refusal, Code::FailedPrecondition, "REVERSAL_EXCEEDS_CREDIT");
            assert!(["10", "40", "70", "100"].contains(&metadata["reversible_micro_usd"].as_str()));
        }
        assert_eq!(available(&mut client, "ann").await, 10_010);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_gave_only_an_operator_takes_back_or_gives_again() {
    on_a_book(async |book| {
        let (ops, ops_line) = new_token("ops", "admin");
        let (web, web_line) = new_token("web", "coordinator");
        let (service, _dir) = book.serve_to(&(ops_line + &web_line), &[]);
        let mut client = service.client().await;
        client.admin_credit(with_token(&ops, grant("ann", "grant-1", 50))).await.answered();
        client.credit(with_token(&web, deposit("ann", "order-1", 50))).await.answered();
        client.charge(with_token(&web, charge("ann", "job-1", 20))).await.answered();
        let denied = |answer: Result<(), Status>, needed: &str| {
            let metadata = refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
            assert_eq!(metadata["needed"], needed);
        };
        let of = |credit: &str, key: &str| reverse("ann", key, 10, credit);
        denied(client.reverse(with_token(&web, of("grant-1", "r-1"))).await.map(drop), "admin");
        denied(client.reverse(with_token(&ops, of("order-1", "r-2"))).await.map(drop), "coordinator");
        denied(
            client.refund(with_token(&ops, refund("ann", "x-1", 1, "job-1"))).await.map(drop),
            "coordinator",
        );
        client.reverse(with_token(&ops, of("grant-1", "r-1"))).await.answered();
        client.reverse(with_token(&web, of("order-1", "r-2"))).await.answered();
        // Not even a replay.
        denied(client.reverse(with_token(&web, of("grant-1", "r-1"))).await.map(drop), "admin");
        denied(client.refund(with_token(&web, refund("ann", "x-2", 1, "r-1"))).await.map(drop), "admin");
        denied(
            client.refund(with_token(&ops, refund("ann", "x-3", 1, "r-2"))).await.map(drop),
            "coordinator",
        );
        client.refund(with_token(&ops, refund("ann", "x-2", 10, "r-1"))).await.answered();
        client.refund(with_token(&web, refund("ann", "x-3", 10, "r-2"))).await.answered();
        let balance = client.get_account(with_token(&ops, get_account("ann"))).await.unwrap().into_inner();
        assert_eq!(balance.account.unwrap().balance.unwrap().posted_micro_usd, 80);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debit_is_refunded_by_a_name_of_its_payment() {
    on_a_service(async |mut client| {
        client.credit(stripe_deposit("ann", "order-1", 50, "cs_1")).await.answered();
        let dispute =
            ReverseRequest { external_ids: under(&["dp_1"]), ..reverse("ann", "dispute-1", 50, "order-1") };
        client.reverse(dispute).await.answered();
        let won = |key: &str, name: &str| RefundRequest {
            charge: Some(Charge::ChargeExternalId(name.into())),
            ..refund("ann", key, 50, "")
        };
        refused(client.refund(won("won-1", "dp_2")).await, Code::NotFound, "CHARGE_NOT_FOUND");
        refused(client.refund(won("won-1", "cs_1")).await, Code::FailedPrecondition, "NOT_REFUNDABLE");
        let (entry, _) = client.refund(won("won-2", "dp_1")).await.answered();
        assert_eq!((entry.refunded_sequence, entry.reversed_sequence), (2, 1));
        let by_key = client.refund(refund("ann", "won-2", 50, "dispute-1")).await;
        refused(by_key, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
    })
    .await;
}
