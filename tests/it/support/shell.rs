//! The shell that the commands of `docs/OPERATIONS.md` are run in.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::{cluster, dir::Dir, process::Process, waiting::run};

/// A shell with the page's variables, and the service that was started in it last.
pub struct Shell {
    variables: Vec<(&'static str, String)>,
    service: Option<Process>,
    _dir: Dir,
}

impl Shell {
    /// A shell for a book, with an empty database to restore into. `name` tells it from those of other tests.
    pub async fn new(book: &str, name: &str) -> Self {
        let restored = cluster::create_empty_database(&format!("restored_of_{name}")).await;
        let dir = Dir::new();
        let backup = dir.path().join("backup.dump");
        let variables = vec![
            ("SUPERUSER_URL", book.to_owned()),
            ("DATABASE_URL", book.to_owned()),
            ("SERVICE_URL", book.replace("//billing@", "//billing_service@")),
            ("RESTORED_URL", restored),
            ("BACKUP", backup.display().to_string()),
            ("PATH", path()),
        ];
        Self { variables, service: None, _dir: dir }
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> &str {
        &self.variables.iter().find(|(variable, _)| *variable == name).unwrap().1
    }

    /// Gives a variable another value.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.variables.retain(|(variable, _)| *variable != name);
        self.variables.push((name, value));
    }

    /// The service that runs in it.
    pub fn service(&self) -> &Process {
        self.service.as_ref().unwrap()
    }

    /// Ends the service.
    pub fn end_service(&mut self) {
        assert!(self.service.take().unwrap().terminate().success());
    }

    /// What a command prints. A service that it starts goes on, and replaces the one before.
    pub fn run(&mut self, command: &str) -> String {
        if let Some(flags) = command.strip_prefix("billing serve --database-url \"$") {
            let url = self.variable(flags.trim_end_matches('"')).to_owned();
            let flags = ["--database-url", &url, "--metrics-listen", "127.0.0.1:0"];
            self.service = Some(Process::serve(&flags));
            return String::new();
        }
        let mut command = format!("exec 2>&1\n{command}");
        if let Some(service) = &self.service {
            command = command.replace("localhost:50051", &service.address);
            command = command.replace("localhost:9464", service.metrics_address());
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &command]).envs(self.variables.clone()).current_dir(env!("CARGO_MANIFEST_DIR"));
        String::from_utf8(run(&mut bash).stdout).unwrap()
    }
}

/// The first of some programs that is nowhere to be found.
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let dirs: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    programs.iter().copied().find(|program| !dirs.iter().any(|dir| dir.join(program).exists()))
}

/// Where commands are looked for: the program and PostgreSQL's own come first.
pub fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_billing")).parent().unwrap().to_owned();
    let mut dirs = vec![program];
    dirs.extend((15..30).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))));
    dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    env::join_paths(dirs).unwrap().into_string().unwrap()
}
