//! Books in PostgreSQL with random histories in them, every type of entry included.

use std::time::Duration;

use billing::{
    accounting::EntryType,
    ledger::{Ledger, Writer},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    accounting_properties::of_its_own,
    grant_histories::grant_histories,
    histories::{History, SOON, batch_sizes, cut, histories, unix_micros},
    ledger_properties::{all_due, import},
    memory_journal::limits,
    model::What,
    support::{PostBatch as _, TestBook},
    translation::commands,
};

/// How many histories make a book, some of them made for grants: together they have every type of entry.
const HISTORIES: usize = 40;

/// Writes random histories into a book, each of accounts of its own, and ends every lease and every grant that has run out.
/// `run` tells one set of histories from another.
pub async fn fill(book: &TestBook, run: &str) {
    let lapsing = format!("lapsing-{run}");
    let expire = hold_a_grant(book, &lapsing).await;
    let mut runner = TestRunner::deterministic();
    let cases = (histories(30..=60), batch_sizes());
    let cases_for_grants = (grant_histories(30..=60), batch_sizes());
    for number in 0..HISTORIES {
        let (history, sizes) = if number % 4 == 0 {
            cases_for_grants.new_tree(&mut runner).unwrap().current()
        } else {
            cases.new_tree(&mut runner).unwrap().current()
        };
        let history = history.with_leases_for_a_real_clock(unix_micros()).renamed(&format!("-{run}{number}"));
        post(book, &history, &sizes).await;
    }
    let left = Duration::from_micros(u64::try_from(expire - unix_micros()).unwrap_or_default());
    tokio::time::sleep(SOON.max(left)).await;
    let release = What::Release { reservation_id: "hold-1".to_owned() };
    post_own(book, &lapsing, vec![("release-1", release)]).await;
    end_lapsed(&book.ledger().await).await;
    for entry_type in EntryType::ALL {
        let of_type =
            "SELECT count(*) FROM ledger_entries WHERE idempotency_key IS NOT NULL AND entry_type =";
        let count = book.number(&format!("{of_type} {}", entry_type.number())).await;
        assert!(count > 0, "there is no {}", entry_type.name());
    }
    let lapsed = "SELECT count(*) FROM ledger_entries WHERE lapsed_micro_usd IS NOT NULL";
    assert!(book.number(lapsed).await > 0, "nothing lapsed because of an entry");
    let extended_in_debt =
        "SELECT count(*) FROM ledger_entries WHERE entry_type = 12 AND posted_after < held_after";
    assert!(book.number(extended_in_debt).await > 0, "no reservation was extended in debt");
}

/// Holds a grant that expires within a second, which is told: what comes back of it lapses right behind.
async fn hold_a_grant(book: &TestBook, account: &str) -> i64 {
    let expire = unix_micros() + 1_000_000;
    let (kind, external_ids) = ("INVITE_CREDIT", Vec::new());
    let grant = What::Credit { amount: 9, kind, external_ids, expire: Some(expire) };
    let hold = What::Reserve { amount: 6, ttl: None, expiry: "RELEASE" };
    post_own(book, account, vec![("grant-1", grant), ("hold-1", hold)]).await;
    expire
}

/// Asks for something of an account of its own, at one moment.
async fn post_own(book: &TestBook, account: &str, asked: Vec<(&str, What)>) {
    let calls: Vec<_> = asked.into_iter().map(|(key, what)| of_its_own(account, key, what)).collect();
    book.ledger().await.post_batch(&commands(&calls)).await.unwrap();
}

async fn post(book: &TestBook, history: &History, sizes: &[usize]) {
    import(book, &history.imported).await;
    let ledger = Ledger::connect(&book.url.parse().unwrap(), 1, 1, limits(history.debt_max)).await.unwrap();
    for batch in cut(&history.calls, sizes) {
        ledger.post_batch(&commands(batch)).await.unwrap();
    }
}

/// Writes down which leases and grants have run out, as the sweeper does.
async fn end_lapsed(ledger: &Ledger) {
    for due in all_due(ledger).await {
        Writer::new(ledger).write_lapsed([due.account_id].into()).await.unwrap();
    }
}
