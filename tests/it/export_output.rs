//! `billing export --output`: a file is there as a whole or as it was, and what is no file is written into as it is.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    random_books,
    support::{
        dir::Dir,
        process::Process,
        waiting::{PATIENCE, ended, finish_within, join_in_time, printed, run, until, wait_for_exit},
        *,
    },
};

/// How often an export is interrupted, each time a millisecond later.
const MOMENTS: u64 = 60;
/// How often two exports write the same file at once.
const ROUNDS: usize = 25;

fn export(book: &TestBook, format: &str, output: &Path) -> Command {
    let mut export = Process::command();
    export.args(["export", "--database-url", &book.url, "--format", format, "--output"]).arg(output);
    export.stdout(Stdio::piped()).stderr(Stdio::piped());
    export
}

/// Exports as CSV with success, and returns what was printed.
fn exported(book: &TestBook, output: &Path) -> String {
    let (printed, said) = ended(run(&mut export(book, "csv", output)), 0);
    assert_eq!(said, "");
    printed
}

/// Exports as CSV in vain, and returns what was said.
fn refused(book: &TestBook, output: &Path) -> String {
    ended(run(&mut export(book, "csv", output)), 1).1
}

fn names(dir: &Dir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn book_with_an_entry() -> TestBook {
    let book = TestBook::create().await;
    book.serve().await.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
    book
}

/// A book whose journal is more than a pipe takes.
async fn large_book() -> TestBook {
    let book = TestBook::create().await;
    for run in ["x", "y", "z"] {
        random_books::fill(&book, run).await;
    }
    book
}

/// Makes an entry that cannot be read, behind all that can.
async fn spoil(book: &TestBook) {
    book.run_sql(
        "ALTER DOMAIN entry_type DROP CONSTRAINT entry_type;
         INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time) VALUES ('zoe', 1, 19, 5, 0, 5, 0, now())",
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_exports_to_one_file_at_once_it_is_wholly_one() {
    let book = large_book().await;
    let dir = Dir::new();
    let path = dir.path().join("journal");
    let whole = ["csv", "jsonl"].map(|format| {
        printed(run(&mut export(&book, format, &path)));
        fs::read(&path).unwrap()
    });
    for round in 0..ROUNDS {
        let at_once = ["csv", "jsonl"].map(|format| export(&book, format, &path).spawn().unwrap());
        for export in at_once {
            printed(finish_within(PATIENCE, export));
        }
        assert!(whole.contains(&fs::read(&path).unwrap()), "round {round}: it is neither");
        assert_eq!(names(&dir), ["journal"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_its_mode_and_owner() {
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let path = dir.path().join("journal.csv");
    for mode in [0o600, 0o664, 0o4751] {
        fs::write(&path, "before").unwrap();
        if geteuid().is_root() {
            chown(&path, Some(4_242), Some(2_424)).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let before = fs::metadata(&path).unwrap();
        exported(&book, &path);
        let after = fs::metadata(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("account_id,"));
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    }
    // A new one is as any other that the user makes.
    let (new, other) = (dir.path().join("new.csv"), dir.path().join("other"));
    exported(&book, &new);
    File::create(&other).unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&new), mode(&other));
    assert_eq!(names(&dir), ["journal.csv", "new.csv", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_link_leads_to_is_written_and_the_link_stays() {
    let book = book_with_an_entry().await;
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (there, missing) = (elsewhere.path().join("there"), elsewhere.path().join("missing"));
    fs::write(&there, "before").unwrap();
    for (name, target) in [("to-file", there.clone()), ("to-nothing", missing), ("to-link", "to-file".into())]
    {
        let link = dir.path().join(name);
        symlink(&target, &link).unwrap();
        fs::write(&there, "before").unwrap();
        exported(&book, &link);
        assert_eq!(fs::read_link(&link).unwrap(), target);
        assert!(fs::read_to_string(&link).unwrap().starts_with("account_id,"), "{name}");
    }
    assert_eq!(names(&dir), ["to-file", "to-link", "to-nothing"]);
    assert_eq!(names(&elsewhere), ["missing", "there"]);
    let round = dir.path().join("round");
    symlink("round", &round).unwrap();
    assert!(refused(&book, &round).contains("cannot write"));
    assert_eq!(fs::read_link(&round).unwrap(), Path::new("round"));
}

/// Exports into a FIFO, and returns what its reader comes to.
fn export_to_fifo<T: Send + 'static>(book: &TestBook, read: fn(File) -> T) -> T {
    let dir = Dir::new();
    let fifo = dir.path().join("fifo");
    printed(run(Command::new("mkfifo").arg(&fifo)));
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || read(File::open(fifo).unwrap())
    });
    exported(book, &fifo);
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "it was replaced");
    assert_eq!(names(&dir), ["fifo"]);
    join_in_time(reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_is_written_into() {
    let read = export_to_fifo(&book_with_an_entry().await, |fifo| io::read_to_string(fifo).unwrap());
    assert!(read.starts_with("account_id,"), "{read}");
}

/// A reader who has had enough ends it quietly, as one of standard output does.
#[tokio::test(flavor = "multi_thread")]
async fn the_reader_of_a_fifo_may_leave() {
    export_to_fifo(&large_book().await, |mut fifo| fifo.read_exact(&mut [0; 16]).unwrap());
}

/// Devices of the test's own, so that those of the machine are safe from what this test is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_written_into() {
    if !geteuid().is_root() {
        return; // nobody else can make one, or lose one by this
    }
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let [null, full] = [("null", "3"), ("full", "7")].map(|(name, minor)| {
        let device = dir.path().join(name);
        printed(run(Command::new("mknod").arg(&device).args(["c", "1", minor])));
        device
    });
    exported(&book, &null);
    let link = dir.path().join("link");
    symlink("full", &link).unwrap();
    for device in [&full, &link] {
        let said = refused(&book, device);
        assert!(said.contains("No space left on device"), "{said}");
    }
    for device in [null, full] {
        assert!(fs::symlink_metadata(&device).unwrap().file_type().is_char_device(), "it was replaced");
    }
    assert_eq!(names(&dir), ["full", "link", "null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dash_is_standard_output() {
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let printed = printed(run(export(&book, "csv", Path::new("-")).current_dir(dir.path())));
    assert!(printed.starts_with("account_id,"), "{printed}");
    assert!(names(&dir).is_empty(), "{:?}", names(&dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_leaves_the_file_as_it_was_and_nothing_beside_it() {
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::write(&old, "before").unwrap();
    spoil(&book).await;
    for path in [&old, &new] {
        let said = refused(&book, path);
        assert_eq!(said, "billing: cannot export: the book holds an entry of type 19\n");
    }
    assert!(refused(&book, dir.path()).contains("cannot write"));
    assert_eq!(fs::read_to_string(&old).unwrap(), "before");
    assert_eq!(names(&dir), ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_export_leaves_the_file_as_it_was_and_nothing_beside_it() {
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let path = dir.path().join("journal.csv");
    fs::write(&path, "before").unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        // It waits for the table until it is interrupted.
        let mut lock = book.connect().await;
        let sql = "BEGIN; LOCK TABLE ledger_entries";
        diesel_async::SimpleAsyncConnection::batch_execute(&mut lock, sql).await.unwrap();
        let mut export = export(&book, "csv", &path).spawn().unwrap();
        let waiting =
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted
                       AND a.datname = current_database() AND a.application_name = 'billing snapshot'";
        until("it waits", async || (book.number(waiting).await > 0).then_some(())).await;
        kill_process(Pid::from_child(&export), signal).unwrap();
        assert!(!wait_for_exit(&mut export).success());
        assert_eq!(names(&dir), ["journal.csv"], "after {signal:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_interrupted_at_any_moment_leaves_nothing_beside_the_file() {
    let book = book_with_an_entry().await;
    let dir = Dir::new();
    let path = dir.path().join("journal.csv");
    for moment in 0..MOMENTS {
        let mut export = export(&book, "csv", &path).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let _ = kill_process(Pid::from_child(&export), Signal::INT); // it may have ended
        wait_for_exit(&mut export);
        let mut names = names(&dir);
        names.retain(|name| name != "journal.csv");
        assert_eq!(names, [""; 0], "after {moment} ms");
    }
}
