//! Books in PostgreSQL with random histories in them, every type of entry included.

use billing::ledger::{Ledger, Writer};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    histories::{History, batch_sizes, cut, histories},
    ledger_properties::import,
    memory_journal::limits,
    support::{PostBatch as _, TestBook},
    translation::commands,
};

/// How many histories make a book: together they have every type of entry.
const HISTORIES: usize = 25;

/// Writes random histories into a book, each of accounts of its own, and ends every lease that has run out. `run` tells one
/// set of histories from another.
pub async fn fill(book: &TestBook, run: &str) {
    let mut runner = TestRunner::deterministic();
    let cases = (histories(30..=60), batch_sizes());
    for number in 0..HISTORIES {
        let (history, sizes) = cases.new_tree(&mut runner).unwrap().current();
        let history = history.with_leases_for_a_real_clock().renamed(&format!("-{run}{number}"));
        post(book, &history, &sizes).await;
    }
    end_lapsed(&book.ledger().await).await;
    let types = "SELECT count(DISTINCT entry_type) FROM ledger_entries WHERE idempotency_key IS NOT NULL";
    assert_eq!(book.number(types).await, 16, "a type of entry is missing");
    let extended_in_debt =
        "SELECT count(*) FROM ledger_entries WHERE entry_type = 12 AND posted_after < held_after";
    assert!(book.number(extended_in_debt).await > 0, "no reservation was extended in debt");
}

async fn post(book: &TestBook, history: &History, sizes: &[usize]) {
    import(book, &history.imported).await;
    let ledger = Ledger::connect(&book.url.parse().unwrap(), 1, 1, limits(history.debt_max)).await.unwrap();
    for batch in cut(&history.calls, sizes) {
        ledger.post_batch(&commands(batch)).await.unwrap();
    }
}

/// Writes down which leases have run out, as the sweeper does.
async fn end_lapsed(ledger: &Ledger) {
    for due in ledger.due_list(None, usize::MAX).await.unwrap() {
        Writer::new(ledger).write_lapsed([due.account_id].into()).await.unwrap();
    }
}
