//! One PostgreSQL server for a run of the tests, however many processes it has, with a migrated database to copy for each test.
//!
//! The server is not durable (`fsync = off`): it lives no longer than the run. Tests of durability start their own.
//!
//! The first process that needs it starts its keeper: this program once more, in a process group of its own. The keeper
//! starts the server, watches the process that owns the run, and when that is gone, however it ended, stops the server and
//! removes its data. The owner is nextest, or without nextest the test process itself.

use std::{
    env,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use billing::private_postgres::PrivatePostgres;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rustix::process::{Pid, getpid, getppid, test_kill_process};

use super::{books::migrate, process::Lines, waiting::wait_for_exit};

const DIR_PREFIX: &str = "billing-test-run-";
const TEMPLATE: &str = "template_of_books";
/// Tells the keeper where the server's data are to be.
const DIR_OF_KEEPER: &str = "BILLING_TEST_CLUSTER";
const POLL_INTERVAL: Duration = Duration::from_millis(100);

static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::join);

/// The server, as its keeper describes it.
pub struct Cluster {
    /// The URL of its database `postgres`.
    url: String,
    bin_dir: PathBuf,
}

/// The server. It is started by the first test that asks, and stops with the run.
pub fn cluster() -> &'static Cluster {
    &CLUSTER
}

/// Makes a database like the template, with a book in it that is empty, and returns its URL.
pub async fn create_database(name: &str) -> String {
    create(name, &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")).await
}

/// Makes a database with nothing in it, and returns its URL.
pub async fn create_empty_database(name: &str) -> String {
    create(name, &format!("CREATE DATABASE {name}")).await
}

/// Makes a database with nothing in it that sorts as people do, and returns its URL.
pub async fn create_collated_database(name: &str) -> String {
    let icu = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
    create(name, &format!("CREATE DATABASE {name} {icu}")).await
}

async fn create(name: &str, sql: &str) -> String {
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    let mut connection = AsyncPgConnection::establish(&cluster.url).await.unwrap();
    connection.batch_execute(sql).await.unwrap();
    cluster.database_url(name)
}

impl Cluster {
    /// A URL for connections to a database.
    pub fn database_url(&self, name: &str) -> String {
        self.url.replacen("/postgres?", &format!("/{name}?"), 1)
    }

    /// The directory of the server's program and of those that come with it, such as `psql`.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The server of this run, which the first process to come has started.
    fn join() -> Self {
        let dir = dir_of_this_run();
        fs::create_dir_all(&dir).unwrap();
        let lock = File::create(dir.join("joining")).unwrap();
        lock.lock().unwrap(); // whoever has it waits for the keeper, which has a bound
        let description = dir.join("description");
        if !description.exists() {
            remove_what_earlier_runs_left();
            start_keeper(&dir);
        }
        let description = fs::read_to_string(description).unwrap();
        let (url, bin_dir) = description.split_once('\n').unwrap();
        Self { url: url.to_owned(), bin_dir: bin_dir.into() }
    }
}

/// The directory of this run. Its name says who owns the run, and tells it from an earlier one whose owner had the same number.
fn dir_of_this_run() -> PathBuf {
    let (owner, name) = match env::var("NEXTEST_RUN_ID") {
        // Its beginning is enough, and the path of a socket must be short.
        Ok(id) => (getppid().unwrap(), id.chars().take(8).collect()),
        Err(_) => (getpid(), format!("{:x}", fastrand::u32(..))),
    };
    env::temp_dir().join(format!("{DIR_PREFIX}{}-{name}", owner.as_raw_nonzero()))
}

/// The owner of the run that a directory belongs to.
fn owner_of(dir: &Path) -> Option<Pid> {
    let (owner, _) = dir.file_name()?.to_str()?.strip_prefix(DIR_PREFIX)?.split_once('-')?;
    Pid::from_raw(owner.parse().ok()?)
}

/// Whether a process is there and has not ended, whether or not its parent has taken note of that.
fn is_running(process: Pid) -> bool {
    let proc = Path::new("/proc");
    if !proc.join("self").exists() {
        return test_kill_process(process).is_ok();
    }
    let stat = fs::read_to_string(proc.join(format!("{}/stat", process.as_raw_nonzero())));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[allow(clippy::zombie_processes, reason = "the keeper outlives its parent")]
fn start_keeper(dir: &Path) {
    let mut keeper = Command::new(env::current_exe().unwrap())
        .args(["support::cluster::keeper", "--exact", "--ignored", "--nocapture"])
        .env(DIR_OF_KEEPER, dir)
        .process_group(0) // what ends a test or is typed to end the run is not for it
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Lines::of("keeper", keeper.stderr.take().unwrap());
    if lines.wait_for(|line| (line == "ready").then_some(())).is_none() {
        let status = wait_for_exit(&mut keeper);
        panic!("the PostgreSQL of the tests does not start: {status}\n{}", lines.all().join("\n"));
    }
}

/// No test, but the process that keeps the server: run with the rest it does nothing.
#[test]
#[ignore = "is started by the first test that needs PostgreSQL"]
fn keeper() {
    let Some(dir) = env::var_os(DIR_OF_KEEPER).map(PathBuf::from) else { return };
    let owner = owner_of(&dir).unwrap();
    let settings = [("fsync", "off"), ("max_connections", "400"), ("shared_buffers", "256MB")];
    let postgres = PrivatePostgres::start(&dir.join("d"), &settings).unwrap(); // the path of a socket must be short
    let url = postgres.database_url("postgres");
    let template_url = postgres.database_url(TEMPLATE);
    tokio::runtime::Runtime::new().unwrap().block_on(make_template(&url, &template_url));
    let unfinished = dir.join("description.new");
    fs::write(&unfinished, format!("{url}\n{}", postgres.bin_dir().display())).unwrap();
    fs::rename(unfinished, dir.join("description")).unwrap();
    eprintln!("ready");
    while is_running(owner) {
        thread::sleep(POLL_INTERVAL);
    }
    drop(postgres);
    let _ = fs::remove_dir_all(&dir); // else the next run does it
}

async fn make_template(admin_url: &str, template_url: &str) {
    let mut admin = AsyncPgConnection::establish(admin_url).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    migrate(template_url).await;
    // Else a session that lingers would keep it from being copied.
    let sql = format!("ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false");
    admin.batch_execute(&sql).await.unwrap();
}

/// Removes what is left of runs whose keeper was killed, too.
fn remove_what_earlier_runs_left() {
    for dir in fs::read_dir(env::temp_dir()).unwrap().flatten().map(|entry| entry.path()) {
        if owner_of(&dir).is_some_and(|owner| !is_running(owner)) {
            let _ = fs::remove_dir_all(dir); // another run may be removing it, too
        }
    }
}
