//! The private PostgreSQL server keeps its data, its directory to itself, and no longer than its service.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use billing::private_postgres::{PrivatePostgres, PrivatePostgresError};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::support::{
    dir::Dir,
    process::{Lines, Process},
    waiting::{PATIENCE, printed, run, wait_for_exit},
};

const UNSAFE_BUT_FAST: &[(&str, &str)] = &[("fsync", "off")];
/// Names the data directory to the process that is going to be killed.
const DATA_DIR_OF_THE_KILLED: &str = "DATA_DIR_OF_THE_KILLED";

/// A directory of a test's own, and one in it that is still to be made.
fn data_dir() -> (Dir, PathBuf) {
    let dir = Dir::new();
    let data = dir.path().join("data");
    (dir, data)
}

fn query(postgres: &PrivatePostgres, sql: &str) -> String {
    let url = postgres.database_url("billing");
    let mut psql = Command::new(postgres.bin_dir().join("psql"));
    printed(run(psql.args(["-XAt", "-d", &url, "-c", sql]))).trim().to_owned()
}

#[test]
fn data_survive_a_restart() {
    let (_dir, data) = data_dir();
    let postgres = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    query(&postgres, "CREATE TABLE note AS SELECT 'kept' AS text");
    postgres.stop().unwrap();

    let postgres = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(query(&postgres, "SELECT text FROM note"), "kept");
}

#[test]
fn commits_reach_the_disk() {
    let (_dir, data) = data_dir();
    let postgres = PrivatePostgres::start(&data, &[]).unwrap();
    assert_eq!(query(&postgres, "SHOW fsync"), "on");
    assert_eq!(query(&postgres, "SHOW synchronous_commit"), "on");
    assert_eq!(query(&postgres, "SHOW full_page_writes"), "on");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let (_dir, data) = data_dir();
    let first = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    let second = PrivatePostgres::start(&data, UNSAFE_BUT_FAST);
    assert!(matches!(second, Err(PrivatePostgresError::InUse(_))), "{second:?}");
    assert_eq!(query(&first, "SELECT 1"), "1");
}

#[test]
fn an_interrupted_initialisation_is_begun_anew() {
    let (_dir, data) = data_dir();
    let unfinished = data.join("cluster.new");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "half").unwrap();

    let postgres = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(query(&postgres, "SELECT current_database()"), "billing");
    assert!(!unfinished.exists());
}

#[test]
fn a_failed_start_tells_what_the_server_logged() {
    let (_dir, data) = data_dir();
    let error = PrivatePostgres::start(&data, &[("no_such_parameter", "1")]).unwrap_err();
    assert!(error.to_string().contains("no_such_parameter"), "{error}");
}

#[test]
fn a_log_that_has_grown_large_is_put_aside_at_the_next_start() {
    let (_dir, data) = data_dir();
    let (log, old) = (data.join("postgres.log"), data.join("postgres.log.old"));
    PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap().stop().unwrap();
    PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap().stop().unwrap();
    assert!(!old.exists(), "it is small");
    let large = "x".repeat(11 << 20);
    fs::write(&log, &large).unwrap();

    let postgres = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    assert_eq!(fs::read_to_string(&old).unwrap(), large);
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("ready to accept connections") && said.len() < 10_000, "{said}");
    postgres.stop().unwrap();
}

#[test]
fn a_log_that_is_flooded_is_put_aside_while_the_server_runs() {
    let (_dir, data) = data_dir();
    let postgres = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
    let flood = "DO $$ BEGIN FOR i IN 1..24 LOOP RAISE LOG '%', repeat('x', 1024 * 1024); END LOOP; END $$";
    query(&postgres, flood);
    let log = data.join("postgres.log");
    eventually("the log is short", || fs::metadata(&log).unwrap().len() < 11 << 20);
    query(&postgres, "DO $$ BEGIN RAISE LOG 'after the flood'; END $$");
    assert!(fs::read_to_string(&log).unwrap().contains("after the flood"), "it is still written to");
    postgres.stop().unwrap();
    PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap().stop().unwrap();
}

fn refusal(dir: &Path) -> PrivatePostgresError {
    PrivatePostgres::start(dir, UNSAFE_BUT_FAST).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_with_other_things_in_it_is_refused_and_left_as_it_is() {
    for other in ["notes.txt", "cluster", "PG_VERSION"] {
        let (_dir, data) = data_dir();
        fs::create_dir(&data).unwrap();
        fs::write(data.join(other), "kept").unwrap();
        let error = refusal(&data);
        assert!(matches!(error, PrivatePostgresError::NotOurs(..)), "{error}");
        assert!(error.to_string().contains(other), "{error}");
        let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [other]);
        assert_eq!(fs::read_to_string(data.join(other)).unwrap(), "kept");
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let (_dir, data) = data_dir();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o1777)).unwrap();
    let error = refusal(&data);
    assert!(matches!(&error, PrivatePostgresError::WritableByOthers(path) if *path == data), "{error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn no_link_in_the_directory_is_followed() {
    for name in ["lock", "postgres.log", "postgres.log.old", "cluster", "cluster.new", "socket"] {
        let ((_dir, data), elsewhere) = (data_dir(), Dir::new());
        let victim = elsewhere.write("PG_VERSION", "kept");
        fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(&data).unwrap();
        let is_file = name.starts_with("postgres.log") || name == "lock";
        symlink(if is_file { Path::new(&victim) } else { elsewhere.path() }, data.join(name)).unwrap();
        let error = refusal(&data);
        assert!(matches!(error, PrivatePostgresError::Linked(_)), "{name}: {error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept", "{name}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "{name}");
        // A link to nothing would make what it leads to.
        let nothing = elsewhere.path().join("nothing");
        fs::remove_file(data.join(name)).unwrap();
        symlink(&nothing, data.join(name)).unwrap();
        let error = refusal(&data);
        assert!(matches!(error, PrivatePostgresError::Linked(_)), "{name}: {error}");
        assert!(!nothing.exists(), "{name}");
    }
}

/// Where somebody else could choose what root writes, gives away or removes.
#[test]
fn root_takes_no_directory_of_others_and_is_not_led_elsewhere() {
    if !geteuid().is_root() {
        return;
    }
    let (nobody, dir) = (Some(65_534), Dir::new());
    let make = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();

    let foreign = make("foreign");
    chown(&foreign, nobody, nobody).unwrap();
    let error = refusal(&foreign);
    assert!(matches!(error, PrivatePostgresError::Foreign(_, 65_534, 0)), "{error}");
    let error = refusal(&foreign.join("a/b"));
    assert!(matches!(error, PrivatePostgresError::Foreign(_, 65_534, 0)), "{error}");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 0);

    let open = make("open");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let error = refusal(&open.join("data"));
    assert!(matches!(error, PrivatePostgresError::WritableByOthers(_)), "{error}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);

    let elsewhere = make("elsewhere");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).unwrap();
    let link = dir.path().join("link");
    symlink(&elsewhere, &link).unwrap();
    for name in [link.clone(), link.join(""), link.join(".")] {
        let error = refusal(&name);
        assert!(matches!(error, PrivatePostgresError::Linked(_)), "{name:?}: {error}");
    }
    lchown(&link, nobody, nobody).unwrap();
    let error = refusal(&link.join("data"));
    assert!(matches!(error, PrivatePostgresError::Foreign(_, 65_534, 0)), "{error}");
    assert_eq!((fs::read_dir(&elsewhere).unwrap().count(), mode(&elsewhere)), (0, 0o700));

    let ours = make("ours");
    for name in ["lock", "postgres.log", "cluster.new", "socket"] {
        let path = ours.join(name);
        if name.contains("new") || name == "socket" {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, "").unwrap();
        }
        chown(&path, Some(12_345), Some(12_345)).unwrap();
        let error = refusal(&ours);
        assert!(matches!(error, PrivatePostgresError::Foreign(_, 12_345, _)), "{name}: {error}");
        if path.is_dir() { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
}

/// Root's own links on the way are as good as any other way.
#[test]
fn a_link_of_ones_own_may_be_on_the_way() {
    let dir = Dir::new();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let postgres = PrivatePostgres::start(&dir.path().join("link/a/data"), UNSAFE_BUT_FAST).unwrap();
    postgres.stop().unwrap();
    assert!(dir.path().join("real/a/data/cluster").exists());
    PrivatePostgres::start(&dir.path().join("real/a/data"), UNSAFE_BUT_FAST).unwrap().stop().unwrap();
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The number of the postmaster's process.
fn postmaster(data_dir: &Path) -> Pid {
    let pid_file = fs::read_to_string(data_dir.join("cluster/postmaster.pid")).unwrap();
    Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap()).unwrap()
}

/// The server starts its sessions again after a crash of one.
#[test]
fn a_service_outlives_a_crashed_session_but_ends_with_its_server() {
    let (_dir, data) = data_dir();
    let flags = ["--data-dir", data.to_str().unwrap()];
    let mut service = Process::serve(&flags);
    service
        .log()
        .wait_for(|line| line.contains("commits are possible").then_some(()))
        .expect("it has sessions");
    let parent = postmaster(&data).as_raw_nonzero().to_string();
    let mut pgrep = Command::new("pgrep");
    let sessions = printed(run(pgrep.args(["-P", &parent, "-f", "postgres: billing billing"])));
    let session = sessions.lines().next().expect("it has a session").parse().unwrap();
    kill_process(Pid::from_raw(session).unwrap(), Signal::KILL).unwrap();
    let log = || fs::read_to_string(data.join("postgres.log")).unwrap();
    eventually("the server has recovered", || {
        log().rsplit("terminating any other active").next().unwrap().contains("ready to accept connections")
            && log().contains("terminating any other active")
    });
    thread::sleep(Duration::from_secs(1)); // it would have ended
    assert!(!service.has_ended(), "{:#?}", service.log().all());

    kill_process(postmaster(&data), Signal::KILL).unwrap();
    let said = service.log();
    assert_eq!(service.ended().code(), Some(1));
    let failures = said.whole().join("\n");
    assert!(failures.contains("billing: the PostgreSQL server has ended with signal: 9"), "{failures}");

    assert!(Process::serve(&flags).terminate().success(), "whoever starts it again finds it working");
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_stops_when_its_service_is_killed() {
    let (_dir, data) = data_dir();
    let mut service = Command::new(env::current_exe().unwrap())
        .args(["private_postgres::a_service_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DATA_DIR_OF_THE_KILLED, &data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Lines::of("service", service.stderr.take().unwrap());
    said.wait_for(|line| (line == "ready").then_some(())).expect("it is ready");
    service.kill().unwrap();
    wait_for_exit(&mut service);

    let successor = PrivatePostgres::start(&data, UNSAFE_BUT_FAST).unwrap();
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
