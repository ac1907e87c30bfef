//! One payment has one entry, whatever it is called: by any of its names in other systems, and under any key.

use std::collections::HashSet;

use billing::{
    accounting::{Command, Outcome},
    grpc::proto::{CreditRequest, CreditResponse, Entry, EntryType},
};
use tonic::{Code, Response, Status};

use crate::support::{
    process::{Process, billing},
    waiting::ended,
    *,
};

const CALLERS: usize = 64;
/// A session, its intent and its charge in every order, and the intent with one of the others or alone.
const ORDERS: [&[&str]; 11] = [
    &["cs", "pi", "ch"],
    &["cs", "ch", "pi"],
    &["pi", "cs", "ch"],
    &["pi", "ch", "cs"],
    &["ch", "cs", "pi"],
    &["ch", "pi", "cs"],
    &["cs", "pi"],
    &["pi", "cs"],
    &["ch", "pi"],
    &["pi", "ch"],
    &["pi"],
];
const KINDS: [EntryType; 5] = [
    EntryType::StripeDeposit,
    EntryType::Deposit,
    EntryType::Earning,
    EntryType::ReferralReward,
    EntryType::InviteCredit,
];

/// A credit of a payment under some of its names.
fn payment(account: &str, key: &str, micro_usd: i64, names: &[&str]) -> CreditRequest {
    CreditRequest {
        external_ids: names.iter().map(|name| (*name).to_owned()).collect(),
        ..stripe_deposit(account, key, micro_usd, "")
    }
}

/// The entry of a payment, if it is known.
async fn find(client: &mut Client, name: &str) -> Option<Entry> {
    match client.find_payment(find_payment(name)).await {
        Ok(found) => Some(found.into_inner().entry.unwrap()),
        unknown => {
            refused(unknown, Code::NotFound, "PAYMENT_NOT_FOUND");
            None
        }
    }
}

/// What a conflict names, but for the time: the id that is known, and what differs.
fn conflict(answer: Result<Response<CreditResponse>, Status>) -> (String, String) {
    let mut metadata = refused(answer, Code::FailedPrecondition, "EXTERNAL_ID_CONFLICT");
    let mut take = |name: &str| metadata.remove(name).unwrap();
    let told = (take("external_id"), take("conflict"));
    take("refused_time");
    assert!(metadata.is_empty(), "it tells of another account: {metadata:?}");
    told
}

/// Runs a test with two replicas of the service on one book, which the audit finds right at the end.
async fn on_two_replicas(test: impl AsyncFnOnce(&TestBook, [Client; 2])) {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        test(book, [servers[0].client().await, servers[1].client().await]).await;
        drop(servers);
        ended(billing(&["audit", "--database-url", &book.url]).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_sixty_four_callers_under_its_session_its_intent_and_its_charge_is_one_entry() {
    on_two_replicas(async |book, clients| {
        for round in 0..6 {
            let posted = book.number("SELECT coalesce(sum(posted_micro_usd), 0) FROM accounts").await;
            let answers = at_once(&clients, CALLERS, move |mut client, caller| async move {
                let names =
                    ORDERS[(caller + round) % ORDERS.len()].iter().map(|name| format!("{name}_{round}"));
                let request = CreditRequest {
                    external_ids: names.collect(),
                    entry_type: KINDS[caller % KINDS.len()].into(),
                    ..deposit("ann", &format!("order-{round}-{caller}"), 500)
                };
                client.credit(request).await.answered()
            })
            .await;
            let (entry, _) = &answers[0];
            assert!(answers.iter().all(|(other, _)| other == entry), "64 equal answers");
            assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1);
            let [mut one, mut other] = clients.clone();
            for name in ["cs", "pi", "ch"] {
                let name = format!("{name}_{round}");
                for client in [&mut one, &mut other] {
                    assert_eq!(find(client, &name).await.as_ref(), Some(entry), "{name}");
                }
            }
            let after = "SELECT sum(posted_micro_usd) FROM accounts";
            assert_eq!(book.number(after).await, posted + 500);
        }
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 6);
        assert_eq!(book.number("SELECT count(*) FROM payments").await, 6 * 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_who_each_know_a_further_name_give_the_payment_all_of_them() {
    on_two_replicas(async |book, clients| {
        let answers = at_once(&clients, CALLERS, |mut client, caller| async move {
            let names = [format!("n_{caller}"), "pi_1".to_owned()];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            client.credit(payment("ann", &format!("order-{caller}"), 500, &names)).await.answered()
        })
        .await;
        let (entry, _) = &answers[0];
        assert!(answers.iter().all(|(other, _)| other == entry));
        let [mut client, _] = clients;
        for caller in 0..CALLERS {
            assert_eq!(find(&mut client, &format!("n_{caller}")).await.as_ref(), Some(entry));
        }
        assert_eq!(find(&mut client, "pi_1").await.as_ref(), Some(entry));
        assert_eq!(entry.external_ids.len(), 2, "an entry never changes");
        assert_eq!(book.number("SELECT count(*) FROM payments").await, 65);
    })
    .await;
}

/// Whoever knows both names is first or last, or comes between.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_known_as_one_payment_or_as_two_stay_so_however_they_race() {
    on_two_replicas(async |_, clients| {
        for round in 0..40 {
            let answers = at_once(&clients, 6, move |mut client, caller| async move {
                let (cs, pi) = (format!("cs_{round}"), format!("pi_{round}"));
                let names = match (caller + round) % 3 {
                    0 => vec![&*cs],
                    1 => vec![&*pi],
                    _ => vec![&*pi, &*cs],
                };
                let answer = client.credit(payment("ann", &format!("o-{round}-{caller}"), 5, &names)).await;
                if answer.is_err() {
                    assert_eq!(names.len(), 2, "{answer:?}");
                    let (known, what) = conflict(answer);
                    assert!([cs, pi].contains(&known) && what == "external_ids", "{known} {what}");
                    return None;
                }
                let (entry, replayed) = answer.answered();
                Some((entry.sequence, replayed))
            })
            .await;
            let given: Vec<_> = answers.iter().flatten().collect();
            let entries: HashSet<i64> = given.iter().map(|(sequence, _)| *sequence).collect();
            let new = given.iter().filter(|(_, replayed)| !replayed).count();
            assert_eq!(new, entries.len(), "{answers:?}");
            assert_eq!(entries.len(), if given.len() < 6 { 2 } else { 1 }, "{answers:?}");
            let mut client = clients[round % 2].clone();
            let mut found = HashSet::new();
            for name in ["cs", "pi"] {
                found.insert(find(&mut client, &format!("{name}_{round}")).await.unwrap().sequence);
            }
            assert_eq!(found, entries);
        }
    })
    .await;
}

/// The accounts give the names in opposite orders, and have one of them in common.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_two_accounts_at_once_is_of_one_of_them() {
    on_two_replicas(async |book, clients| {
        for round in 0..30 {
            let answers = at_once(&clients, 2, move |mut client, caller| async move {
                let (own, common) = (format!("own_{round}_{caller}"), format!("pi_{round}"));
                let account = ["ann", "bob"][caller];
                let names = if caller == 0 { [&*own, &*common] } else { [&*common, &*own] };
                client.credit(payment(account, &format!("order-{round}"), 100, &names)).await
            })
            .await;
            let (given, mut refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!((given.len(), refused.len()), (1, 1));
            let told = conflict(refused.remove(0));
            assert_eq!(told, (format!("pi_{round}"), "account_id".to_owned()));
            let mut client = clients[0].clone();
            let mut known = 0;
            for caller in 0..2 {
                known += usize::from(find(&mut client, &format!("own_{round}_{caller}")).await.is_some());
            }
            assert_eq!(known, 1, "what was refused names nothing");
        }
        assert_eq!(book.number("SELECT sum(posted_micro_usd) FROM accounts").await, 3_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_refused_by_what_differs_and_remembered() {
    on_a_service(async |mut client| {
        let (first, _) = client.credit(payment("ann", "order-1", 500, &["cs_1", "pi_1"])).await.answered();
        let (other, _) = client.credit(payment("ann", "order-2", 500, &["ch_2"])).await.answered();
        let cases = [
            (payment("bob", "order-3", 500, &["pi_1"]), "pi_1", "account_id"),
            (payment("bob", "order-4", 501, &["new_4", "cs_1"]), "cs_1", "account_id"),
            (payment("ann", "order-5", 501, &["new_5", "pi_1"]), "pi_1", "amount_micro_usd"),
            (payment("ann", "order-6", 500, &["pi_1", "ch_2"]), "pi_1", "external_ids"),
            (payment("ann", "order-7", 500, &["cs_1", "ch_2", "new_7"]), "cs_1", "external_ids"),
        ];
        let mut told = Vec::new();
        for (request, known, what) in &cases {
            told.push(error(client.credit(request.clone()).await));
            let again = conflict(client.credit(request.clone()).await);
            assert_eq!(again, ((*known).to_owned(), (*what).to_owned()), "{request:?}");
        }
        for ((request, ..), told) in cases.iter().zip(&told) {
            assert_eq!(error(client.credit(request.clone()).await), *told, "for ever under its key");
            let refusal = refusal(&mut client, &request.account_id, &request.idempotency_key).await;
            assert_eq!(refusal.metadata, told.2.clone().into_iter().collect());
        }
        for name in ["new_4", "new_5", "new_7"] {
            assert_eq!(find(&mut client, name).await, None, "a refusal gives no name");
        }
        for (name, entry) in [("cs_1", &first), ("pi_1", &first), ("ch_2", &other)] {
            assert_eq!(find(&mut client, name).await.as_ref(), Some(entry));
        }
        // A name of what was refused can still be that of another payment.
        assert!(!client.credit(payment("bob", "order-8", 7, &["new_4"])).await.answered().1);
        assert_eq!(available(&mut client, "ann").await, 1_000);
    })
    .await;
}

/// One transaction decides all of them: what the first of them names is in no table yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_in_a_batch_is_known_to_all_that_follows_in_it() {
    on_a_book(async |book| {
        let requests = [
            payment("ann", "order-1", 5, &["cs_1"]),
            payment("ann", "order-2", 5, &["pi_1", "cs_1"]),
            payment("bob", "order-1", 5, &["pi_1"]),
            payment("ann", "order-3", 6, &["pi_1"]),
            payment("ann", "order-4", 5, &["pi_1", "ch_1"]),
            payment("bob", "order-2", 5, &["cs_2"]),
            payment("ann", "order-5", 5, &["ch_1"]),
        ];
        let commands = requests.map(|request| Command::try_from(request).unwrap());
        let ledger = book.ledger().await;
        for round in 0..2 {
            let answers = ledger.post_batch(&commands).await.unwrap();
            let told: Vec<_> = answers
                .into_iter()
                .map(|answer| match answer {
                    Outcome::Applied { entry, since, .. } => {
                        format!("{} {}", entry.account_id, since.is_some())
                    }
                    Outcome::Refused(refusal) => refusal.metadata["conflict"].clone(),
                    other @ (Outcome::Declined(_)
                    | Outcome::Forbidden(_)
                    | Outcome::Invalid(_)
                    | Outcome::KeyReused(_)
                    | Outcome::NotFound(_)) => panic!("{other:?}"),
                })
                .collect();
            let new = |account: &str| format!("{account} {}", round > 0);
            let expected = [
                &new("ann"),
                "ann true",
                "account_id",
                "amount_micro_usd",
                "ann true",
                &new("bob"),
                "ann true",
            ];
            assert_eq!(told, expected);
        }
        assert_eq!(book.number("SELECT count(*) FROM payments").await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_payment_are_distinct_at_most_four_and_visible_ascii() {
    on_a_service(async |mut client| {
        let long = "n".repeat(256);
        for names in [
            &["a", "b", "c", "d", "e"][..],
            &["a", "b", "a"],
            &["a", ""],
            &["a", "b c"],
            &["\u{e9}"],
            &[long.as_str()],
            &[], // of a Stripe deposit
        ] {
            let wrong = client.credit(payment("ann", "order-1", 5, names)).await;
            assert_eq!(wrong_fields(wrong), ["external_ids"], "{names:?}");
        }
        for name in ["", "b c", "\u{e9}", &long] {
            assert_eq!(
                wrong_fields(client.find_payment(find_payment(name)).await),
                ["external_id"],
                "{name:?}"
            );
        }
        let (entry, replayed) =
            client.credit(payment("ann", "order-1", 5, &["d", "c", "b", "a"])).await.answered();
        assert!(!replayed, "the key was not used up");
        assert_eq!(entry.external_ids, ["a", "b", "c", "d"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_names_has_no_meaning_and_each_of_them_has() {
    on_a_service(async |mut client| {
        let (first, _) =
            client.credit(payment("ann", "order-1", 5, &["pi_1", "cs_1", "ch_1"])).await.answered();
        for names in [["cs_1", "ch_1", "pi_1"], ["ch_1", "pi_1", "cs_1"]] {
            let again = client.credit(payment("ann", "order-1", 5, &names)).await.answered();
            assert_eq!(again, (first.clone(), true));
        }
        assert_eq!(applied(&mut client, "ann", "order-1").await.0.external_ids, ["ch_1", "cs_1", "pi_1"]);
        for names in [&["cs_1", "ch_1"][..], &["cs_1", "ch_1", "pi_2"], &["cs_1 ch_1"], &[]] {
            let request = CreditRequest {
                entry_type: EntryType::Deposit.into(),
                ..payment("ann", "order-1", 5, names)
            };
            let (_, why) = reason(client.credit(request).await);
            let expected = if names == ["cs_1 ch_1"] { "INVALID_FIELD" } else { "IDEMPOTENCY_KEY_REUSED" };
            assert_eq!(why, expected, "{names:?}");
        }
        let fewer = client.credit(payment("ann", "order-1", 5, &["cs_1"])).await;
        let metadata = refused(fewer, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(metadata["fields"], "external_ids");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_name_is_known_after_a_restart() {
    on_a_book(async |book| {
        let serve = || Process::serve(&["--database-url", &book.url]);
        let service = serve();
        let mut client = service.client().await;
        let (entry, _) = client.credit(payment("ann", "order-1", 500, &["cs_1"])).await.answered();
        let again = client.credit(payment("ann", "order-2", 500, &["pi_1", "cs_1"])).await.answered();
        assert_eq!(again, (entry.clone(), true));
        service.kill();

        let service = serve();
        let mut client = service.client().await;
        for name in ["cs_1", "pi_1"] {
            assert_eq!(find(&mut client, name).await.as_ref(), Some(&entry), "{name}");
        }
        let third = client.credit(payment("ann", "order-3", 500, &["ch_1", "pi_1"])).await.answered();
        assert_eq!(third, (entry.clone(), true), "by the further name alone");
        let of_another = client.credit(payment("bob", "order-4", 500, &["pi_1"])).await;
        assert_eq!(conflict(of_another).1, "account_id");
        assert_eq!(find(&mut client, "ch_1").await, Some(entry));
        ended(billing(&["audit", "--database-url", &book.url]).await, 0);
    })
    .await;
}

/// A payment may have more names than one call can give.
#[tokio::test(flavor = "multi_thread")]
async fn names_add_up_from_call_to_call_and_the_entry_stays_as_it_was_written() {
    on_a_service(async |mut client| {
        let (entry, _) = client.credit(payment("ann", "order-0", 5, &["n_0"])).await.answered();
        for n in 1..=12 {
            let names = [format!("n_{n}"), format!("n_{}", n - 1)];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let again = client.credit(payment("ann", &format!("order-{n}"), 5, &names)).await.answered();
            assert_eq!(again, (entry.clone(), true));
        }
        for n in 0..=12 {
            assert_eq!(find(&mut client, &format!("n_{n}")).await.as_ref(), Some(&entry));
        }
        assert_eq!(find(&mut client, "n_13").await, None);
        assert_eq!(available(&mut client, "ann").await, 5);
    })
    .await;
}
