//! Every command takes leave of the databases that it has used, in success and in failure.

use std::{
    fs::{self, File},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use billing::private_postgres::PrivatePostgres;

use crate::{
    preflight::source::{REGULAR, TABLES},
    support::{
        dir::Dir,
        process::Process,
        waiting::{PATIENCE, printed, run, wait_for_exit},
    },
};

/// Below DEBUG1, a session that is broken off outside of a transaction is not mentioned.
const SETTINGS: [(&str, &str); 3] =
    [("fsync", "off"), ("log_min_messages", "debug1"), ("log_disconnections", "on")];

struct Server {
    postgres: PrivatePostgres,
    dir: Dir,
}

impl Server {
    fn start() -> Self {
        let dir = Dir::new();
        let postgres = PrivatePostgres::start(&dir.path().join("data"), &SETTINGS).unwrap();
        let server = Self { postgres, dir };
        server.sql("billing", "CREATE DATABASE source");
        server.sql("billing", "CREATE DATABASE empty");
        server.sql("source", &format!("{TABLES}{REGULAR}"));
        server
    }

    fn sql(&self, database: &str, sql: &str) {
        printed(self.psql(database, sql));
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let url = self.postgres.database_url(database);
        let mut psql = Command::new(self.postgres.bin_dir().join("psql"));
        run(psql.args(["-Xq", "-d", &url, "-c", sql]))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("data/postgres.log")).unwrap()
    }

    /// What the server says of the sessions of an action, once all of them have ended.
    fn log_of(&self, action: impl FnOnce()) -> String {
        let before = self.log().len();
        action();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log()[before..].to_owned();
            let all =
                "SELECT 1/(count(*) = 1)::int FROM pg_stat_activity WHERE backend_type = 'client backend'";
            if self.psql("postgres", all).status.success() && log.contains("disconnection: ") {
                return self.log()[before..].to_owned();
            }
            assert!(Instant::now() < deadline, "sessions stay: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Status 2 is a success that has something to tell.
    fn check(&self, status: i32, arguments: &[&str], full: bool) {
        let said = self.log_of(|| {
            let mut command = Process::command();
            command.args(arguments);
            let ended = if full {
                command.stdout(File::create("/dev/full").unwrap()).stderr(Stdio::null());
                let mut child = command.spawn().unwrap();
                wait_for_exit(&mut child)
            } else {
                run(&mut command).status
            };
            let is_as_expected = ended.code() == Some(status) || status == 0 && ended.code() == Some(2);
            assert!(is_as_expected, "{arguments:?}: {ended}");
        });
        must_be_orderly(&format!("{arguments:?}"), &said);
    }
}

fn must_be_orderly(what: &str, said: &str) {
    let complaints =
        ["unexpected EOF", "could not receive data", "could not send data", "connection to client lost"];
    let is_complaint = |line: &&str| complaints.iter().any(|complaint| line.contains(complaint));
    let complaints: Vec<_> = said.lines().filter(is_complaint).collect();
    assert!(complaints.is_empty(), "{what}: {complaints:#?}");
}

#[test]
fn no_command_breaks_a_session_off() {
    let server = Server::start();
    let [book, source, empty] = ["billing", "source", "empty"].map(|name| server.postgres.database_url(name));
    let file = server.dir.path().join("journal.csv");
    for _ in 0..3 {
        server.check(0, &["migrate", "--database-url", &book], false);
        server.check(0, &["preflight", "--source", &source], false);
        server.check(0, &["import", "--source", &source, "--database-url", &book], false);
        server.check(0, &["audit", "--database-url", &book], false);
        server.check(0, &["export", "--format", "csv", "--database-url", &book], false);
        server.check(
            0,
            &["export", "--format", "csv", "--database-url", &book, "--output", file.to_str().unwrap()],
            false,
        );

        server.check(1, &["audit", "--database-url", &book], true);
        server.check(1, &["export", "--format", "csv", "--database-url", &book], true);
        server.check(1, &["audit", "--database-url", &book, "--account", "unknown"], false);
        server.check(1, &["export", "--format", "csv", "--database-url", &empty], false);
        server.check(1, &["audit", "--database-url", &empty], false);
        server.check(1, &["preflight", "--source", &empty], false);
        server.check(1, &["import", "--source", &empty, "--database-url", &book], false);
        server.check(1, &["serve", "--database-url", &empty], false);
    }
}

#[test]
fn a_service_that_ends_breaks_no_session_off() {
    let server = Server::start();
    let book = server.postgres.database_url("billing");
    server.check(0, &["migrate", "--database-url", &book], false);
    for _ in 0..3 {
        let said = server.log_of(|| {
            let service = Process::serve(&["--database-url", &book]);
            let is_ready = |line: &str| line.contains("commits are possible").then_some(());
            service.log().wait_for(is_ready).expect("it is ready");
            assert!(service.terminate().success());
        });
        must_be_orderly("serve", &said);
    }
}
