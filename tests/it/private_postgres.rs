//! The private PostgreSQL server keeps its data, its directory to itself, and no longer than its service.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use billing::private_postgres::{PrivatePostgres, PrivatePostgresError};

use crate::support::{
    process::Lines,
    waiting::{run, wait_for_exit},
};

const UNSAFE_BUT_FAST: &[(&str, &str)] = &[("fsync", "off")];
/// Names the data directory to the process that is going to be killed.
const DATA_DIR_OF_THE_KILLED: &str = "DATA_DIR_OF_THE_KILLED";

/// A directory that is removed at the end of its test.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("billing-{}-{count}", std::process::id())))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory can be removed");
    }
}

fn query(postgres: &PrivatePostgres, sql: &str) -> String {
    let url = postgres.database_url("billing");
    let mut psql = Command::new(postgres.bin_dir().join("psql"));
    let output = run(psql.args(["-XAt", "-d", &url, "-c", sql]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn data_survive_a_restart() {
    let dir = TempDir::new();
    let postgres = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    query(&postgres, "CREATE TABLE note AS SELECT 'kept' AS text");
    postgres.stop().unwrap();

    let postgres = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(query(&postgres, "SELECT text FROM note"), "kept");
}

#[test]
fn commits_reach_the_disk() {
    let dir = TempDir::new();
    let postgres = PrivatePostgres::start(&dir.0, &[]).unwrap();
    assert_eq!(query(&postgres, "SHOW fsync"), "on");
    assert_eq!(query(&postgres, "SHOW synchronous_commit"), "on");
    assert_eq!(query(&postgres, "SHOW full_page_writes"), "on");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let dir = TempDir::new();
    let first = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    let second = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST);
    assert!(matches!(second, Err(PrivatePostgresError::InUse(_))), "{second:?}");
    assert_eq!(query(&first, "SELECT 1"), "1");
}

#[test]
fn an_interrupted_initialisation_is_begun_anew() {
    let dir = TempDir::new();
    let unfinished = dir.0.join("cluster.new");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "half").unwrap();

    let postgres = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(query(&postgres, "SELECT current_database()"), "billing");
    assert!(!unfinished.exists());
}

#[test]
fn a_failed_start_tells_what_the_server_logged() {
    let dir = TempDir::new();
    let error = PrivatePostgres::start(&dir.0, &[("no_such_parameter", "1")]).unwrap_err();
    assert!(error.to_string().contains("no_such_parameter"), "{error}");
}

#[test]
fn a_log_that_has_grown_large_is_put_aside_at_the_next_start() {
    let dir = TempDir::new();
    let (log, old) = (dir.0.join("postgres.log"), dir.0.join("postgres.log.old"));
    PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap().stop().unwrap();
    PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap().stop().unwrap();
    assert!(!old.exists(), "it is small");
    let large = "x".repeat(11 << 20);
    fs::write(&log, &large).unwrap();

    let postgres = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(fs::read_to_string(&old).unwrap(), large);
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("ready to accept connections") && said.len() < 10_000, "{said}");
    postgres.stop().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_stops_when_its_service_is_killed() {
    let dir = TempDir::new();
    let mut service = Command::new(env::current_exe().unwrap())
        .args(["private_postgres::a_service_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DATA_DIR_OF_THE_KILLED, &dir.0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Lines::of("service", service.stderr.take().unwrap());
    said.wait_for(|line| (line == "ready").then_some(())).expect("it is ready");
    service.kill().unwrap();
    wait_for_exit(&mut service);

    let successor = PrivatePostgres::start(&dir.0, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(query(&successor, "SELECT text FROM note"), "kept");
}

/// No test, but the process that another test starts and kills: run with the rest it would do nothing.
#[test]
#[ignore = "is run and killed by the_server_stops_when_its_service_is_killed"]
fn a_service_that_is_killed() {
    let Some(dir) = env::var_os(DATA_DIR_OF_THE_KILLED) else { return };
    let postgres = PrivatePostgres::start(Path::new(&dir), UNSAFE_BUT_FAST).unwrap();
    query(&postgres, "CREATE TABLE note AS SELECT 'kept' AS text");
    eprintln!("ready");
    thread::sleep(Duration::from_secs(60));
}
