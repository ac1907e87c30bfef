//! How fast a history is imported, beside how fast the same table is copied by PostgreSQL's own programs, and in how little
//! memory. `make history` does it at the size of a real one.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{command::import_command, old_coordinator::OldCoordinator, rows, side_by_side::check_import};
use crate::support::{
    TestBook,
    cluster::cluster,
    measured::run_measured,
    waiting::{finish_within, wait_for_exit},
};

/// No more than this is ever in use, in KiB.
const MEMORY_MAX_KIB: u64 = 64 * 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_imported_in_little_memory_beside_how_fast_it_is_copied() {
    let old = OldCoordinator::with_history(rows()).await;
    old.run("VACUUM ANALYZE").await;
    let (book, copy) = (TestBook::create().await, TestBook::create_empty().await);
    let copied = copy_table(old.url(), &copy.url);
    let mut command = import_command(old.url(), &book.url);
    let imported = run_measured(command.stdout(Stdio::null()));
    let mut again = import_command(old.url(), &book.url);
    let again = run_measured(again.stdout(Stdio::null()));
    check_import(&old, &book).await;

    let total = old.number("SELECT count(*) FROM ledger_entries").await;
    assert_eq!(copy.number("SELECT count(*) FROM ledger_entries").await, total);
    println!("\n{total} rows in {} accounts", old.number("SELECT count(*) FROM balances").await);
    println!("| | time | rows a second | peak memory |\n|---|---|---|---|");
    for (what, elapsed, peak) in [
        ("pg_dump \\| psql", copied, None),
        ("billing import", imported.elapsed, Some(imported.peak_kib)),
        ("billing import, when all is there", again.elapsed, Some(again.peak_kib)),
    ] {
        let rate = u128::try_from(total).unwrap() * 1_000 / elapsed.as_millis().max(1);
        let peak = peak.map_or(String::new(), |kib| format!("{} MiB", kib / 1_024));
        println!("| {what} | {elapsed:.1?} | {rate} | {peak} |");
    }
    let percent = imported.elapsed.as_millis() * 100 / copied.as_millis().max(1);
    println!("An import takes {}.{:02} times as long as a copy.\n", percent / 100, percent % 100);
    for peak in [imported.peak_kib, again.peak_kib] {
        assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    }
}

/// How long the copy may take.
const COPY_PATIENCE: Duration = Duration::from_secs(3_600);

/// Copies the journal into a database that is empty, its indexes included, and returns how long that took.
fn copy_table(from: &str, to: &str) -> Duration {
    let program = |name| Command::new(cluster().bin_dir().join(name));
    let started = Instant::now();
    let mut dump = program("pg_dump");
    let mut dump = dump.args(["-t", "ledger_entries", from]).stdout(Stdio::piped()).spawn().unwrap();
    let mut load = program("psql");
    load.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to]).stdin(dump.stdout.take().unwrap());
    assert!(finish_within(COPY_PATIENCE, load.stdout(Stdio::null()).spawn().unwrap()).status.success());
    assert!(wait_for_exit(&mut dump).success());
    started.elapsed()
}
