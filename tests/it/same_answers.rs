//! What callers are told is the same, byte for byte but for times, however many books a ledger has and wherever they are.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use fastrand::Rng;

use crate::{
    chaos::{
        clients::clock,
        operations::Accounts,
        wording::{Outcome, Told, send},
    },
    five_faults::without_times,
    histories::expire_of,
    model::{Call, What},
    support::*,
};

const CALLS: usize = 600;
/// One call in so many is asked once more.
const AGAIN: usize = 5;
const DEADLINE: Duration = Duration::from_secs(30);
/// Later than the end of the test: what ends in between is for clocks to decide.
const DAY: i64 = 86_400_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_the_same_by_one_book_and_by_four() {
    tell_the_same(&TestBook::with_books(1).await, &TestBook::with_books(4).await).await;
}

/// Asks two ledgers for the same operations, of which later ones name what earlier ones came to, and then for all that there is.
pub async fn tell_the_same(one: &TestBook, other: &TestBook) {
    let servers = [one.serve().await, other.serve().await];
    let mut clients = [servers[0].client().await, servers[1].client().await];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (mut rng, accounts, mut names) = (Rng::with_seed(seed), Accounts::new(), BTreeSet::new());
    let (mut applied, mut refused) = (0, 0);
    for n in 0..CALLS {
        let call = lasting(accounts.choose(&mut rng, format!("job-{n}")));
        for _ in 0..=usize::from(n % AGAIN == 0) {
            let [first, second] = &mut clients;
            let outcomes = tokio::join!(send(first, &call, DEADLINE), send(second, &call, DEADLINE));
            let (outcome, other) = (timeless(outcomes.0), timeless(outcomes.1));
            assert_eq!(text(&outcome), text(&other), "{call:?}");
            let Outcome::Told(told) = outcome else { panic!("{call:?}: {outcome:?}") };
            *(if told.entry().is_some() { &mut applied } else { &mut refused }) += 1;
            names.extend(told.leg_entries().iter().map(|entry| entry.account_id.clone()));
            accounts.learn(&call, &told);
        }
        names.insert(call.account);
    }
    println!("{applied} applied, {refused} refused, {} accounts", names.len());
    assert!(applied > CALLS / 4 && refused > CALLS / 10, "{applied} applied, {refused} refused");
    for name in &names {
        let mut read = Vec::new();
        for client in &mut clients {
            let account = client.get_account(get_account(name)).await.unwrap().into_inner();
            let entries = client.list_entries(list_entries(name)).await.unwrap().into_inner().entries;
            let reservations = client.list_reservations(list_reservations(name)).await.unwrap().into_inner();
            read.push(text(&(account, entries, reservations.reservations)));
        }
        assert_eq!(read[0], read[1], "{name}");
    }
}

/// The same call, with nothing in it that ends soon.
fn lasting(mut call: Call) -> Call {
    if let Some(expire) = expire_of(&mut call.what) {
        *expire = clock() + DAY;
    }
    if let What::Reserve { ttl: Some(ttl), .. } | What::Extend { ttl: Some(ttl), .. } = &mut call.what {
        *ttl = DAY;
    }
    call
}

/// A text of an answer, without its times.
fn text(answer: &impl Debug) -> String {
    without_times(&format!("{answer:?}"))
}

/// The same outcome, without the time of a refusal, which stands among its metadata.
fn timeless(mut outcome: Outcome) -> Outcome {
    if let Outcome::Told(Told::Refused { metadata, .. }) = &mut outcome {
        metadata.remove("refused_time");
    }
    outcome
}
