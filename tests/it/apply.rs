//! `Apply`: many operations in one call, each by itself.

use std::time::Duration;

use billing::grpc::proto::{
    AccountState, Applied, ApplyRequest, Operation, Result as Told, operation::Operation as One, result,
};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{StatusExt as _, pb};

use crate::support::{Answer as _, process::new_token, waiting::until, *};

fn list(operations: impl IntoIterator<Item = One>) -> ApplyRequest {
    let operations = operations.into_iter().map(|operation| Operation { operation: Some(operation) });
    ApplyRequest { operations: operations.collect() }
}

/// So many deposits of 1 in `ann`, under the keys `<name>-0`, `<name>-1` and so on.
fn deposits(name: &str, count: usize) -> ApplyRequest {
    list((0..count).map(|n| One::Credit(deposit("ann", &format!("{name}-{n}"), 1))))
}

async fn apply(client: &mut Client, request: ApplyRequest) -> Vec<Told> {
    client.apply(request).await.unwrap().into_inner().results
}

fn applied(answer: &Told) -> &Applied {
    match answer.result.as_ref().unwrap() {
        result::Result::Applied(applied) => applied,
        result::Result::Error(error) => panic!("{error:?}"),
    }
}

/// An error of a list as that of a call by itself.
fn status(answer: &Told) -> Status {
    match answer.result.as_ref().unwrap() {
        result::Result::Applied(applied) => panic!("{applied:?}"),
        result::Result::Error(pb::Status { code, message, details }) => {
            let details = pb::Status { code: *code, message: message.clone(), details: details.clone() };
            Status::with_details(Code::from_i32(*code), message, details.encode_to_vec().into())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_of_a_list_has_the_answer_of_the_call_by_itself() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut client = server.client().await;
        let operations = [
            One::Credit(stripe_deposit("ann", "stripe-1", 100, "cs_1")),
            One::Charge(charge("ann", "job-1", 30)),
            One::Charge(charge("ann", "job-2", 1_000)),
            One::Charge(charge("ann", "job-1", 31)),
            One::Refund(refund("ann", "refund-1", 10, "job-1")),
            One::Refund(refund("ann", "refund-2", 10, "nothing")),
            One::AdminCredit(grant("ann", "grant-1", 5)),
            One::Reserve(reserve("ann", "task-1", 20)),
            One::ExtendReservation(extend("ann", "task-1-more", "task-1", 5)),
            One::Capture(capture("ann", "task-1-part", "task-1", 7)),
            One::Reserve(reserve("ann", "task-2", 20)),
            One::Release(release("ann", "task-2-end", "task-2")),
            One::Credit(deposit("ann", "bad-1", 0)),
            One::Credit(deposit("ann", "stripe_deposit", 5)),
            One::SetAccount(set_account("ann", "freeze-1", AccountState::Frozen)),
            One::Charge(charge("ann", "job-3", 1)),
            One::Credit(stripe_deposit("ann", "stripe-2", 99, "cs_1")),
        ];
        let answers = apply(&mut client, list(operations.clone())).await;
        assert_eq!(answers.len(), operations.len());
        let sequences: Vec<i64> = answers
            .iter()
            .filter_map(|answer| match answer.result.as_ref().unwrap() {
                result::Result::Applied(applied) => applied.entry.as_ref().map(|entry| entry.sequence),
                result::Result::Error(_) => None,
            })
            .collect();
assert!(sequences.into_iter().eq(1..=10), "not in the order of the list: {answers:?}");

        refused(Err::<(), _>(status(&answers[15])), Code::FailedPrecondition, "ACCOUNT_FROZEN");

        // A call by itself repeats each of them.
        macro_rules! by_itself {
            ($($operation:ident => $method:ident),+ $(,)?) => {
                for (operation, answer) in operations.iter().zip(&answers) {
                    match operation.clone() {
                        $(One::$operation(request) => match client.$method(request).await {
                            Ok(again) => {
                                let (again, first) = (again.into_inner(), applied(answer));
                                assert_eq!((again.entry, again.replayed), (first.entry.clone(), true));
                                assert_eq!((first.replayed, &first.since), (false, &None));
                            }
                            Err(again) => {
                                let first = status(answer);
                                assert_eq!((again.code(), again.message()), (first.code(), first.message()));
                                let violations = |status: &Status| {
                                    let details = status.get_error_details();
                                    details.bad_request().map(|bad| format!("{:?}", bad.field_violations))
                                };
                                assert_eq!(violations(&again), violations(&first));
                                assert_eq!(error(Err::<(), _>(again)), error(Err::<(), _>(first)));
                            }
                        },)+
                    }
                }
            };
        }
        by_itself! {
            Credit => credit, Charge => charge, Refund => refund, AdminCredit => admin_credit, Reserve => reserve,
            Capture => capture, Release => release, ExtendReservation => extend_reservation, SetAccount => set_account,
            Reverse => reverse, Withdraw => withdraw,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_on_one_account_are_carried_out_in_the_order_of_the_list() {
    on_a_service(async |mut client| {
        let two = |n: usize| {
            let account = format!("account-{}", n % 7);
            let credit = One::Credit(deposit(&account, &format!("in-{n}"), 5));
            [credit, One::Charge(charge(&account, &format!("out-{n}"), 5))]
        };
        let answers = apply(&mut client, list((0..250).flat_map(two))).await;
        for pair in answers.chunks(2) {
            let balances = pair.iter().map(|answer| {
                let entry = applied(answer).entry.as_ref().unwrap();
                entry.balance_after.as_ref().unwrap().posted_micro_usd
            });
            assert_eq!(balances.collect::<Vec<_>>(), [5, 0]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_sent_again_whole_or_in_part_is_applied_once() {
    on_a_book(async |book| {
        let replicas = (book.serve().await, book.serve().await);
        let clients = [replicas.0.client().await, replicas.1.client().await];
        // Parts of one list, which overlap, from both replicas at once.
        let answers = at_once(&clients, 16, async |mut client, caller| {
            let mut request = deposits("part", 60);
            request.operations.drain(..caller * 3);
            apply(&mut client, request).await
        })
        .await;
        for (caller, answers) in answers.iter().enumerate() {
            let keys =
                answers.iter().map(|answer| applied(answer).entry.as_ref().unwrap().idempotency_key.clone());
            let asked = (caller * 3..60).map(|n| format!("part-{n}"));
            assert_eq!(keys.collect::<Vec<_>>(), asked.collect::<Vec<_>>());
        }
        let firsts = answers.iter().flatten().filter(|answer| !applied(answer).replayed);
        assert_eq!(firsts.count(), 60);
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 60);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_is_not_whole_is_refused_before_anything_is_begun() {
    on_a_served_book(async |book, mut client| {
        let mut with_a_hole = deposits("hole", 3);
        with_a_hole.operations[1].operation = None;
        for request in [ApplyRequest::default(), deposits("many", 501), with_a_hole] {
            assert_eq!(wrong_fields(client.apply(request).await), ["operations"]);
        }
        let heavy = |count: usize| {
            let mut request = deposits("heavy", count);
            for operation in &mut request.operations {
                let Some(One::Credit(credit)) = &mut operation.operation else { unreachable!() };
                credit.metadata = (0..20).map(|n| (format!("n{n}"), "x".repeat(500))).collect();
            }
            request
        };
        refused(client.apply(heavy(110)).await, Code::InvalidArgument, "REQUEST_TOO_LARGE");
        assert_eq!(book.number("SELECT count(*) FROM accounts").await, 0);

        assert_eq!(apply(&mut client, deposits("full", 500)).await.len(), 500);
        assert_eq!(apply(&mut client, heavy(90)).await.len(), 90); // more than any other request may have
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_nothing_back() {
    on_a_served_book(async |book, mut client| {
        apply(&mut client, deposits("first", 1)).await;
        let blocker = book.lock("SELECT FROM accounts FOR UPDATE").await;
        is_too_late(client.apply(within(300, deposits("list", 500))).await);
        let mut gone = client.clone();
        let other = tokio::spawn(async move { gone.apply(deposits("other", 500)).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        other.abort();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(blocker);
        until("all are written", async || {
            let count = book.number("SELECT count(*) FROM ledger_entries").await;
            (count == 1_001).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_needs_the_role_of_its_own_method() {
    on_a_book(async |book| {
        let callers = [("web", "coordinator"), ("books", "reader"), ("ops", "admin")];
        let [(web, a), (books, b), (ops, c)] = callers.map(|(name, role)| new_token(name, role));
        let (service, _dir) = book.serve_to(&[a, b, c].concat(), &[]);
        let mut client = service.client().await;
        let request = |n: usize| {
            list([
                One::Credit(deposit("ann", &format!("order-{n}"), 5)),
                One::AdminCredit(grant("ann", &format!("grant-{n}"), 5)),
            ])
        };
        let told = client.apply(with_token(&books, request(0))).await;
        refused(told, Code::PermissionDenied, "PERMISSION_DENIED");
        for (n, token, caller, denied) in [(1, &web, "web", 1), (2, &ops, "ops", 0)] {
            let answers = client.apply(with_token(token, request(n))).await.unwrap().into_inner().results;
            let told =
                refused(Err::<(), _>(status(&answers[denied])), Code::PermissionDenied, "PERMISSION_DENIED");
            assert_eq!(told["caller"], caller);
            assert_eq!(applied(&answers[1 - denied]).entry.as_ref().unwrap().caller, caller);
        }
        assert!(service.terminate().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_takes_a_place_of_its_callers_share_for_each_operation() {
    on_a_book(async |book| {
        let callers = [("web", "coordinator"), ("other", "coordinator")];
        let [(web, a), (other, b)] = callers.map(|(name, role)| new_token(name, role));
        let (service, _dir) = book.serve_to(&[a, b].concat(), &[]);
        let mut client = service.client().await;
        client.apply(with_token(&web, deposits("first", 1))).await.unwrap();
        let blocker = book.lock("SELECT FROM accounts FOR UPDATE").await;
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let (mut client, request) =
                    (client.clone(), with_token(&web, deposits(&format!("list-{n}"), 500)));
                tokio::spawn(async move { client.apply(request).await.unwrap() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let beyond = client.apply(with_token(&web, deposits("beyond", 500))).await;
        refused(beyond, Code::ResourceExhausted, "OVERLOADED");
        let mut bob = deposit("bob", "order-1", 5);
        bob.reference = "of another caller".into();
        client.credit(with_token(&other, bob)).await.answered();
        drop(blocker);
        for list in waiting {
            assert_eq!(list.await.unwrap().into_inner().results.len(), 500);
        }
        client.apply(with_token(&web, deposits("beyond", 500))).await.unwrap();
        assert!(service.terminate().success());
    })
    .await;
}
